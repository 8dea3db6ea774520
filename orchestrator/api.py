"""The line from Python: an experiment is opened, run until a stage, and its results are tables.

    from orchestrator.api import Line

    line = Line("jobs/experiments/demo.yaml", {"training.epochs": 10})
    results = line.run()
    results.metrics          # pandas: a row for each arm
    results.curves           # pandas: arm, metric, epoch, value
    results.table("captions")  # pyarrow: what a stage wrote

It is the very line of the command line: the same folders, reuse, tracking and errors, so that either goes on from what
the other has made. In a notebook progress is shown in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.artifacts.manifest import Manifest, read_manifest
from orchestrator.artifacts.storage import read_table
from orchestrator.config.composition import check_composition
from orchestrator.config.execution import Execution
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import apply_overrides, load_experiment, read_yaml, validate, with_overrides
from orchestrator.engine import open_executor
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.guide.artifact import artifacts_below
from orchestrator.reporting.data import ReportData, read_report_data
from orchestrator.stages import line
from orchestrator.stages.command import tracked
from orchestrator.stages.context import Context
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.report import DATA, HTML
from orchestrator.tracking import NullTracker
from orchestrator.training.student_file import STUDENT

if TYPE_CHECKING:
    import pandas as pd

IN_PROCESS: Mapping[str, Any] = {"name": "in_process", "engine": "in_process", "storage_root": "runs"}


class Line:
    """One experiment and where it runs.

    Args:
        experiment: a sheet's path, or the settings.
        overrides: dotted path -> value, as `a.b=value` on the command line; None removes a loss.
        execution: a sheet's path, or the settings; None is one process on this machine.
        execution_overrides: likewise, for example {"storage_root": "elsewhere", "tracking.kind": "none"}.
        rebuild: stages to be made anew.
        quiet: print nothing.

    Raises:
        ConfigError: the sheets, with every problem at once.
    """

    def __init__(
        self,
        experiment: str | Path | Experiment,
        overrides: Mapping[str, Any] | None = None,
        *,
        execution: str | Path | Execution | None = None,
        execution_overrides: Mapping[str, Any] | None = None,
        rebuild: Sequence[str] = (),
        quiet: bool = False,
    ) -> None:
        sheet = experiment if isinstance(experiment, Experiment) else load_experiment(Path(experiment))
        self.experiment = with_overrides(sheet, overrides, "the experiment") if overrides else sheet
        self.execution = _execution(execution, execution_overrides or {})
        if unknown := set(rebuild) - set(line.STAGES):
            raise ConfigError(f"rebuild: {', '.join(sorted(unknown))}", expected=f"some of {', '.join(line.STAGES)}")
        self._rebuild, self._quiet = frozenset(rebuild), quiet

    def forecast(self, until: str = "report") -> "pd.DataFrame":
        """What `run` would do, without doing it: stage, folder, what (make, reuse, remake or refused)."""
        import pandas as pd

        rows = line.forecast(self._context(), _stage(until))
        return pd.DataFrame(rows, columns=["stage", "folder", "what"])

    def run(self, until: str = "report") -> "Results":
        """Make everything up to a stage, or reuse it.

        Raises:
            OrchestratorError: what the user can act on, as on the command line.
        """
        stage, context = _stage(until), self._context()
        if stage != "index":
            check_composition(self.experiment)
        with tracked(context):
            line.run(context, stage)
        return self.results()

    def results(self) -> "Results":
        """What lies there already; nothing is run."""
        return Results(self._context().folder)

    def _context(self) -> Context:
        execution = self.execution
        return Context(
            self.experiment, execution, NullTracker(), Feedback(quiet=self._quiet), lambda: open_executor(execution),
            self._rebuild,
        )  # fmt: skip


@dataclass(frozen=True)
class Results:
    """What an experiment's folder holds, as tables.

    Attributes:
        folder: the experiment's.
    """

    folder: Path

    @cached_property
    def report(self) -> ReportData:
        """Everything that the report shows.

        Raises:
            ArtifactError: the report is not made.
        """
        path = self.folder / "report" / DATA
        if not path.is_file():
            raise ArtifactError(
                f"{self.folder} has no report yet", remedy='run the line to its end: line.run("report")'
            )
        return read_report_data(path)

    @property
    def html(self) -> Path:
        """The report's page."""
        return self.folder / "report" / HTML

    @property
    def metrics(self) -> "pd.DataFrame":
        """A row for each arm: all, many, medium, few, ... on the report split, percent."""
        import pandas as pd

        return pd.DataFrame.from_dict({arm.name: dict(arm.metrics) for arm in self.report.arms}, orient="index")

    @property
    def per_class(self) -> "pd.DataFrame":
        """A row for each arm and class: arm, label, name, train_count, accuracy (percent)."""
        import pandas as pd

        return pd.DataFrame([{"arm": arm.name, **row._asdict()} for arm in self.report.arms for row in arm.per_class])

    @property
    def curves(self) -> "pd.DataFrame":
        """A row for each point of each curve: arm, metric, epoch, value."""
        import pandas as pd

        rows = [
            (arm.name, metric, epoch, value)
            for arm in self.report.arms
            for metric, points in arm.curves.items()
            for epoch, value in points
        ]
        return pd.DataFrame(rows, columns=["arm", "metric", "epoch", "value"])

    @property
    def trials(self) -> "pd.DataFrame":
        """A row for each trial of the sweep: its values, objective, status and epochs; no rows without a sweep."""
        import pandas as pd

        sweep = self.report.sweep
        return pd.DataFrame([
            {"trial": row.trial_id, **row.values, "objective": row.objective, "status": row.status,
             "epochs": row.epochs}
            for row in (sweep.trials if sweep else ())
        ])  # fmt: skip

    @property
    def artifacts(self) -> dict[str, Manifest]:
        """Every finished artifact by its path below the folder."""
        found = {path.relative_to(self.folder).as_posix(): read_manifest(path) for path in artifacts_below(self.folder)}
        return {name: manifest for name, manifest in found.items() if manifest is not None}

    def table(self, artifact: str, name: str | None = None) -> pa.Table:
        """A table of an artifact.

        Args:
            artifact: its path below the folder, as `index` or `captions`.
            name: of the table, as `images`; None where there is one.

        Raises:
            ArtifactError: there is none of that name; lists those that are there.
        """
        folder = self.folder / artifact
        there = {path.stem: path for path in sorted(folder.glob("*.parquet"))}
        chosen = name or (next(iter(there)) if len(there) == 1 else "")
        if chosen not in there:
            expected = ", ".join(there) or ", ".join(self.artifacts)
            raise ArtifactError(f"{folder}: no table {name or '(which one?)'}", expected=expected)
        return read_table(there[chosen])

    def student(self, arm: str) -> Path:
        """The weights of an arm's student, which `orchestrator export` and `predict` take.

        Raises:
            ArtifactError: the arm is not trained.
        """
        path = self.folder / "arms" / arm / STUDENT
        if not path.is_file():
            trained = sorted(found.parent.name for found in self.folder.glob(f"arms/*/{STUDENT}"))
            raise ArtifactError(
                f"{path}: no student there", expected=f"an arm: {', '.join(trained) or 'none is trained'}"
            )
        return path


def _stage(name: str) -> str:
    if name not in line.STAGES:
        raise ConfigError(f"until: {name}", expected=f"one of {', '.join(line.STAGES)}")
    return name


def _execution(given: str | Path | Execution | None, overrides: Mapping[str, Any]) -> Execution:
    if isinstance(given, Execution):
        return validate(Execution, apply_overrides(given.model_dump(mode="json"), overrides), "the execution")
    tree = dict(IN_PROCESS) if given is None else read_yaml(Path(given))
    return validate(Execution, apply_overrides(tree, overrides), str(given or "the execution"))
