"""Every shipped reproduction holds together: its cells build at each scale, and its numbers are the papers'."""

import re
from pathlib import Path

import pytest

from orchestrator.config.composition import problems_of
from orchestrator.config.load import arm_experiment
from orchestrator.config.reproduction import (
    LEAST_EPOCHS,
    SCALES,
    SPACES,
    TEACHER,
    Reproduction,
    Scale,
    group_experiment,
    load_group,
    load_reproductions,
)

PROJECT = Path(__file__).resolve().parents[3]
FOLDER = PROJECT / "reproductions"
TARGETS = [
    *(f"vlmkd:table{number}" for number in range(1, 10)), "vlmkd:fig1", "vlmkd:fig3", "vlmkd:fig4", "ood:main",
    "ood:metrics", "ood:spectrum", "ood:filter", "ood:text", "ood:visual", "nyu:fig1", "nyu:fig2",
]  # fmt: skip
ALL = load_reproductions(FOLDER, ["all"])


def groups(scale: Scale) -> dict[str, list[str]]:
    """Group -> arms of all targets."""
    found: dict[str, list[str]] = {}
    for group, arm in dict.fromkeys(cell for one in ALL for cell in one.cells(scale)):
        found.setdefault(group, []).append(arm)
    return found


EACH = [(scale, name, arms) for scale in SCALES for name, arms in groups(scale).items()]


def test_the_targets_are_those_that_are_told() -> None:
    assert sorted(one.target for one in ALL) == sorted(TARGETS)


@pytest.mark.parametrize(("scale", "name", "arms"), EACH, ids=[f"{scale}/{name}" for scale, name, _ in EACH])
def test_every_cell_of_a_group_builds(
    scale: Scale, name: str, arms: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    group = load_group(FOLDER, scale, name)
    experiment = group_experiment(group, scale, name)
    assert group.differs
    epochs = 0
    if group.starts_from is not None:
        before = group_experiment(load_group(FOLDER, scale, group.starts_from), scale, group.starts_from)
        assert set(arms) <= set(before.arms)
        epochs = before.training.epochs
    for arm in arms:
        if arm == TEACHER:
            assert experiment.teacher_tuning is not None
            continue
        if arm == SPACES:
            continue
        built = arm_experiment(experiment, arm)
        assert problems_of(built) == [], arm
        assert scale == "full" or epochs + built.training.epochs >= LEAST_EPOCHS, arm


@pytest.mark.parametrize("scale", SCALES)
def test_no_group_is_shipped_that_no_target_asks_for(scale: Scale) -> None:
    asked = groups(scale)
    asked |= {start: [] for name in asked if (start := load_group(FOLDER, scale, name).starts_from) is not None}
    assert {path.stem for path in (FOLDER / scale).glob("*.yaml")} == set(asked)


def printed(value: float) -> set[str]:
    """How a paper may have printed a number: with its own decimals, as a share, without the leading nought."""
    forms = {f"{value:.{digits}f}" for digits in range(5) if round(value, digits) == value}
    return forms | {form.removeprefix("0") for form in forms} | {f"{value / 100:g}"}


@pytest.mark.parametrize("reproduction", ALL, ids=lambda one: one.target)
def test_a_papers_numbers_stand_in_one_paragraph_of_the_specification(
    reproduction: Reproduction, shared_materials: Path
) -> None:
    methods = shared_materials / "reference" / "methods.md"
    if not methods.is_file():
        pytest.skip("no specification of methods among the shared materials")
    lines = [set(re.findall(r"\d*\.?\d+", paragraph)) for paragraph in _paragraphs(methods.read_text())]
    for name, row in reproduction.rows.items():
        wanted = [printed(value) for value in row.paper.values()]
        assert any(all(forms & line for forms in wanted) for line in lines), (name, row.paper)


def _paragraphs(text: str) -> list[str]:
    """Lines of tables one by one, all other lines by blocks without an empty one."""
    found: list[str] = []
    for block in text.split("\n\n"):
        rows = [line for line in block.split("\n") if line.startswith("|")]
        found += rows
        found.append("\n".join(line for line in block.split("\n") if not line.startswith("|")))
    return found
