"""Stage `reproduce`: the cells of a paper's tables, each kept as it ends, and the page that compares them.

Reads reproductions and their groups; the line of each group makes what its students read, and its cells are those of
`evidence`. Writes students below the storage root, a record for each finished cell, and RESULTS.md. Knows no engine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from orchestrator.config.composition import check_composition
from orchestrator.config.execution import Execution
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment, load_execution
from orchestrator.config.reproduction import (
    SCALES,
    SPACES,
    TEACHER,
    Group,
    Reproduction,
    Scale,
    group_experiment,
    load_group,
    load_reproductions,
)
from orchestrator.errors import ArtifactError, ConfigError, OrchestratorError
from orchestrator.executors.protocol import Executor
from orchestrator.reporting.cell_record import CellRecords
from orchestrator.stages import cell_cost, evaluate_teacher, evidence, feature_spaces, index, line, results
from orchestrator.stages.command import tracked
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.recorded import UNTRAINED, identity, record
from orchestrator.tracking import NullTracker
from orchestrator.training.student_file import STUDENT


@dataclass(frozen=True)
class ReproduceRequest:
    """What the command line asks for.

    Attributes:
        data: the user's own images in place of the sheets'; only at scale `data`.
        cells: patterns of GROUP/ARM; none: all cells of the targets.
        folder: of the reproductions.
        page: where RESULTS.md goes.
    """

    targets: Sequence[str]
    scale: Scale
    seeds: Sequence[int]
    execution: Path
    execution_overrides: Sequence[str]
    open_executor: Callable[[Execution], Executor]
    data: Path | None = None
    cells: Sequence[str] = ()
    folder: Path = Path("reproductions")
    page: Path = Path("RESULTS.md")
    rebuild: frozenset[str] = frozenset()
    quiet: bool = False
    verbose: bool = False

    @property
    def feedback(self) -> Feedback:
        """What a terminal is told.

        Raises:
            ConfigError: both quiet and verbose.
        """
        if self.quiet and self.verbose:
            raise ConfigError("--quiet and --verbose", expected="one of the two")
        return Feedback(quiet=self.quiet, verbose=self.verbose)

    @property
    def command(self) -> str:
        """As it is told beside the cells; without the places of one machine."""
        scale = "--data ROOT" if self.scale == "data" else f"--scale {self.scale}"
        cells = f" --cells '{','.join(self.cells)}'" if self.cells else ""
        return f"orchestrator reproduce {' '.join(self.targets)} {scale} --seeds {_listed(self.seeds)}{cells}"


def _listed(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))


@dataclass(frozen=True)
class GroupCells:
    """A group whose cells are asked for."""

    name: str
    group: Group
    experiment: Experiment
    arms: tuple[str, ...]

    @property
    def students(self) -> list[str]:
        """Its arms, without what stands in place of one."""
        return [arm for arm in self.arms if arm not in UNTRAINED]


def wanted(request: ReproduceRequest, reproductions: Sequence[Reproduction]) -> list[GroupCells]:
    """The groups of the targets with their arms, in order; one that others start from stands before them.

    Raises:
        ConfigError: a scale without any cell of the targets, an arm that a sheet lacks, patterns that fit no cell.
    """
    known = [cell for one in reproductions for cell in one.cells(request.scale)]
    if not known:
        raise ConfigError(
            f"{', '.join(request.targets)}: no cells at scale {request.scale}", expected=f"one of {', '.join(SCALES)}"
        )
    asked = [cell for cell in known if _fits(request, *cell)]
    if not asked:
        raise ConfigError(f"no cell fits --cells {','.join(request.cells)}", expected="patterns of GROUP/ARM")
    arms: dict[str, dict[str, None]] = {}
    groups: dict[str, Group] = {}

    def add(name: str, arm: str) -> None:
        groups[name] = group = load_group(request.folder, request.scale, name)
        if group.starts_from is not None:
            add(group.starts_from, arm)
        arms.setdefault(name, {})[arm] = None

    for cell in asked:
        add(*cell)
    found = []
    for name, names in arms.items():
        experiment = group_experiment(groups[name], request.scale, name, request.data)
        if unknown := [arm for arm in names if arm not in UNTRAINED and arm not in experiment.arms]:
            raise ConfigError(
                f"{request.folder / request.scale / name}.yaml: its sheet has no arm {', '.join(unknown)}",
                expected=f"one of {', '.join(experiment.arms)}",
            )
        if TEACHER in names and experiment.teacher_tuning is None:
            raise ConfigError(f"{name}/{TEACHER}: its sheet tunes no image teacher", expected="teacher_tuning")
        found.append(GroupCells(name, groups[name], experiment, tuple(names)))
    return found


def _fits(request: ReproduceRequest, group: str, arm: str) -> bool:
    return not request.cells or any(fnmatch(f"{group}/{arm}", pattern) for pattern in request.cells)


def run(request: ReproduceRequest) -> dict[str, Any]:
    """Make the missing cells, write the page, and print the targets' tables. Returns what there is, for scripts.

    Raises:
        ArtifactError: cells failed or could not begin; all others are made and kept.
    """
    reproductions = load_reproductions(request.folder, request.targets)
    groups = wanted(request, reproductions)
    execution = load_execution(request.execution, request.execution_overrides)
    for one in groups:
        check_composition(one.experiment, one.students)
    feedback, failed = request.feedback, []
    for one in groups:
        try:
            _make_group(request, execution, feedback, one)
        except OrchestratorError as error:
            failed.append(f"{one.name}: {error}")
            feedback.event("reproduce", f"{one.name} failed: {error}")
        results.write(request.folder, request.page)
    found = results.Results(request.folder)
    for target in reproductions:
        feedback.console.print(found.section(target, request.scale), markup=False)
    if failed:
        raise ArtifactError(
            f"{len(failed)} of {len(groups)} groups did not end: {'; '.join(failed)}",
            remedy="the same command goes on with what is missing",
        )
    return {"scale": request.scale, "page": str(request.page), "cells": _counted(request, groups)}


def _counted(request: ReproduceRequest, groups: Sequence[GroupCells]) -> list[dict[str, Any]]:
    """Each cell with the seeds that there are of its settings, and those asked for that are missing."""
    kept, told = CellRecords(request.folder / results.RESULTS), []
    for one in groups:
        for arm in one.arms:
            now = identity(one.experiment, arm)
            there = {each.seed for each in kept.read(request.scale, one.name, arm) if each.experiment == now}
            missing = [seed for seed in ([0] if arm == TEACHER else request.seeds) if seed not in there]
            told.append({"cell": f"{one.name}/{arm}", "seeds": sorted(there), "missing": missing})
    return told


def _make_group(request: ReproduceRequest, execution: Execution, feedback: Feedback, one: GroupCells) -> None:
    context = open_context(request, execution, feedback, one)
    kept = CellRecords(request.folder / results.RESULTS)
    with tracked(context):
        plans = prepare(context, one)

        def keep(arm: str, seed: int, folder: Path, epochs: int) -> None:
            kept.write(record(context, request.scale, one.name, arm, seed, folder, epochs, request.command))

        def on_made(cell: evidence.Cell) -> None:
            epochs = cell.experiment.training.epochs + _epochs_before(request, one, cell.arm)
            keep(cell.arm, cell.seed, cell.plan.folder, epochs)

        if TEACHER in one.arms and (tuning := context.experiment.teacher_tuning) is not None:
            keep(TEACHER, 0, evaluate_teacher.make(context, plans).folder, tuning.epochs)
        for seed in request.seeds if SPACES in one.arms else ():
            keep(SPACES, seed, feature_spaces.make(context, plans, seed).folder, 0)
        changes = _starts(request, execution, one)
        evidence.make_cells(
            context, plans, evidence.cells(context, plans, one.students, request.seeds, changes), on_made
        )


def open_context(request: ReproduceRequest, execution: Execution, feedback: Feedback, one: GroupCells) -> Context:
    """The context of one group, whose engine starts when it is needed."""

    def opener() -> Executor:
        return request.open_executor(execution)

    return Context(one.experiment, execution, NullTracker(), feedback, opener, request.rebuild)


def prepare(context: Context, one: GroupCells) -> dict[str, Plan]:
    """Make what the group's students read."""
    if one.group.random_teacher is not None:
        from orchestrator.teachers.random_start import make_random_start

        num_classes = index.class_groups(line.run(context, "index")["index"].folder).num_classes
        folder = Path(getattr(context.experiment.image_teacher, "model", ""))
        make_random_start(one.group.random_teacher, folder, num_classes, context.experiment.image_size)
    return line.run(context, "shard")


