"""Two gloo workers train the student that one process trains on the joined batch."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.multiprocessing.spawn import spawn

from orchestrator.students.context import StudentContext
from orchestrator.training.run import TrainingJob, read_result, train
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import SmokeLine

# No BatchNorm anywhere (its statistics are each worker's own), and SGD, which does not magnify rounding as Adam does.
OVERRIDES: dict[str, Any] = {
    "student": {"kind": "timm", "name": "test_vit", "image_size": 32},
    "adaptor.depth": 0,
    "training.optimizer": {"kind": "sgd", "learning_rate": 0.02},
}


def one_worker(rank: int, port: int, job: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for _ in train(TrainingJob.model_validate_json(job), parallel=True):
        pass
    dist.destroy_process_group()


@pytest.mark.parametrize("line", ["smoke_line", "viewing_line"])
def test_two_workers_equal_one_process_on_the_joined_batch(
    line: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made: SmokeLine = request.getfixturevalue(line)
    alone, together = (made.job(tmp_path / name, OVERRIDES) for name in ("alone", "together"))
    for _ in train(alone):
        pass
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    spawn(one_worker, args=(port, together.model_dump_json()), nprocs=2)
    one, two = load_file(Path(alone.folder) / STUDENT), load_file(Path(together.folder) / STUDENT)
    torch.manual_seed(alone.training.init_seed)
    start = alone.student.build(StudentContext(alone.num_classes)).state_dict()
    assert sum(float((one[name] - start[name]).abs().max()) > 1e-3 for name in one) > 10  # it did train
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")
    assert (
        read_result(Path(alone.folder))["metrics"]["select/all"]
        == read_result(Path(together.folder))["metrics"]["select/all"]
    )
