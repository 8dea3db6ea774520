"""Losses that remember (class statistics, queue, momentum copy) in a real training: they fall and resume exactly."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.training.run import HISTORY, TrainingJob, train
from tests.smoke_line import SmokeLine
from tests.unit.training.test_resume import assert_same

QUEUE = {"queue_size": 64, "head_dim": 16}
LOSSES: dict[str, dict[str, Any]] = {
    "proco": {"kind": "proco", "head_dim": 32},
    "paco": {"kind": "paco", **QUEUE},
    "gpaco": {"kind": "gpaco", **QUEUE},
    "multitask_supcon": {"kind": "multitask_supcon", **QUEUE},
    "supervised_contrastive": {"kind": "supervised_contrastive", "views": "extra"},
}


def run(job: TrainingJob, *, stop_after: int | None = None) -> None:
    for progress in train(job):
        if progress.epoch == stop_after:
            break


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_with_a_memory_falls_in_training_and_resumes_in_the_same_bits(
    smoke_line: SmokeLine, tmp_path: Path, kind: str
) -> None:
    overrides: dict[str, Any] = {
        "losses": {"classification": {"kind": "logit_adjusted_cross_entropy"}, "contrast": LOSSES[kind]},
        "training.more_views": [{"kind": "shift"}, {"kind": "shift"}],
        "training.epochs": 4,
    }
    straight, resumed = (smoke_line.job(tmp_path / name, overrides) for name in ("straight", "resumed"))
    run(straight)
    run(resumed, stop_after=2)
    run(resumed)
    assert_same(straight, resumed)
    history = json.loads((Path(straight.folder) / HISTORY).read_text())
    values = [row["train/contrast"] for row in history]
    first = 1 if kind == "proco" else 0  # in its first epoch a class mean holds little but the batch that is judged
    assert values[-1] < values[first]
