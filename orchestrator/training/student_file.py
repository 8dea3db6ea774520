"""A trained student as one file: its weights, and in their header what the network is built from.

Reads and writes `*.safetensors`. Knows nothing of losses: the adaptor (unless the classifier reads it),
projection heads and the losses' own weights are left behind (VLM-KD, section 2).
"""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from orchestrator.artifacts.storage import write_atomically
from orchestrator.errors import ArtifactError
from orchestrator.students import StudentSettings
from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.networks.student import Student

if TYPE_CHECKING:
    from orchestrator.training.run import TrainingJob

STUDENT = "student.safetensors"
HEADER = "orchestrator.student"  # of the file's metadata
LEARNT_CLASS_TEXT = "orchestrator.class_text"  # a tensor beside the weights, where the class texts were learnt


def student_name(epoch: int) -> str:
    """The file of the student as it was after an epoch before the last."""
    return f"student-{epoch:04d}.safetensors"


def is_student(name: str) -> bool:
    """Whether a file of a run's folder is a student, of the last epoch or of one before it."""
    return name == STUDENT or fnmatchcase(name, "student-[0-9]*.safetensors")


def context_of(job: "TrainingJob", dims: Mapping[str, int]) -> StudentContext:
    """What the job's student is told when it is built."""
    return StudentContext(
        num_classes=job.num_classes, image_size=job.image_size, num_texts=len(job.text_sources), **dims
    )


def save_student(
    student: Student, job: "TrainingJob", path: Path, dims: Mapping[str, int], class_text: Tensor | None = None
) -> None:
    """Write a student, whole or not at all.

    Args:
        class_text: [C, D] learnt texts of all classes, for which no teacher is asked afterwards.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in student.state_dict().items()}
    if class_text is not None:
        tensors[LEARNT_CLASS_TEXT] = class_text.detach().cpu().contiguous()
    header = {
        "student": job.student.model_dump(mode="json"),
        "adaptor": job.adaptor.model_dump(mode="json"),
        "context": vars(context_of(job, dims)),
    }
    metadata = {HEADER: json.dumps(header, sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def is_written_student(path: Path) -> bool:
    """Whether a file is there and is a student that `save_student` wrote."""
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as file:
        return HEADER in (file.metadata() or {})


def load_student(path: Path) -> Student:
    """The network with its weights, on the CPU.

    Raises:
        ArtifactError: the file does not tell what it is built from.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if HEADER not in metadata:
        raise ArtifactError(f"{path} is no student written here", expected=f"{HEADER} in its metadata")
    header = json.loads(metadata[HEADER])
    settings: Any = TypeAdapter(StudentSettings).validate_python(_without_weights(header["student"]))
    adaptor = AdaptorSettings.model_validate(header["adaptor"])
    student: Student = settings.build(StudentContext(**header["context"]), adaptor)
    student.load_state_dict({name: value for name, value in load_file(path).items() if name != LEARNT_CLASS_TEXT})
    return student


def load_class_text(path: Path) -> Tensor | None:
    """The texts of all classes [C, D], unit, that were learnt with this student; None where they were not learnt."""
    with safe_open(path, framework="pt") as file:
        found: Tensor | None = file.get_tensor(LEARNT_CLASS_TEXT) if LEARNT_CLASS_TEXT in file.keys() else None  # noqa: SIM118
    return found


def _without_weights(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without what only gives start values, which the file's own weights replace."""
    return {
        **settings,
        **{name: value for name, value in (("pretrained", False), ("checkpoint", None)) if name in settings},
    }
