"""L_text with negatives of all workers: two processes under DDP equal one process on the joined batch."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from orchestrator import distributed
from orchestrator.losses.formulas.text_contrastive import TextContrastive

NUM_WORKERS, ROWS, NUM_TEXTS, DIM = 2, 5, 2, 4
OPTIONS: list[dict[str, Any]] = [
    {},
    {"symmetric": True},
    {"symmetric": True, "merge_duplicates": True},
    {"reduction": "sum"},
]


class Step(nn.Module):
    """A linear prediction and the loss: what is wrapped in DDP."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, DIM)
        self.loss = TextContrastive(**options)

    def forward(self, feature: Tensor, text: Tensor, text_id: Tensor) -> Tensor:
        value: Tensor = self.loss(self.linear(feature), text, text_id)
        return value


def joined_batch() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(8)
    rows = NUM_WORKERS * ROWS
    text_id = torch.arange(rows * NUM_TEXTS).reshape(rows, NUM_TEXTS)
    text_id[[0, 1, 7], 0] = -1  # missing texts, unequally many on the two workers
    text_id[8, 1] = text_id[2, 1]  # a text shared across the workers
    feature = torch.randn(rows, 3, generator=random, dtype=torch.float64)
    text = torch.randn(rows, NUM_TEXTS, DIM, generator=random, dtype=torch.float64)
    return feature, nn.functional.normalize(text, dim=-1), text_id


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def one_worker(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=NUM_WORKERS)
    rows = slice(rank * ROWS, (rank + 1) * ROWS)
    results = []
    for options in OPTIONS:
        step = nn.parallel.DistributedDataParallel(Step(options).double())
        value = step(*(tensor[rows] for tensor in joined_batch()))
        value.backward()
        mean = distributed.sum_over_workers(value.detach()) / NUM_WORKERS
        results.append((mean, gradients(step)))
    statistics = nn.BatchNorm1d(2)
    statistics.running_mean = torch.full((2,), float(rank + 1))
    distributed.broadcast_buffers(statistics)
    distributed.barrier()
    torch.save((results, statistics.running_mean), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_equal_one_process_on_the_joined_batch(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    spawn(one_worker, args=(port, str(tmp_path)), nprocs=NUM_WORKERS)
    for rank in range(NUM_WORKERS):
        results, running_mean = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for options, (mean, got) in zip(OPTIONS, results, strict=True):
            alone = Step(options).double()
            value = alone(*joined_batch())
            value.backward()
            torch.testing.assert_close(mean, value.detach(), rtol=1e-6, atol=0)
            torch.testing.assert_close(got, gradients(alone), rtol=1e-6, atol=1e-12)
        assert running_mean.tolist() == [1.0, 1.0]


def test_without_a_process_group_everything_is_that_of_one_worker() -> None:
    tensor = torch.arange(3.0)
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    assert distributed.all_gather(tensor) is tensor
    assert distributed.sum_over_workers(tensor) is tensor
    distributed.barrier()


@pytest.mark.parametrize("options", OPTIONS)
def test_global_negatives_of_one_process_are_those_of_its_batch(options: dict[str, Any]) -> None:
    alone, own = Step(options).double(), Step({**options, "negatives": "per_worker"}).double()
    assert torch.equal(alone(*joined_batch()), own(*joined_batch()))
