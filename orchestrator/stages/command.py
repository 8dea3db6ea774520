"""One command: settings are read, tracking is opened, the line runs, the result is printed.

The only place that chooses the engine. Knows nothing of the terminal's arguments.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from orchestrator.config.execution import Execution
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_execution, load_experiment
from orchestrator.errors import ConfigError
from orchestrator.executors.protocol import Executor
from orchestrator.stages import line, report
from orchestrator.stages.context import Context
from orchestrator.stages.feedback import Feedback
from orchestrator.tracking import NullTracker, tracking


def run_command(
    until: str,
    experiment_path: Path,
    overrides: Sequence[str],
    execution_path: Path,
    execution_overrides: Sequence[str],
    *,
    dry_run: bool,
    rebuild: frozenset[str],
    quiet: bool,
    open_executor: Callable[[Execution], Executor],
) -> None:
    """Run the line up to a stage, or with `dry_run` tell what would be done."""
    experiment = load_experiment(experiment_path, overrides)
    execution = load_execution(execution_path, execution_overrides)
    if unknown := rebuild - set(line.STAGES):
        raise ConfigError(f"--rebuild {', '.join(sorted(unknown))}", expected=f"one of {', '.join(line.STAGES)}")
    feedback = Feedback(quiet=quiet)
    if dry_run:
        _tell(Context(experiment, execution, NullTracker(), feedback, lambda: open_executor(execution), rebuild), until)
        return
    root = Path(execution.storage_root).resolve()
    with tracking(execution.tracking, root, experiment.name) as tracker:
        context = Context(experiment, execution, tracker, feedback, lambda: open_executor(execution), rebuild)
        tracker.start_run(experiment.name, name=experiment.name, tags={"kind": "run", "dataset": experiment.dataset.kind})
        try:
            plans = line.run(context, until)
        except BaseException as error:
            tracker.end_run(experiment.name, "FAILED", str(error).split("\n", 1)[0][:200])
            raise
        finally:
            context.close()
        tracker.end_run(experiment.name, "FINISHED")
    if "report" in plans:
        _show(context, plans["report"].folder, report.load(plans["report"]))


def _show(context: Context, folder: Path, data: report.ReportData) -> None:
    from orchestrator.reporting.table import results_table

    console = context.feedback.console
    console.print(results_table(data))
    for note in data.notes[1:] if context.experiment.description else data.notes:
        console.print(note)
    console.print(f"report:      {folder / report.HTML}")
    if context.execution.tracking.kind != "none":
        console.print(f"open MLflow: {report.open_command(context)}")


def _tell(context: Context, until: str) -> None:
    console = context.feedback.console
    tree: dict[str, Experiment | Execution] = {"experiment": context.experiment, "execution": context.execution}
    for name, settings in tree.items():
        console.print(f"[bold]{name}[/bold]")
        console.print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).rstrip(), markup=False)
    for stage, folder, what in line.forecast(context, until):
        console.print(f"[bold]{stage:<9}[/bold] {folder}: {what}")
