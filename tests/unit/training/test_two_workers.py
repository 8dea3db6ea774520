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
TAKES_TARGETS: dict[str, Any] = {
    "losses.image": {"kind": "image_distillation", "weight": 0.5, "feature_weight": 0},
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("smoke_line", {}),
    "teacher_views": ("viewing_line", {}),
    "mixing": ("viewing_line", {**TAKES_TARGETS, "training.mixing": {"label_smoothing": 0.1}}),
    "recipes_sampler_schedule": (
        "smoke_line",
        {
            "training.views": {"recipe": "randclsstack"},
            "training.sampler": {"kind": "class_balanced"},
            "training.passes_per_epoch": 2,
            "training.loss_schedules": {"text": {"points": [[0, 0], [0.5, 1]]}},
            "training.gradient_report_every_steps": 3,
        },
    ),
    "views_with_negatives_of_all": (
        "smoke_line",
        {
            "training.views": {"recipe": "randcls"},
            "training.more_views": [{"recipe": "sim_aug"}, {"pad": 3}],
            "losses.views": {"kind": "supervised_contrastive", "negatives": "global"},
        },
    ),
    "one_draw_for_a_batch": ("smoke_line", {"training.views": {"recipe": "livt", "shared_draw": True}}),
}
CASES["micro_batches_with_negatives_of_all"] = (
    "smoke_line",
    {
        "training.accumulation_steps": 2,
        "training.gradient_clip_norm": 1.0,
        "training.ema": {"decay": 0.5},
        "training.more_views": [{"recipe": "sim_aug"}],
        "losses.views": {"kind": "paco", "queue_size": 32, "head_dim": 8, "head_batch_norm": False},
    },
)
CASES["micro_batches_mixed"] = (
    "viewing_line",
    {**TAKES_TARGETS, "training.mixing": {}, "training.accumulation_steps": 4},
)
NUM_SEEN = {"few_shot": 4}
CASES["few_shot"] = ("smoke_line", {"training.sampler": {"kind": "few_shot"}})


def one_worker(rank: int, port: int, job: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for _ in train(TrainingJob.model_validate_json(job), parallel=True):
        pass
    dist.destroy_process_group()


@pytest.mark.parametrize("case", CASES)
def test_two_workers_equal_one_process_on_the_joined_batch(
    case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    line, overrides = CASES[case]
    made: SmokeLine = request.getfixturevalue(line)
    jobs = (made.job(tmp_path / name, {**OVERRIDES, **overrides}) for name in ("alone", "together"))
    alone, together = (job.model_copy(update={"num_seen_classes": NUM_SEEN.get(case)}) for job in jobs)
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
