"""What an engine must offer the stages: map a table over actors, train a student, train many, run a sweep.

Holds the protocol and its plain-data arguments. Knows nothing of Ray.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from orchestrator.config.execution import ActorPoolSettings, PriceSettings, TrialSettings, WorkerSettings
from orchestrator.config.experiment import Experiment
from orchestrator.search.check import trial_experiment
from orchestrator.search.proposer import Proposer
from orchestrator.search.space import COST, SearchSpace
from orchestrator.search.sweep_folder import SweepFolder
from orchestrator.search.trial import TrialResult
from orchestrator.search.variants import variant_of
from orchestrator.training.run import TrainingJob
from orchestrator.training.tune import TuningJob

TableFunction = Callable[[pa.Table], pa.Table]
PLACEMENT = "placement"  # column an engine may add to receipts: where the micro-batch ran


class TableWorker(Protocol):
    """Plain data that opens, inside an actor, the function applied to each micro-batch."""

    def reads(self) -> Any:
        """Plain JSON of any depth that names the files it opens, beside those of rows: an engine may bring them."""

    def fetch(self, rows: pa.Table) -> pa.Table:
        """Add to a micro-batch what lies elsewhere (the images' bytes); runs on any process, ahead of the model."""

    def open(self, *, own_process: bool) -> TableFunction:
        """Load what is heavy, once per actor; the function commits its own results and returns receipts.

        Args:
            own_process: the function may end its process, and the engine then tries the micro-batch again in a new one.
        """


@dataclass(frozen=True)
class SweepJob:
    """A search over one arm; plain data, because a trial makes its own job wherever it runs.

    Attributes:
        run_key: identity of the sweep in tracking.
        folder: where the trials' folders and the engine's own state go.
        arm: the experiment that trials vary.
        template: the training job of the arm; a trial's differs in settings, folder and identity.
        variants: the same with other texts and embeddings, by the name of the variant that a trial's values are of.
        warm: ended trials of other sweeps, which the searcher is told first.
        prices: what the budget's cost is reckoned with.
    """

    run_key: str
    folder: Path
    space: SearchSpace
    arm: Experiment
    template: TrainingJob
    variants: Mapping[str, TrainingJob] = field(default_factory=dict)
    warm: tuple[TrialResult, ...] = ()
    prices: PriceSettings = field(default_factory=PriceSettings)

    def proposer(self) -> Proposer:
        """What gives trials their values."""
        return Proposer(self.space, self.warm)

    def used_up(self, found: SweepFolder, running: Collection[TrialResult] = ()) -> str:
        """Why no further trial is to be proposed, "" when one may be."""
        return self.space.budget.reached(
            [*found.ended().values(), *running], proposed=len(found.suggested()), elapsed_s=found.elapsed_s,
            prices=self.prices,
        )  # fmt: skip

    def make_job(self, number: int, values: Mapping[str, Any]) -> TrainingJob:
        """The training job of trial `number` with these swept values."""
        experiment = trial_experiment(self.arm, self.space, values)
        changed = {
            "run_key": f"{self.run_key}/trial/{number:04d}",
            "folder": str(self.folder / "trials" / f"{number:04d}"),
            "text_sources": experiment.text_sources,
            "student": experiment.student,
            "adaptor": experiment.adaptor,
            "losses": experiment.losses,
            "training": experiment.training,
            "image_size": experiment.image_size,
            "costs": tuple(name for name in self.space.objectives if name.startswith(COST)),
        }
        variant = variant_of(self.space, values)
        template = self.variants[variant] if variant else self.template
        checkpointing = template.checkpointing.model_copy(update={"root": None})  # a trial's lie in its own folder
        return template.model_copy(update={**changed, "checkpointing": checkpointing})


OnReceipt = Callable[[pa.Table], None]
OnStall = Callable[[str], None]
OnProgress = Callable[[Mapping[str, Any]], None]  # what a training last told (see `read_progress`)
EachProgress = Callable[[int, Mapping[str, Any]], None]  # the same with the job's position
EachDone = Callable[[int, str], None]  # the job's position and its error text, "" when it ended well
OnResult = Callable[[TrialResult], None]
OnEvent = Callable[[str], None]  # what happened, in words


class Executor(Protocol):
    """An engine. All of its calls block until the work is done and may be repeated after a crash."""

    def map_table(
        self, plan: Path, worker: TableWorker, pool: ActorPoolSettings, on_receipt: OnReceipt, on_stall: OnStall
    ) -> None:
        """Apply the worker to every micro-batch of a plan (see `MicroBatches`); pass receipts on as they come.

        `on_stall` is called with a reason, in words, when nothing has come for a minute, and each minute again.
        """

    def train(self, job: TrainingJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """Train one student on as many workers as `workers` says; resumes from its checkpoints."""

    def tune(self, job: TuningJob, workers: WorkerSettings, on_progress: OnProgress) -> None:
        """Tune an image teacher with the resources of one worker; resumes from its folder."""

    def train_many(
        self, jobs: Sequence[TrainingJob], trials: TrialSettings, on_progress: EachProgress, on_done: EachDone
    ) -> None:
        """Train students with one worker each, several at a time; `on_done` gets each one's error text, or ""."""

    def sweep(self, job: SweepJob, trials: TrialSettings, on_result: OnResult, on_event: OnEvent) -> list[TrialResult]:
        """Search; `on_result` is called whenever a trial reports or ends, `on_event` with what else happens."""

    def close(self) -> None:
        """Give back what was started."""