def _starts(
    request: ReproduceRequest, execution: Execution, one: GroupCells
) -> Callable[[str, int], Mapping[str, Any]]:
    """The student that each cell starts from: that of the same arm and seed in another group."""
    if one.group.starts_from is None:
        return evidence.as_the_arm
    cells = execution.work_folder / f"reproduce-{request.scale}-{one.group.starts_from}" / "cells"
    return lambda arm, seed: {"student.checkpoint": str(cells / arm / f"seed-{seed}" / STUDENT)}


def _epochs_before(request: ReproduceRequest, one: GroupCells, arm: str) -> int:
    if one.group.starts_from is None:
        return 0
    group = load_group(request.folder, request.scale, one.group.starts_from)
    experiment = group_experiment(group, request.scale, one.group.starts_from, request.data)
    return arm_experiment(experiment, arm).training.epochs


def tell(request: ReproduceRequest) -> dict[str, Any]:
    """Print what would be made: every cell, how many of its seeds are there, and what the rest will cost. Returns the
    counts for scripts."""
    reproductions = load_reproductions(request.folder, request.targets)
    groups = wanted(request, reproductions)
    execution = load_execution(request.execution, request.execution_overrides)
    console, costs = request.feedback.console, cell_cost.Costs(request.folder, request.scale)
    cells = _counted(request, groups)
    by_name = {one["cell"]: one for one in cells}
    for target in reproductions:
        console.print(f"{target.target}: {target.title}\n  question: {target.question}", markup=False)
        console.print(
            f"  expected: {target.expected}\n  cost: {target.cost.get(request.scale, 'not told')}", markup=False
        )
        for name, row in target.rows.items():
            if why := row.why_not(request.scale):
                console.print(f"  {name}: not run because {why}", markup=False)
    for one in groups:
        check_composition(one.experiment, one.students)
        console.print(f"{request.scale}/{one.name}: {one.group.sheet}", markup=False)
        for arm in one.arms:
            missing = len(by_name[f"{one.name}/{arm}"]["missing"])
            seeds = 1 if arm == TEACHER else len(request.seeds)
            cost = costs.add(one.name, arm, one.experiment, missing)
            console.print(f"  {arm}: {seeds - missing} of {seeds} seeds are there{cost}", markup=False)
    console.print(costs.told(execution.trials.num_workers), markup=False)
    return {"dry_run": True, "scale": request.scale, "cells": cells}


def measure(request: ReproduceRequest) -> dict[str, Any]:
    """Train every cell of the targets for two epochs and keep what the second one took, for `tell`. Returns what was
    measured, for scripts."""
    groups = wanted(request, load_reproductions(request.folder, request.targets))
    execution = load_execution(request.execution, request.execution_overrides)
    feedback = request.feedback
    for one in groups:
        context = open_context(request, execution, feedback, one)
        try:
            plans = prepare(context, one)
            cell_cost.measure(context, plans, request.folder, request.scale, one.name, one.students)
        finally:
            context.close()
    return {"scale": request.scale, "measured": [f"{one.name}/{arm}" for one in groups for arm in one.students]}
