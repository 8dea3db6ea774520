"""The page on peer losses: its presets are objectives that bring a student to its teacher, and it names the kinds."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import nn

from orchestrator.losses import LossSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.objective import Objective
from tests.contracts.loss_variants import peers

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "losses_peers.md").read_text()
PRESETS: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
N, C, WIDTH, SIDE = 8, 4, 6, 3


class Net(nn.Module):
    """A convolution with a map, a pooled feature and logits."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.map, self.head = nn.Conv2d(3, WIDTH, 1), nn.Linear(WIDTH, C)

    def forward(self, images: torch.Tensor, who: str) -> dict[str, torch.Tensor]:
        made = torch.tanh(self.map(images))
        feature = made.mean(dim=(2, 3))
        return {f"{who}_map": made, f"{who}_feature": feature, f"{who}_logits": 3 * self.head(feature)}


@pytest.mark.parametrize("preset", PRESETS, ids=["kd", "dkd", "torchdistill_kd", "crd", "all_outputs"])
def test_a_preset_is_an_objective_that_halves_every_distance_to_the_teacher(preset: dict[str, Any]) -> None:
    settings = TypeAdapter(dict[str, LossSettings]).validate_python(preset["losses"])
    sizes = {"map_dim": WIDTH, "teacher_feature_dim": WIDTH, "teacher_map_dim": WIDTH, "num_images": N}
    context = LossContext((2,) * C, WIDTH, 0, 0, 0, C, **sizes, batch_size=N)
    objective = Objective.build(settings, context)
    images = torch.randn(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        teacher = Net(2)(images, "teacher")
    batch = {**teacher, "label": teacher["teacher_logits"].argmax(dim=1), "image_row": torch.arange(N)}
    student = Net(3)
    optimizer = torch.optim.Adam([*student.parameters(), *objective.parameters()], lr=0.02)
    seen = []
    for _ in range(200):
        optimizer.zero_grad()
        total, parts = objective({**batch, **student(images, "student")})
        total.backward()
        optimizer.step()
        seen.append({name: value.item() for name, value in parts.items() if "." not in name})
    for name, first in seen[0].items():
        share = 0.9 if name == "memory" else 0.5  # NCE against a memory has a floor above 0
        assert seen[-1][name] < share * first, (name, first, seen[-1][name])


def test_the_page_names_every_kind_of_its_family() -> None:
    kinds = {type(settings).model_fields["kind"].default for settings in peers.VARIANTS} | {"nst"}
    assert kinds <= set(re.findall(r"`(\w+)`", PAGE))
