"""One command: settings are read, tracking is opened, the line runs, the result is printed.

Knows nothing of the terminal's arguments, nor which engine it is given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.config.composition import check_composition
from orchestrator.config.execution import Execution
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_execution, load_experiment
from orchestrator.config.run_tags import run_tags
from orchestrator.errors import ConfigError
from orchestrator.executors.protocol import Executor
from orchestrator.reporting.comparison import as_json
from orchestrator.reporting.data import ReportData
from orchestrator.stages import evidence, index, line, planner, report, tracked_runs, train_jobs
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.plan_table import plan_table
from orchestrator.tracking import NullTracker, tracking


@dataclass(frozen=True)
class Request:
    """What the command line asks for: sheets, overrides and options."""

    experiment: Path
    overrides: Sequence[str]
    execution: Path
    execution_overrides: Sequence[str]
    open_executor: Callable[[Execution], Executor]
    dry_run: bool = False
    rebuild: frozenset[str] = frozenset()
    quiet: bool = False
    rehash: bool = False
    verbose: bool = False

    def context(self) -> Context:
        """The sheets, read and validated; no tracking yet."""
        experiment = load_experiment(self.experiment, self.overrides)
        execution = load_execution(self.execution, self.execution_overrides)
        if unknown := self.rebuild - set(line.STAGES):
            raise ConfigError(f"--rebuild {', '.join(sorted(unknown))}", expected=f"one of {', '.join(line.STAGES)}")
        if self.quiet and self.verbose:
            raise ConfigError("--quiet and --verbose", expected="one of the two")
        feedback = Feedback(quiet=self.quiet, verbose=self.verbose)
        return Context(
            experiment,
            execution,
            NullTracker(),
            feedback,
            lambda: self.open_executor(execution),
            self.rebuild,
            self.rehash,
        )


@contextmanager
def tracked(context: Context) -> Iterator[Context]:
    """Open tracking, and the run of the whole command; give the engine back and tell how it ended."""
    name = context.experiment.name
    with tracking(context.execution.tracking, context.root, name) as tracker:
        context.tracker = tracker
        tracker.start_run(name, name=name, tags=run_tags(context.experiment, "run"))
        tracked_runs.log_sheets(context)
        try:
            yield context
        except BaseException as error:
            tracker.end_run(name, *tracked_runs.status_of(error))
            raise
        finally:
            context.close()
        tracker.end_run(name, "FINISHED")


def run_command(until: str, request: Request) -> dict[str, Any]:
    """Run the line up to a stage, or tell what would be done.

    Returns:
        What `--json` tells: where everything lies, and the metrics of the arms that were evaluated.
    """
    context = request.context()
    if until != "index":
        check_composition(context.experiment)
    if request.dry_run:
        return _tell(context, line.forecast(context, until))
    with tracked(context):
        plans = line.run(context, until)
        tracked_runs.log_fingerprints(context, plans)
    told = _made(context, plans)
    if "report" in plans:
        data = report.load(plans["report"])
        _show(context, plans["report"].folder, data)
        told["metrics"] = as_json({arm.name: arm.metrics for arm in data.arms})
    return told


def evidence_command(
    request: Request, arms: Sequence[str], seeds: Sequence[int], on_made: Callable[[Context, evidence.Cell], None]
) -> dict[str, Any]:
    """Train arms on paired seeds and print the differences with their intervals, or tell what would be done.

    Args:
        on_made: called with each finished cell.

    Returns:
        What `--json` tells.
    """
    context = request.context()
    arms = arms or list(context.experiment.arms)
    evidence.check(context.experiment, arms, seeds)
    check_composition(context.experiment, arms)
    if request.dry_run:
        plans = line.plan_data(context)
        planned = [("evidence", *line.told(context, cell.plan)) for cell in evidence.cells(context, plans, arms, seeds)]
        return _tell(context, [*line.forecast(context, "shard"), *planned])
    with tracked(context):
        plans = line.run(context, "shard")
        tracked_runs.log_fingerprints(context, plans)
        table = evidence.make(context, plans, arms, seeds, lambda cell: on_made(context, cell))
    context.feedback.console.print(table, markup=False)
    return _made(context, plans)


def write_jobs_command(request: Request, folder: Path) -> dict[str, Any]:
    """Make what the arms' trainings read, and write the trainings as files, or tell what would be done.

    Returns:
        What `--json` tells.
    """
    context = request.context()
    check_composition(context.experiment)
    if request.dry_run:
        files = [("write", str(folder / f"{arm}.json"), "write") for arm in context.experiment.arms]
        return _tell(context, [*line.forecast(context, "sweep"), *files])
    with tracked(context):
        written = train_jobs.write(context, line.run(context, "sweep"), folder)
    for path in written.values():
        context.feedback.console.print(str(path), markup=False)
    return {"experiment": context.experiment.name, "jobs": {arm: str(path) for arm, path in written.items()}}


def plan_command(request: Request) -> dict[str, Any]:
    """Probe what the line's teacher outputs will cost, and print it; the probe's rows stay in the store. With
    `dry_run` nothing is probed: tell what the line up to there would make.

    Returns:
        What `--json` tells: the estimates.
    """
    context = request.context()
    check_composition(context.experiment)
    if request.dry_run:
        return _tell(context, line.forecast(context, "embed"))
    try:
        folder = index.make(context).folder
        found = planner.estimates(context, folder)
    finally:
        context.close()
    planner.write_predictions(context, found)
    console = context.feedback.console
    console.print(plan_table(found))
    of_images = [one for one in found if one.unit in ("images", "views")]
    if of_images and (told := planner.advice(context, of_images[-1], folder)):
        console.print(told)
    return {"experiment": context.experiment.name, "estimates": [as_json(asdict(one)) for one in found]}


def _made(context: Context, plans: Mapping[str, Plan]) -> dict[str, Any]:
    return {
        "experiment": context.experiment.name,
        "artifacts": {name: str(planned.folder) for name, planned in plans.items()},
    }


def _show(context: Context, folder: Path, data: ReportData) -> None:
    from orchestrator.reporting.table import results_table

    console = context.feedback.console
    console.print(results_table(data))
    for note in data.notes[1:] if context.experiment.description else data.notes:
        console.print(note)
    console.print(f"report:      {folder / report.HTML}")
    if context.execution.tracking.kind != "none":
        console.print(f"open MLflow: {report.open_command(context)}")


def _tell(context: Context, forecast: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    console = context.feedback.console
    tree: dict[str, Experiment | Execution] = {"experiment": context.experiment, "execution": context.execution}
    for name, settings in tree.items():
        console.print(f"[bold]{name}[/bold]")
        console.print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).rstrip(), markup=False)
    for stage, folder, what in forecast:
        console.print(f"[bold]{stage:<9}[/bold] {folder}: {what}")
    would = [{"stage": stage, "folder": folder, "would": what} for stage, folder, what in forecast]
    return {"experiment": context.experiment.name, "dry_run": True, "stages": would}
