"""Every loss of the union on two gloo workers equals one process on the joined batch, values and gradients.

Both workers run all variants in one pair of processes; what a loss cannot keep is declared in its `exemptions`.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from orchestrator import vocabulary as v
from orchestrator.frozen import Frozen
from tests.contracts.loss_batch import ROWS, batch, build, evaluate, name_of, trained, variants

NUM_WORKERS = 2
Measured = dict[str, Any]


def measured(settings: Frozen, rows: Mapping[str, Tensor]) -> Measured:
    """Value, gradients of the inputs and of what the loss learns."""
    loss = build(settings).double()
    inputs = {name: tensor.clone() for name, tensor in rows.items()}
    for name in trained(loss):
        inputs[name].requires_grad_()
    value = evaluate(loss, inputs)
    value.backward()
    return {
        "value": value.detach(),
        "inputs": {name: inputs[name].grad for name in trained(loss)},
        "parameters": {name: parameter.grad for name, parameter in loss.named_parameters()},
    }


def one_worker(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=NUM_WORKERS)
    share = ROWS // NUM_WORKERS
    own = slice(rank * share, (rank + 1) * share)
    rows = {name: tensor if name in v.OF_RUN else tensor[own] for name, tensor in batch(ROWS).items()}
    found: dict[str, Measured | str] = {}
    for settings in variants():
        try:
            found[name_of(settings)] = measured(settings, rows)
        except Exception as error:  # told by the test of that loss; the others go on
            found[name_of(settings)] = repr(error)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("workers")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    spawn(one_worker, args=(port, str(folder)), nprocs=NUM_WORKERS)
    return [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in range(NUM_WORKERS)]


@pytest.mark.parametrize("settings", variants(), ids=name_of)
def test_two_workers_equal_one_process_on_the_joined_batch(settings: Frozen, workers: list[dict[str, Any]]) -> None:
    per_worker = getattr(settings, "negatives", "global") == "per_worker"
    reason = build(settings).exemptions.get("two_workers")
    if reason is not None or per_worker:
        pytest.skip(f"exempt: {reason or 'negatives are those of the worker'}")
    each = [worker[name_of(settings)] for worker in workers]
    assert all(isinstance(one, dict) for one in each), each
    alone = measured(settings, batch(ROWS))
    exact = {"rtol": 1e-6, "atol": 1e-10}
    torch.testing.assert_close(sum(one["value"] for one in each) / NUM_WORKERS, alone["value"], **exact)
    for name, gradient in alone["inputs"].items():  # DDP takes the mean over workers
        rows = torch.cat([one["inputs"][name] for one in each]) / NUM_WORKERS
        torch.testing.assert_close({name: rows}, {name: gradient}, **exact)
    for name, gradient in alone["parameters"].items():
        mean = sum(one["parameters"][name] for one in each) / NUM_WORKERS
        torch.testing.assert_close({name: mean}, {name: gradient}, **exact)
