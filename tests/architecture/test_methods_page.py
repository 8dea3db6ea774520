"""METHODS.md names what exists, and leaves out no kind of a union and no kind of oracle vector.

Reads the page. In it a path with a suffix is a file (under orchestrator/, tests/ or the top level) and `path.py:name` a
name that the file holds; under the heading Vectors stand kinds, under Sheet and Small twin names of sheets.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.captioners import CaptionerSettings
from orchestrator.captioners.texts import TextSettings
from orchestrator.datasets import DatasetSettings
from orchestrator.evaluation.settings import Measure
from orchestrator.losses import LossSettings
from orchestrator.students import StudentSettings
from orchestrator.teachers import ImageEncoderSettings, TextEncoderSettings
from orchestrator.training.view_settings import Recipe
from tests.oracles.adapters import adapters

PAGE = "METHODS.md"
UNIONS = {
    "loss": LossSettings,
    "student": StudentSettings,
    "image teacher": ImageEncoderSettings,
    "text encoder": TextEncoderSettings,
    "text": TextSettings,
    "data set": DatasetSettings,
    "captioner": CaptionerSettings,
}
_FILE = re.compile(r"^([\w./-]+\.(?:py|yaml|md|json))(?::(\w+))?$")


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    return (project / PAGE).read_text(encoding="utf-8")


def quoted(text: str) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def cells(page: str) -> Iterator[tuple[str, str]]:
    """(heading of the column, cell) of every cell of every table."""
    heads: list[str] = []
    for line in page.splitlines():
        if not line.startswith("|"):
            heads = []
            continue
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if not heads:
            heads = row
        elif set("".join(row)) - set("-: "):
            assert len(row) == len(heads), f"a row of {len(row)} cells under {len(heads)} headings: {line}"
            yield from zip(heads, row, strict=True)


def kinds_of(union: object) -> set[str]:
    """The kinds that a union of settings tells apart."""
    members = get_args(get_args(union)[0])
    return {member.model_fields["kind"].default for member in members}


def test_every_file_and_every_name_in_it_exists(page: str, project: Path) -> None:
    wrong = []
    for token in quoted(page):
        if not (found := _FILE.match(token)):
            continue
        path, name = found.groups()
        places = [project / top / path for top in ("", "orchestrator", "tests")]
        there = [place for place in places if place.is_file()]
        if not there:
            wrong.append(f"{path} is no file")
        elif name and not re.search(rf"\b{name}\b", there[0].read_text(encoding="utf-8")):
            wrong.append(f"{path} holds no {name}")
    assert wrong == []


def test_the_vectors_are_the_kinds_that_have_an_adapter(page: str) -> None:
    named = {token for head, cell in cells(page) if head == "Vectors" for token in quoted(cell)}
    assert named == set(adapters())


@pytest.mark.parametrize("what", UNIONS)
def test_no_kind_of_a_union_is_missing(page: str, what: str) -> None:
    assert kinds_of(UNIONS[what]) - set(quoted(page)) == set()


def test_every_recipe_of_views_and_every_measure_is_named(page: str, project: Path) -> None:
    told = page + (project / "docs" / "training.md").read_text(encoding="utf-8")
    assert set(get_args(Recipe)) - set(quoted(told)) == set()
    assert set(get_args(Measure)) - set(quoted(page)) == set()


def test_every_sheet_exists_and_every_sheet_that_ships_is_named(page: str, project: Path) -> None:
    columns = ("Sheet", "Small twin")
    named = {
        token for head, cell in cells(page) if head in columns for token in quoted(cell) if re.fullmatch(r"\w+", token)
    }
    assert named == {path.stem for path in (project / "jobs" / "experiments").glob("*.yaml")}


def test_every_file_of_losses_students_texts_and_metrics_is_named(page: str, project: Path) -> None:
    folders = ("losses/formulas", "captioners/texts", "evaluation")
    shared = {"source.py", "files.py", "settings.py", "predict.py", "unit_vectors.py"}  # read by many, of no method
    files = {
        f"{folder}/{path.name}"
        for folder in folders
        for path in (project / "orchestrator" / folder).glob("*.py")
        if path.name not in shared | {"__init__.py"}
    }
    named = {token.partition(":")[0] for token in quoted(page)}
    assert sorted(files - named) == []
