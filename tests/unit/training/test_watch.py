"""Coherence while a student is trained, and alarms that are told once, also after a resume."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.artifacts.storage import write_json
from orchestrator.config.load import load_experiment
from orchestrator.stages.context import Plan
from orchestrator.stages.evaluate import alarms_of
from orchestrator.students.networks.student import Student
from orchestrator.tracking import MemoryTracker
from orchestrator.training.run import HISTORY
from orchestrator.training.watch import Alarms, watched_coherence
from orchestrator.training.watch_settings import AlarmSettings
from tests.smoke_line import SMOKE

RUN = "demo/arm/a"
ROWS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
ALL = np.arange(40)


class Linear(Student):
    """A row of numbers to its product with a matrix, as an embedding or as a feature."""

    def __init__(self, matrix: Tensor, output: str) -> None:
        super().__init__()
        self.matrix, self.output = nn.Parameter(matrix), output
        self.embedding_dim = matrix.shape[1] if output == v.STUDENT_EMBEDDING else 0

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        return {self.output: rows @ self.matrix}

    def makes(self) -> set[str]:
        return {self.output}


def supply(rows: np.ndarray) -> Mapping[str, Tensor]:
    return {"image": torch.from_numpy(ROWS[rows])}


def coherence_of(matrix: Tensor, output: str = v.STUDENT_EMBEDDING, most: int = 1000) -> dict[str, float]:
    found = watched_coherence(Linear(matrix, output), supply, ALL, ROWS, most)
    assert found is not None
    return found()


def test_a_copy_of_the_teacher_is_coherent_and_a_mirrored_one_keeps_its_neighbours_alone() -> None:
    assert coherence_of(torch.eye(6)) == {"select/m_rel": 1.0, "select/m_neigh": 1.0}
    assert coherence_of(-torch.eye(6)) == {"select/m_rel": 0.0, "select/m_neigh": 1.0}


def test_a_feature_or_an_embedding_of_another_width_has_neighbours_and_no_m_rel() -> None:
    wider = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0][:6]
    assert coherence_of(wider) == {"select/m_neigh": 1.0}
    assert coherence_of(torch.eye(6), v.STUDENT_FEATURE) == {"select/m_neigh": 1.0}


def test_at_most_so_many_images_are_looked_at_and_none_where_the_teacher_saw_none() -> None:
    student = Linear(torch.eye(6), v.STUDENT_EMBEDDING)
    watched = watched_coherence(student, supply, ALL, ROWS, 5)
    assert watched is not None
    assert watched.rows.tolist() == [0, 10, 20, 29, 39]
    of_some = watched_coherence(student, supply, ALL[1::2], ROWS, 5)
    assert of_some is not None
    assert of_some.rows.tolist() == [1, 11, 21, 29, 39]
    assert np.array_equal(of_some.teacher, ROWS[[1, 11, 21, 29, 39]])
    assert watched_coherence(student, supply, ALL[:1], ROWS, 5) is None
    assert watched_coherence(student, supply, ALL, None, 5) is None
    assert watched_coherence(student, supply, ALL, ROWS, 0) is None


def test_an_alarm_is_told_in_its_epoch_to_log_and_tracker_and_a_resume_does_not_tell_it_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = MemoryTracker()
    kept = [{"epoch": float(epoch), "train/a.kept_fraction": 0.1} for epoch in (1, 2, 3)]
    first = Alarms(AlarmSettings(), tracker, RUN)
    with caplog.at_level(logging.WARNING):
        for epoch in (1, 2):
            first.look(kept[:epoch], epoch)
        resumed = Alarms.after(kept[:2], AlarmSettings(), tracker, RUN)
        resumed.look(kept, 3)
    assert [record.message[:31] for record in caplog.records] == ["demo/arm/a: alarm in epoch 1: t"]
    assert tracker.runs[RUN].metrics == {"alarm/filter_keeps_little": [(1, 1.0)]}
    assert tracker.runs[RUN].tags["alarm.filter_keeps_little"].startswith("epoch 1: train/a.kept_fraction is 0.100")
    assert resumed.raised == first.raised
    assert (resumed.number(), Alarms(AlarmSettings(), tracker, RUN).number()) == ({"alarms": 1}, {})


def test_unseen_classes_that_fall_over_the_kept_epochs_are_an_alarm_of_the_evaluation(tmp_path: Path) -> None:
    experiment = load_experiment(SMOKE)
    history = [{"epoch": float(epoch), "train/accuracy": 0.02 * epoch, "select/mean_per_class": 0.5}
               for epoch in range(1, 31)]  # fmt: skip
    write_json(tmp_path / HISTORY, history)
    student = Plan("train", tmp_path, {}, {}, is_view=False)
    kept = [{"unseen_mean_per_class": 0.4 - 0.02 * epoch} for epoch in range(12)]
    found = alarms_of(experiment, student, kept)
    assert [(alarm.name, alarm.epoch) for alarm in found] == [("overfitting", 28)]
    assert "while ood/mean_per_class falls" in found[0].message
    assert alarms_of(experiment, student, [{"all": 0.4}] * 12) == []
