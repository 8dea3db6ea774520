"""What every settings class and every student must keep, run on each member of its union."""

import json
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError

from orchestrator import vocabulary as v
from orchestrator.captioners import CaptionerSettings
from orchestrator.captioners.texts import TextSettings
from orchestrator.datasets import DatasetSettings
from orchestrator.losses import LossSettings
from orchestrator.students import StudentSettings, TimmStudentSettings
from orchestrator.students.context import StudentContext
from orchestrator.teachers import ImageEncoderSettings, TextEncoderSettings

SAMPLES: dict[type, dict[str, Any]] = {  # members whose settings have no defaults for everything
    TimmStudentSettings: {"name": "test_byobnet"},
}
REQUIRED: dict[str, dict[str, Any]] = {
    "cifar": {"root": "x"},
    "coco_captions": {"root": "x"},
    "image_folder": {"root": "x"},
    "inaturalist": {"root": "x"},
    "list_file": {"root": "x", "lists": {"train": "x"}},
    "parquet": {"root": "x", "files": {"train": "x"}},
    "tiny_imagenet": {"root": "x"},
    "timm": {"name": "x"},
    "webdataset": {"root": "x", "shards": {"train": "x"}},
    "openai": {"base_url": "http://localhost/v1", "model": "x", "declared_version": "x"},
    "caption": {"prompt": "general"},
    "description_files": {"labels": "x"},
    "sentences": {"file": "x"},
    "human_captions": {"files": ["x"]},
}


def members(union: Any) -> list[Any]:
    """The settings classes of a union."""
    return list(get_args(get_args(union)[0]))


def required(kind: Any) -> dict[str, Any]:
    """Values of the settings that have no default, by field: a student and a teacher may share a kind's name."""
    given = REQUIRED.get(kind.model_fields["kind"].default, {})
    found = {name: value for name, value in given.items() if name in kind.model_fields}
    if "model" in kind.model_fields and kind.model_fields["model"].is_required():
        found.setdefault("model", "x")
    return found


def built(kind: Any) -> Any:
    """A member with sample settings."""
    return kind(**SAMPLES.get(kind, {}))


UNIONS = (
    CaptionerSettings,
    TextEncoderSettings,
    ImageEncoderSettings,
    StudentSettings,
    LossSettings,
    DatasetSettings,
    TextSettings,
)
SETTINGS = list(dict.fromkeys(kind for union in UNIONS for kind in members(union)))
each_student = pytest.mark.parametrize("kind", members(StudentSettings), ids=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_settings_cannot_change_refuse_unknown_names_and_survive_json(kind: Any) -> None:
    settings = kind(**required(kind))
    assert kind.model_validate(json.loads(settings.model_dump_json())) == settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.kind = "other"
    with pytest.raises(ValidationError, match="Extra inputs"):
        kind(**required(kind), no_such_setting=1)


@each_student
def test_a_student_makes_what_it_says_of_each_row_by_itself(kind: Any) -> None:
    torch.manual_seed(0)
    student = built(kind).build(StudentContext(7, teacher_dim=32, text_dim=32, num_texts=2)).eval()
    shapes = {"image": (3, 64, 64), v.TEACHER_IMAGE: (32,), v.TEXT: (2, 32)}
    rows = [torch.randn(4, *shapes[name]) for name in student.reads]
    with torch.no_grad():
        made = student(*rows)
        alone = [student(*(one[i : i + 1] for one in rows)) for i in range(4)]
    assert set(made) == student.makes()
    widths = {
        v.STUDENT_LOGITS: 7,
        v.STUDENT_FEATURE: student.feature_dim,
        v.STUDENT_MAP: student.map_dim,
        v.STUDENT_EMBEDDING: student.embedding_dim,
        v.STUDENT_TEXT: student.embedding_dim,
    }
    for name, whole in made.items():
        assert whole.shape[:2] == (4, widths[name])
        torch.testing.assert_close(torch.cat([one[name] for one in alone]), whole, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(whole[0], whole[1])
