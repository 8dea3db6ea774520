"""What a student's settings say it can do is what the built student can do."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from orchestrator import vocabulary as v
from orchestrator.students import AdaptorSettings, StudentSettings
from orchestrator.students.context import StudentContext

WIDTH = 16
STUDENTS: list[dict[str, Any]] = [
    {"kind": "tiny"},
    {"kind": "tiny", "embedding": {}},
    {"kind": "tiny", "classifier": None, "embedding": {"dim": 5}},
    {"kind": "timm", "name": "test_byobnet"},
    {"kind": "timm", "name": "test_byobnet", "classifier": None, "embedding": {}},
    {"kind": "projection"},
    {"kind": "projection", "text_side": False},
    {"kind": "bottleneck", "image_input": "teacher_feature", "embedding_dim": 7},
    {"kind": "attention"},
    {"kind": "attention", "image_input": "teacher_map"},
    {"kind": "cbam", "text_side": False},
    {"kind": "resnet_embedding"},
    {"kind": "resnet_embedding", "text_side": False},
    {"kind": "resnet_embedding", "embedding": None, "classifier": {"kind": "linear"}},
    {"kind": "densenet_embedding"},
]


@pytest.mark.parametrize("has_texts", [True, False], ids=["texts", "no_texts"])
@pytest.mark.parametrize("tree", STUDENTS, ids=lambda tree: "-".join(str(value) for value in tree.values()))
def test_abilities_are_those_of_the_built_student(tree: dict[str, Any], has_texts: bool) -> None:
    settings: Any = TypeAdapter(StudentSettings).validate_python(tree)
    context = StudentContext(
        num_classes=3, image_size=32, teacher_dim=WIDTH, teacher_feature_dim=WIDTH, teacher_map_dim=WIDTH,
        text_dim=WIDTH if has_texts else 0, num_texts=int(has_texts),
    )  # fmt: skip
    student, able = settings.build(context, AdaptorSettings()), settings.abilities(has_texts=has_texts)
    made = student.makes()
    assert able.reads == student.reads[0]
    assert able.reads_images == (student.reads[0] == "image")
    assert able.classifies == (v.STUDENT_LOGITS in made)
    assert able.embeds == (v.STUDENT_EMBEDDING in made)
    assert able.embeds == bool(student.embedding_dim)
    if able.embeds:
        assert (able.embedding_dim or WIDTH) == student.embedding_dim
    assert able.has_text_side == (v.STUDENT_TEXT in made)
    fitting = WIDTH if able.has_text_side else (student.embedding_dim or WIDTH)
    assert able.takes_class_texts == (able.embeds and student.class_embeddings(torch.ones(2, fitting)) is not None)
