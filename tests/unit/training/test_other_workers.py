"""A training cut off on one worker goes on with two, and then with one again: the same student within a tolerance."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.multiprocessing.spawn import spawn

from orchestrator.artifacts.storage import read_json
from orchestrator.errors import ConfigError, Stopped
from orchestrator.training.parallel import check_workers
from orchestrator.training.run import HISTORY, TrainingJob, train
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import SmokeLine
from tests.stop_at import StopAt

# No BatchNorm (its statistics are each worker's own), and SGD, which does not magnify rounding as Adam does.
OVERRIDES: dict[str, Any] = {
    "student": {"kind": "timm", "name": "test_vit", "image_size": 32},
    "adaptor.depth": 0,
    "training.optimizer": {"kind": "sgd", "learning_rate": 0.02},
    "training.epochs": 4,
}
STEPS = (4, 5)  # of 12, in the middle of epochs: on one worker, then on two, and the rest on one


def one_of_two(rank: int, port: int, job: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    with pytest.raises(Stopped):
        list(train(TrainingJob.model_validate_json(job), parallel=True, notice=StopAt(STEPS[1])))
    dist.destroy_process_group()


def test_one_then_two_then_one_worker_train_what_one_trains(smoke_line: SmokeLine, tmp_path: Path) -> None:
    straight, changing = (smoke_line.job(tmp_path / name, OVERRIDES) for name in ("straight", "changing"))
    list(train(straight))
    with pytest.raises(Stopped, match="after step 4;"):
        list(train(changing, notice=StopAt(STEPS[0])))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(one_of_two, (port, changing.model_dump_json()), nprocs=2)
    assert (tmp_path / "changing" / "checkpoints" / "step-000000009.json").exists()
    list(train(changing))
    one, other = (load_file(Path(job.folder) / STUDENT) for job in (straight, changing))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5, msg=name)
    assert [row["epoch"] for row in read_json(Path(changing.folder) / HISTORY)] == [1, 2, 3, 4]


def test_a_range_with_a_number_of_workers_that_does_not_divide_the_batch_is_refused(smoke_line: SmokeLine) -> None:
    settings = smoke_line.context.experiment.training
    check_workers(settings, [1, 2, 4, 8])
    with pytest.raises(ConfigError, match="batch_size 16 on 3 workers") as error:
        check_workers(settings, range(1, 5))
    assert "a multiple of 12" in str(error.value)
