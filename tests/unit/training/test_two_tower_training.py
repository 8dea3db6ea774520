"""The page on two-tower students: its presets train in the product's own loop, and what is trained is loaded."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml

from orchestrator import vocabulary as v
from orchestrator.students import StudentSettings
from orchestrator.training.data import load_split, load_teacher
from orchestrator.training.run import train
from orchestrator.training.student_file import STUDENT, load_student
from tests.smoke_line import SmokeLine

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "two_tower_students.md").read_text()
PRESETS: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
NAMES = ["matching", "matching_images", "combined", "clip_kd", "mobileclip"]
WITHOUT_SHIPPED = {"losses.classification": None, "losses.text": None, "losses.image": None}


def overrides(preset: dict[str, Any]) -> dict[str, Any]:
    losses = {f"losses.{name}": loss for name, loss in preset["losses"].items()}
    return {**WITHOUT_SHIPPED, **losses, "student": preset["student"]}


@pytest.mark.parametrize("preset", PRESETS, ids=NAMES)
def test_a_preset_trains_and_its_student_is_loaded_as_it_was(
    preset: dict[str, Any], smoke_line: SmokeLine, tmp_path: Path
) -> None:
    job = smoke_line.job(tmp_path / "job", overrides(preset))
    every = list(train(job))
    losses = [one.metrics["train/loss"] for one in every]
    assert losses[-1] < losses[0]
    has_texts = preset["student"].get("text_side", True)  # through which class texts come into the student's space
    assert ("select/all" in every[-1].metrics) == has_texts
    student = load_student(Path(job.folder) / STUDENT)
    assert type(student).__module__.startswith("orchestrator.students.networks.two_tower")
    images, teacher = load_split(Path(job.shards), "train"), load_teacher(Path(job.embeddings), job.text_sources)
    assert teacher.image_vectors is not None
    given = {
        "image": torch.zeros(4, 3, 32, 32),
        v.TEACHER_IMAGE: torch.from_numpy(teacher.image_vectors[:4].copy()),
        v.TEXT: torch.ones(4, len(job.text_sources), teacher.dims["text_dim"]),
    }
    with torch.no_grad():
        made = student.eval()(*(given[name] for name in student.reads))
    assert len(images.labels) > 4
    assert set(made) == student.makes()
    assert all(value.isfinite().all() for value in made.values())


def test_the_page_names_every_two_tower_student() -> None:
    kinds = {one.model_fields["kind"].default for one in get_args(get_args(StudentSettings)[0])}
    assert kinds - {"timm", "tiny"} <= set(re.findall(r"`(\w+)`", PAGE))
