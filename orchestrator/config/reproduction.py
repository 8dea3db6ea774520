"""What a table or a figure of a paper is made of: its rows, each a group's arm, and the paper's numbers beside them.

A reproduction is `FOLDER/PAPER_PART.yaml`; its cells are trained by the groups `FOLDER/SCALE/GROUP.yaml`, each an
experiment sheet and what is changed of it. The same group name means the same row at every scale. Reads YAML files.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.config.experiment import NAME_PATTERN, Experiment
from orchestrator.config.load import apply_overrides, read_yaml, validate, with_overrides
from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen

Scale = Literal["small", "full", "data"]
SCALES: tuple[Scale, ...] = ("small", "full", "data")
TEACHER = "(teacher)"  # in place of an arm: the tuned image teacher itself
SPACES = "(spaces)"  # in place of an arm: how well features and texts tell classes apart; nothing is trained
LEAST_EPOCHS = 35  # of the embedded recipe (evidence.yaml): a shorter training is no cell of a small table
LEAST_SEEDS = 3
CELL_PATTERN = r"^[a-z0-9_]+/([a-z0-9_]+|\(teacher\)|\(spaces\))$"


class Group(Frozen):
    """`FOLDER/SCALE/NAME.yaml`: a sheet whose arms are cells.

    `differs` says in words what is otherwise than in the paper. `starts_from` names a group, whose student of the same
    arm and seed each training begins with. `random_teacher` names a timm network; the image teacher's folder is made of
    it with random weights where it is missing, for data that no teacher is there for.
    """

    sheet: str
    differs: str = ""
    settings: dict[str, Any] = Field(default_factory=dict, description="a.b: value, checked with the experiment")
    starts_from: str | None = Field(default=None, pattern=NAME_PATTERN)
    random_teacher: str | None = None


class Column(Frozen):
    """One number of a cell. `name` is that of an evaluation's accuracy or measure.

    Attributes:
        suffix: of the group that this column's cells belong to, such as `_few_shot`; the rows' arms stay the same.
        better: which way is good.
    """

    heading: str
    name: str
    factor: float = 100.0
    digits: int = Field(default=1, ge=0, le=4)
    suffix: str = ""
    better: Literal["higher", "lower"] = "higher"


class Row(Frozen):
    """One line of a table: `cell` is GROUP/ARM; `paper` has the paper's numbers by column.

    `small`, `full` and `data` say why it is not run at that scale; a scale without the group is no excuse.
    """

    cell: str = Field(pattern=CELL_PATTERN)
    paper: dict[str, float] = Field(default_factory=dict)
    small: str = ""
    full: str = ""
    data: str = ""

    @property
    def group(self) -> str:
        """The group of the first column's cell."""
        return self.cell.split("/")[0]

    @property
    def arm(self) -> str:
        """The arm of the group's sheet."""
        return self.cell.split("/")[1]

    def why_not(self, scale: Scale) -> str:
        """Why it is not run at this scale; empty where it is."""
        return str(getattr(self, scale))


class Finding(Frozen):
    """What the paper says of two rows: `row` is higher (or lower) than `than` in a column."""

    says: str
    row: str
    than: str
    column: str
    expect: Literal["higher", "lower"] = "higher"


class Reproduction(Frozen):
    """`FOLDER/PAPER_PART.yaml`: a table or figure of a paper, with what it asks and what is expected.

    `cost` has the scales at which it can be run; `order` is the place among all, what matters most first.
    """

    target: str = Field(pattern=r"^[a-z]+:[a-z0-9]+$")
    order: int = 100
    title: str
    question: str
    expected: str
    cost: dict[Scale, str]
    note: str = ""
    columns: dict[str, Column] = Field(min_length=1)
    rows: dict[str, Row] = Field(min_length=1)
    findings: tuple[Finding, ...] = ()

    @model_validator(mode="after")
    def _names_hold(self) -> Self:
        problems = [
            f"rows.{name}.paper: no column {column} (columns: {', '.join(self.columns)})"
            for name, row in self.rows.items()
            for column in row.paper
            if column not in self.columns
        ]
        for number, finding in enumerate(self.findings):
            problems += [
                f"findings.{number}: no row {row} (rows: {', '.join(self.rows)})"
                for row in (finding.row, finding.than)
                if row not in self.rows
            ]
            if finding.column not in self.columns:
                problems.append(f"findings.{number}: no column {finding.column}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def cells(self, scale: Scale) -> list[tuple[str, str]]:
        """(group, arm) of all that is run at a scale, each once, in the order of columns and rows."""
        if scale not in self.cost:
            return []
        found = [
            (f"{row.group}{column.suffix}", row.arm)
            for column in self.columns.values()
            for row in self.rows.values()
            if not row.why_not(scale)
        ]
        return list(dict.fromkeys(found))


def load_reproductions(folder: Path, targets: Sequence[str]) -> list[Reproduction]:
    """The reproductions of these targets, in the order asked for; `all` is every one of the folder.

    Raises:
        ConfigError: there is no such target, with the nearest ones; or a file that does not hold together.
    """
    files = sorted(folder.glob("*.yaml"))
    found = {path.stem.replace("_", ":", 1): path for path in files}
    if not found:
        raise ConfigError(f"{folder}: no reproductions there", expected="a folder with PAPER_PART.yaml files")
    unknown = [target for target in targets if target != "all" and target not in found]
    if unknown:
        near = difflib.get_close_matches(unknown[0], found, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"all, {', '.join(found)}"
        raise ConfigError(f"no reproduction {', '.join(unknown)}", expected=hint)
    wanted = list(dict.fromkeys(each for target in targets for each in (found if target == "all" else [target])))
    loaded = {name: validate(Reproduction, read_yaml(found[name]), str(found[name])) for name in wanted}
    for name, one in loaded.items():
        if one.target != name:
            raise ConfigError(f"{found[name]}: target is {one.target}", expected=f"{name}, after the file's name")
    each = list(loaded.values())
    return sorted(each, key=lambda one: one.order) if "all" in targets else each


def load_group(folder: Path, scale: Scale, name: str) -> Group:
    """A group of a scale.

    Raises:
        ConfigError: there is no such file, or it does not hold together.
    """
    path = folder / scale / f"{name}.yaml"
    return validate(Group, read_yaml(path), str(path))


def group_experiment(group: Group, scale: Scale, name: str, data: Path | None = None) -> Experiment:
    """The experiment of a group: its sheet with what the group changes; its name is that of the group.

    Args:
        data: the folder of the images, where the user names it.
    """
    tree: dict[str, Any] = apply_overrides(read_yaml(Path(group.sheet)), group.settings)
    tree["name"] = f"reproduce-{scale}-{name}"
    if data is not None:
        tree = apply_overrides(tree, {"dataset.root": str(data)})
        if archives := sorted(path.name for path in data.glob("*.tar")):
            tree = apply_overrides(tree, {"dataset.archives": archives})
    experiment = validate(Experiment, tree, f"{group.sheet} as {scale}/{name}")
    for arm in experiment.arms:
        with_overrides(experiment, experiment.arms[arm], f"{group.sheet} as {scale}/{name}: arms.{arm}")
    return experiment
