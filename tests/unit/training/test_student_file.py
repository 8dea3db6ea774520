"""A student's file: what comes back gives the same outputs, for every family and placement of heads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from orchestrator import vocabulary as v
from orchestrator.errors import ArtifactError
from orchestrator.students import AdaptorSettings, TimmStudentSettings, TinyStudentSettings
from orchestrator.students.context import StudentContext
from orchestrator.training.run import TrainingJob, train
from orchestrator.training.student_file import STUDENT, context_of, load_student, save_student
from orchestrator.training.view_settings import ShiftViews
from tests.smoke_line import SmokeLine

DIMS = {"text_dim": 6, "teacher_dim": 5}
FAMILIES: dict[str, tuple[Any, int]] = {
    **{name: ({"name": name}, 32) for name in ("resnet18", "resnet34", "resnet50", "densenet121")},
    "mobilenetv3_small_050": ({"name": "mobilenetv3_small_050"}, 32),
    "vit_base_patch32": ({"name": "vit_base_patch32_224", "image_size": 64}, 64),
    "vit_avg": ({"name": "test_vit", "image_size": 32, "global_pool": "avg", "drop_path": 0.1}, 32),
}
HEADS: dict[str, dict[str, Any]] = {
    "embedding student": {"classifier": None, "embedding": {}},
    "embedding of its own width": {"classifier": None, "embedding": {"dim": 3}},
    "classifier on the embedding": {"embedding": {}, "classifier": {"kind": "linear", "reads": "embedding"}},
    "classifier on the adaptor": {"classifier": {"kind": "linear", "reads": "adaptor"}},
    "cosine classifier": {"classifier": {"kind": "cosine"}},
    "own pixels": {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)},
}


def job(student: Any, image_size: int, folder: Path) -> TrainingJob:
    return TrainingJob(
        run_key="test", folder=str(folder), shards="", embeddings="", parents={}, num_classes=7, image_size=image_size,
        text_sources=("one",), student=student, adaptor=AdaptorSettings(), losses={}, training={"views": ShiftViews()},
    )  # fmt: skip


def assert_comes_back(student: Any, image_size: int, folder: Path) -> None:
    """Save with weights and running statistics of their own, load, compare every output."""
    made = job(student, image_size, folder)
    torch.manual_seed(0)
    network = student.build(context_of(made, DIMS), made.adaptor)
    images = torch.randn(2, 3, image_size, image_size)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, image_size, image_size))
        expected = network.eval()(images)
        path = folder / STUDENT
        save_student(network, made, path, DIMS)
        torch.manual_seed(1)
        found = load_student(path).eval()(images)
    assert set(found) == set(expected) == network.makes()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert network.feature_dim == expected[v.STUDENT_FEATURE].shape[1]
    assert network.map_dim == expected[v.STUDENT_MAP].shape[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_students_of_every_family_come_back_with_the_same_outputs(name: str, tmp_path: Path) -> None:
    settings, image_size = FAMILIES[name]
    assert_comes_back(TimmStudentSettings(**settings), image_size, tmp_path)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("kind", [TinyStudentSettings, TimmStudentSettings])
def test_students_with_every_head_come_back_with_the_same_outputs(name: str, kind: Any, tmp_path: Path) -> None:
    own = {"name": "test_byobnet"} if kind is TimmStudentSettings else {"width": 4}
    assert_comes_back(kind.model_validate({**own, **HEADS[name]}), 32, tmp_path)


def test_the_deepest_student_has_the_widths_that_losses_and_adaptors_are_told() -> None:
    with torch.device("meta"):  # no memory and no time: shapes only
        student = TimmStudentSettings(name="resnet152").build(StudentContext(365, image_size=224))
        made = student.eval()(torch.empty(2, 3, 224, 224))
    assert (student.feature_dim, student.map_dim) == (2048, 2048)
    assert made[v.STUDENT_MAP].shape == (2, 2048, 7, 7)
    assert made[v.STUDENT_LOGITS].shape == (2, 365)
    assert (
        sum(parameter.numel() for parameter in student.backbone.parameters()) == 58_143_808
    )  # the paper's, less 1000-way


def test_a_trained_embedding_student_comes_back_although_no_loss_read_the_image_teacher(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    overrides = {
        "student.classifier": None, "student.embedding": {}, "losses.image": None, "training.epochs": 1,
        "losses.classification": {"kind": "embedding_cross_entropy"},
    }  # fmt: skip
    trained = smoke_line.job(tmp_path, overrides)
    history = [progress.metrics for progress in train(trained)]
    assert "select/all" in history[-1]  # by cosine to the class texts
    assert load_student(tmp_path / STUDENT).embedding_dim == 16


def test_other_files_are_no_students(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ArtifactError, match="no student written here"):
        load_student(tmp_path / "other.safetensors")
