"""What is watched while a student is trained: its coherence with the image teacher, and the alarms over its history.

Reads rows of the selection split that it is given; writes alarms to a tracker and to the log. Knows nothing of losses,
and changes nothing of the training.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from orchestrator import vocabulary as v
from orchestrator.evaluation.image_coherence import neighbour_overlap, own_teacher_nearest
from orchestrator.evaluation.predict import Supply, embed
from orchestrator.students.networks.student import Student
from orchestrator.tracking.tracker import Tracker
from orchestrator.training.alarms import Alarm, History, alarms
from orchestrator.training.watch_settings import AlarmSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Coherence:
    """Called, it gives `select/m_rel` and `select/m_neigh` of a student in training (methods 1.10, 16.7).

    Attributes:
        supply: what the student reads of the selection split.
        rows: [n] of it that are looked at.
        teacher: [n, D] the image teacher's embeddings of these images as they are.
    """

    student: Student
    supply: Supply
    rows: npt.NDArray[np.int64]
    teacher: npt.NDArray[np.float32]

    def __call__(self) -> dict[str, float]:
        """See the class; without an embedding as wide as the teacher's there is no M_rel."""
        made = self.student.makes()
        output = v.STUDENT_EMBEDDING if v.STUDENT_EMBEDDING in made else v.STUDENT_FEATURE
        if output not in made:
            return {}
        rows = embed(self.student, lambda part: self.supply(self.rows[part]), len(self.rows), output)
        found = {"select/m_neigh": neighbour_overlap(rows, self.teacher)}
        if output == v.STUDENT_EMBEDDING and rows.shape[1] == self.teacher.shape[1]:
            found["select/m_rel"] = own_teacher_nearest(rows, self.teacher)["m_rel"]
        return found


def watched_coherence(
    student: Student, supply: Supply, rows: npt.NDArray[np.int64], teacher: npt.NDArray[np.generic] | None, most: int
) -> Coherence | None:
    """The coherence on at most `most` evenly spaced images of a split; None where there is nothing to compare.

    Args:
        rows: of the split, those that may be looked at.
        teacher: [N, D] rows of the split's images as they are, which may be memory-mapped; None: it has not seen them.
    """
    if teacher is None or min(len(rows), most) < 2:
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(np.int64)]
    return Coherence(student, supply, rows, np.asarray(teacher[rows], np.float32))


@dataclass
class Alarms:
    """Raises the alarms of a run: to its log, and to the tracker as metrics `alarm/NAME` and tags `alarm.NAME`.

    Attributes:
        raised: so far, those of a resumed training's history included.
    """

    settings: AlarmSettings
    tracker: Tracker
    run_key: str
    raised: list[Alarm] = field(default_factory=list)

    @classmethod
    def after(cls, history: History, settings: AlarmSettings, tracker: Tracker, run_key: str) -> Self:
        """With the alarms of a history that was told before, which a resumed training begins with."""
        return cls(settings, tracker, run_key, alarms(history, settings))

    def number(self) -> dict[str, int]:
        """`alarms`, how many there were so far, for a progress line; nothing while there was none."""
        return {"alarms": len(self.raised)} if self.raised else {}

    def look(self, history: History, epoch: int) -> None:
        """Raise what the last epoch of the history gives reason for."""
        found = alarms(history, self.settings, newest=True)
        if not found:
            return
        self.raised += found
        for alarm in found:
            _log.warning("%s: alarm in epoch %d: %s", self.run_key, alarm.epoch, alarm.message)
        self.tracker.log_metrics(self.run_key, {f"alarm/{alarm.name}": 1.0 for alarm in found}, epoch)
        self.tracker.set_tags(self.run_key, alarm_tags(self.raised))


def alarm_tags(raised: Iterable[Alarm]) -> dict[str, str]:
    """Tags of a run that tell its alarms: one for each name, with every epoch and message."""
    told: dict[str, list[str]] = {}
    for alarm in raised:
        told.setdefault(f"alarm.{alarm.name}", []).append(f"epoch {alarm.epoch}: {alarm.message}")
    return {name: "; ".join(messages) for name, messages in told.items()}


def plain_alarms(raised: Sequence[Alarm]) -> list[dict[str, str | int]]:
    """Alarms as plain JSON."""
    return [{"name": alarm.name, "epoch": alarm.epoch, "message": alarm.message} for alarm in raised]
