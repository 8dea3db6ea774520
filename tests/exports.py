"""Exports of untrained students with weights and statistics of their own, for tests of what is done with exports.

Writes into the folder that it is given. Knows nothing of single tests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orchestrator.exporting.bundle import write_bundle
from orchestrator.students import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.networks.student import IMAGE, Student
from orchestrator.training.run import TrainingJob
from orchestrator.training.student_file import STUDENT, context_of, load_student, save_student
from orchestrator.training.view_settings import ShiftViews

CLASSES = ("dax", "wug", "blick", "fep", "toma", "zav", "lurk")
DIMS = {"text_dim": 6, "teacher_dim": 16, "teacher_map_dim": 32}


def write_student(settings: Any, folder: Path, image_size: int = 32) -> Path:
    """A student's file, whose running statistics have moved."""
    job = TrainingJob(
        run_key="test", folder=str(folder), shards="", embeddings="", parents={}, num_classes=len(CLASSES),
        image_size=image_size, text_sources=("one",), student=settings, adaptor=AdaptorSettings(), losses={},
        training={"views": ShiftViews()},
    )  # fmt: skip
    torch.manual_seed(0)
    context: StudentContext = context_of(job, DIMS)
    student = settings.build(context, job.adaptor)
    if student.reads[0] == IMAGE:
        with torch.no_grad():
            student.train()(torch.randn(4, 3, image_size, image_size))
    path = folder / STUDENT
    save_student(student, job, path, DIMS)
    return path


def export_student(
    settings: Any, folder: Path, *, image_size: int = 32, frame_size: int | None = None, text_dim: int = 16,
    text_tower: Mapping[str, Any] | None = None,
) -> tuple[Path, Student]:  # fmt: skip
    """(an export with `CLASSES`, the student in evaluation mode); class texts are random of `text_dim` numbers."""
    file = write_student(settings, folder, image_size)
    student = load_student(file).eval()
    random = torch.Generator().manual_seed(2)
    text = torch.nn.functional.normalize(torch.randn(len(CLASSES), text_dim, generator=random), dim=1)
    write_bundle(
        folder / "export", student, settings, file=file, class_text=text, classes=CLASSES, num_seen=len(CLASSES),
        image_size=image_size, frame_size=frame_size or image_size, framing="crop",
        text_tower=None if text_tower is None else dict(text_tower), fingerprint="",
    )  # fmt: skip
    return folder / "export", student
