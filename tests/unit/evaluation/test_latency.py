"""What is measured and what is left as it was; never how long it took."""

import pytest
import torch
from torch import nn

from orchestrator.evaluation.latency import inference_latency
from orchestrator.evaluation.model_size import num_parameters


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.seen: list[tuple[int, int, bool]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append((len(images), torch.get_num_threads(), self.training))
        return self.norm(self.layer(images))


def test_every_setting_is_measured_in_evaluation_mode_with_its_threads() -> None:
    student, threads = Counted(), torch.get_num_threads()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    found = inference_latency(student, 16, batch_sizes=(1, 3), threads=(1, 2), warm_up=2, repeats=3)
    assert student.seen == [(size, count, False) for count in (1, 2) for size in (1, 3) for _ in range(5)]
    assert torch.get_num_threads() == threads
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert found["latency_ms_b3_t2"] > 0
    assert found["latency_spread_ms_b3_t2"] >= 0
    assert found["images_per_s_b3_t2"] * found["latency_ms_b3_t2"] / 3 == pytest.approx(1000)


def test_parameters_are_counted_once_and_without_buffers() -> None:
    student = Counted()
    assert num_parameters(student) == 3 * 4 * 9 + 4 + 8
    shared = nn.Linear(5, 5)
    assert num_parameters(nn.Sequential(shared, shared)) == 30
