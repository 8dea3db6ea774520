"""Stage `sweep`: a search over one arm's settings; its best values go into the arm's final student.

Reads shards and embeddings; writes `trials.json` and the trials' folders. Knows nothing of Ray Tune.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.config.load import arm_experiment
from orchestrator.config.run_tags import run_tags
from orchestrator.errors import ArtifactError
from orchestrator.executors.protocol import SweepJob, TrialResult
from orchestrator.search.space import SearchSpace, check_space, load_space
from orchestrator.stages import train
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.sweep_note import sweep_note
from orchestrator.stages.tracked_runs import dataset_of, status_of
from orchestrator.tracking import NOTE_TAG
from orchestrator.training.run import train_settings

TRIALS = "trials.json"


def plan(context: Context, parents: Mapping[str, Plan]) -> Plan | None:
    """The sweep depends on the arm it varies and on the search space; None when the experiment has none."""
    reference = context.experiment.sweep
    if reference is None:
        return None
    space = load_space(Path(reference.space))
    arm = arm_experiment(context.experiment, reference.arm)
    check_space(space, arm)
    settings = {
        "space": space.model_dump(mode="json", exclude={"question", "expected", "cost"}),
        "arm": train_settings(arm.student, arm.adaptor, arm.losses, arm.training, arm.text_sources, arm.image_size),
        "engine": context.execution.engine,
    }
    fingerprints = {name: parents[name].identity for name in ("shard", "embed")}
    return Plan("sweep", context.folder / "sweeps" / space.name, settings, fingerprints, is_view=False)


def run_key(context: Context, name: str) -> str:
    """Identity of a sweep's run in tracking."""
    return f"{context.experiment.name}/sweep/{name}"


def make(context: Context, parents: Mapping[str, Plan], planned: Plan) -> dict[str, Any]:
    """Make or reuse the sweep; returns the best trial's values (dotted path -> value)."""
    reference = context.experiment.sweep
    assert reference is not None
    space = load_space(Path(reference.space))

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        arm, key = arm_experiment(context.experiment, reference.arm), run_key(context, space.name)
        context.tracker.start_run(
            key, name=f"sweep {space.name}", parent_key=context.experiment.name,
            params={"num_trials": space.num_trials, "metric": space.metric, "mode": space.mode},
            tags=run_tags(arm, "sweep", sweep=space.name, arm=reference.arm, metric=space.metric),
        )  # fmt: skip
        context.tracker.log_artifact(key, Path(reference.space))
        dataset = dataset_of(context, parents)
        context.tracker.log_dataset(key, dataset)

        def ended(result: TrialResult) -> None:
            """A trial's run ends when the trial does: its final objective, its true status and why it stopped."""
            trial_key = f"{key}/trial/{result.number:04d}"
            context.tracker.log_dataset(trial_key, dataset)
            if space.metric in result.metrics:
                context.tracker.log_metrics(trial_key, {"objective": result.metrics[space.metric]}, result.epochs)
            reason = {"stopped": "stopped early by the scheduler", "failed": result.error}.get(result.status, "")
            context.tracker.end_run(trial_key, "FAILED" if result.status == "failed" else "FINISHED", reason)

        template = train.make_job(context, arm, parents, folder, key)
        try:
            results = _search(context, SweepJob(key, folder, space, arm, template), ended)
        except BaseException as error:
            context.tracker.end_run(key, *status_of(error))
            raise
        finished = [result for result in results if result.status != "failed"]
        if not finished:
            context.tracker.end_run(key, "FAILED", "every trial failed")
            raise ArtifactError(
                "every trial failed", expected="one that ends", remedy=f"first error: {results[0].error}"
            )
        best = best_trial(results, space)
        write_json(folder / TRIALS, {"best": best.number, "trials": [asdict(result) for result in results]})
        note = sweep_note(space, {space.metric: space.mode}, results, best, key)
        context.tracker.set_tags(key, {NOTE_TAG: note, "best_trial": f"{best.number:04d}"})
        context.tracker.log_artifact(key, folder / TRIALS)
        context.tracker.log_metrics(key, {"best_objective": best.metrics[space.metric]}, 0)
        context.tracker.end_run(key, "FINISHED")
        stopped = sum(result.status == "stopped" for result in results)
        counts = {"trials": len(results), "stopped_early": stopped, "failed": len(results) - len(finished)}
        return counts, {space.metric: best.metrics[space.metric]}

    context.make(planned, build)
    best = best_values(planned)
    shown = ", ".join(f"{path} {_short(value)}" for path, value in best.items())
    context.feedback.event("sweep", f"best of {space.num_trials}: {shown}")
    return best


def best_values(planned: Plan) -> dict[str, Any]:
    """The best trial's values (dotted path -> value) of a finished sweep."""
    found = read_json(planned.folder / TRIALS)
    return dict(next(trial for trial in found["trials"] if trial["number"] == found["best"])["values"])


def best_trial(results: list[TrialResult], space: SearchSpace) -> TrialResult:
    """The best among trials that ran to their end (a stopped one cannot win by an early reading); ties: the first."""
    told = [result for result in results if result.status != "failed" and space.metric in result.metrics]
    candidates = [result for result in told if result.status == "finished"] or told
    if not candidates:
        raise ArtifactError(f"no trial reported {space.metric}", expected="a metric that training tells")
    sign = 1.0 if space.mode == "max" else -1.0

    def score(result: TrialResult) -> float:
        value = sign * result.metrics[space.metric]
        return -math.inf if math.isnan(value) else value

    return max(candidates, key=score)


def _search(context: Context, job: SweepJob, ended: Callable[[TrialResult], None]) -> list[TrialResult]:
    space, trials = job.space, context.execution.trials
    context.feedback.event("sweep", f"{space.name}: {space.num_trials} trials, {trials.most_at_once} at a time")
    epochs: dict[int, int] = {}
    with context.feedback.bar("sweep", space.num_trials, "trials") as advance:

        def on_result(result: TrialResult) -> None:
            if result.status == "running":
                epochs[result.number] = result.epochs
            else:
                epochs.pop(result.number, None)
                value = result.metrics.get(space.metric, math.nan)
                told = f"trial {result.number} {result.status} after {result.epochs} epochs: {space.metric} {value:.4g}"
                context.feedback.event("sweep", told + (f" ({result.error})" if result.error else ""))
                if result.number not in done:
                    ended(result)
                done.add(result.number)
            advance(len(done), "running: " + " ".join(f"#{n} epoch {e}" for n, e in sorted(epochs.items())))

        done: set[int] = set()
        return context.executor.sweep(job, trials, on_result)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
