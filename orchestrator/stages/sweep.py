"""Stage `sweep`: a search over one arm's settings; its best values go into the arm's final student.

Reads shards and embeddings; writes `trials.json` and the trials' folders. Knows nothing of Ray Tune.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from orchestrator.artifacts.manifest import Status
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.config.load import arm_experiment
from orchestrator.config.run_tags import run_tags
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.executors.protocol import SweepJob
from orchestrator.search.check import check_space
from orchestrator.search.ranking import best_trial, pareto_front
from orchestrator.search.space import load_space
from orchestrator.search.sweep_folder import SweepFolder
from orchestrator.search.trial import TrialResult
from orchestrator.search.warm_start import read_warm_start
from orchestrator.stages import index, sweep_answers, sweep_variants, train
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.sweep_note import sweep_note
from orchestrator.stages.tracked_runs import dataset_of, status_of
from orchestrator.tracking import NOTE_TAG
from orchestrator.training.run import TrainingJob, train_settings

TRIALS = "trials.json"


def plan(context: Context, parents: Mapping[str, Plan]) -> Plan | None:
    """The sweep depends on the arm it varies and on the search space; None when the experiment has none."""
    reference = context.experiment.sweep
    if reference is None:
        return None
    space = load_space(Path(reference.space))
    arm = arm_experiment(context.experiment, reference.arm)
    check_space(space, arm)
    if unpriced := space.budget.unpriced(context.execution.prices):
        raise ConfigError(f"search space {space.name}: {unpriced}", remedy="set one of them, or another limit")
    settings = {
        "space": space.model_dump(mode="json", exclude={"question", "expected", "cost", "warm_start"}),
        "arm": train_settings(arm.student, arm.adaptor, arm.losses, arm.training, arm.text_sources, arm.image_size),
        "decided_by": space.metric,  # the fingerprint knows no order of objectives
        "engine": context.execution.engine,
    }
    fingerprints = {name: parents[name].identity for name in ("shard", "embed")}
    for name, variant in sweep_variants.plan(context, parents, space).items():
        fingerprints[f"embed/{name}"] = variant.plans["embed"].identity
    fingerprints |= {f"warm_start/{name}": found for name, found in read_warm_start(space).fingerprints.items()}
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
        objectives = ", ".join(f"{mode} {name}" for name, mode in space.objectives.items())
        arm, key = arm_experiment(context.experiment, reference.arm), run_key(context, space.name)
        context.tracker.start_run(
            key, name=f"sweep {space.name}", parent_key=context.experiment.name,
            params={"num_trials": space.num_trials, "objectives": objectives},
            tags=run_tags(arm, "sweep", sweep=space.name, arm=reference.arm, objectives=objectives),
        )  # fmt: skip
        context.tracker.log_artifact(key, Path(reference.space))
        dataset = dataset_of(context, parents)
        context.tracker.log_dataset(key, dataset)

        def ended(result: TrialResult) -> None:
            """A trial's run ends when the trial does: its final objective, its true status and why it stopped."""
            trial_key = f"{key}/trial/{result.number:04d}"
            context.tracker.log_dataset(trial_key, dataset)
            final = {f"objective/{name}": result.metrics[name] for name in space.objectives if name in result.metrics}
            final = final if len(space.objectives) > 1 else {}
            if space.metric in result.metrics:
                final["objective"] = result.metrics[space.metric]
            if final:
                context.tracker.log_metrics(trial_key, final, result.epochs)
            reason = {"stopped": "stopped early by the scheduler", "failed": result.error}.get(result.status, "")
            context.tracker.end_run(trial_key, "FAILED" if result.status == "failed" else "FINISHED", reason)
            context.keep(folder)

        template, templates = train.make_job(context, arm, parents, folder, key), dict[str, TrainingJob]()
        for name, variant in sweep_variants.plan(context, parents, space).items():
            context.feedback.event("sweep", f"variant {name}: {sweep_variants.shown(variant.values)}")
            variant.make()
            inner = arm_experiment(variant.context.experiment, reference.arm, variant.values)
            templates[name] = train.make_job(variant.context, inner, variant.plans, folder, key)
        warm = read_warm_start(space)
        if space.warm_start:
            told = f"{len(warm.trials)} trials of {len(space.warm_start)} other sweeps are told to the searcher"
            context.feedback.event("sweep", told + (f", {warm.skipped} do not fit" if warm.skipped else ""))
        SweepFolder(folder).forget_if_all_failed()
        job = SweepJob(key, folder, space, arm, template, templates, warm.trials, context.execution.prices)
        try:
            results = _search(context, job, ended)
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
        front = [result.number for result in pareto_front(results, space)]
        told_trials = [asdict(replace(result, history=())) for result in results]
        write_json(folder / TRIALS, {"best": best.number, "front": front, "trials": told_trials})
        note = sweep_note(space, space.objectives, results, best, key)
        context.tracker.set_tags(key, {NOTE_TAG: note, "best_trial": f"{best.number:04d}"})
        context.tracker.log_artifact(key, folder / TRIALS)
        _write_answers(context, parents, folder)
        context.tracker.log_metrics(key, {"best_objective": best.metrics[space.metric]}, 0)
        context.tracker.end_run(key, "FINISHED")
        stopped = sum(result.status == "stopped" for result in results)
        counts = {"trials": len(results), "stopped_early": stopped, "failed": len(results) - len(finished)}
        return counts, {name: best.metrics[name] for name in space.objectives}

    context.make(planned, build)
    if not (planned.folder / sweep_answers.ANSWERS).is_file():  # made before there were any
        _write_answers(context, parents, planned.folder)
    sweep_answers.tell(context, planned.folder)
    return best_values(planned)


def forecast_variants(context: Context, parents: Mapping[str, Plan]) -> list[tuple[str, str, str]]:
    """Rows (stage, folder, make | reuse) of what a sweep's variants have of their own."""
    reference = context.experiment.sweep
    assert reference is not None
    found = sweep_variants.plan(context, parents, load_space(Path(reference.space)))
    return [
        (stage, str(one.plans[stage].folder.relative_to(context.root)), f"{_word(one.plans[stage])} ({_told(one)})")
        for one in found.values()
        for stage in one.own
    ]


def data_of(
    context: Context, parents: Mapping[str, Plan], arm: str, best: Mapping[str, Any]
) -> tuple[Context, dict[str, Plan]]:
    """What an arm's final student reads, and the context in which it is trained and evaluated."""
    reference = context.experiment.sweep
    if reference is None or reference.arm != arm or not best:
        return context, dict(parents)
    return sweep_variants.of_best(context, parents, best, load_space(Path(reference.space)))


def best_values(planned: Plan) -> dict[str, Any]:
    """The best trial's values (dotted path -> value) of a finished sweep."""
    found = read_json(planned.folder / TRIALS)
    return dict(next(trial for trial in found["trials"] if trial["number"] == found["best"])["values"])


def read_trials(folder: Path) -> tuple[list[TrialResult], int]:
    """(the trials of a finished sweep, the number of the best)."""
    found = read_json(folder / TRIALS)
    return [TrialResult(**{**trial, "history": tuple(trial["history"])}) for trial in found["trials"]], found["best"]


def _write_answers(context: Context, parents: Mapping[str, Plan], folder: Path) -> None:
    reference = context.experiment.sweep
    assert reference is not None
    results, _ = read_trials(folder)
    judged = index.num_judged(parents["index"].folder)
    sweep_answers.write(context, load_space(Path(reference.space)), reference.arm, results, folder, judged)


def _search(context: Context, job: SweepJob, ended: Callable[[TrialResult], None]) -> list[TrialResult]:
    space, trials = job.space, context.execution.trials
    context.feedback.event("sweep", f"{space.name}: {space.num_trials} trials, {trials.most_at_once} at a time")
    epochs: dict[int, int] = {}
    before = SweepFolder(job.folder).ended()
    for result in before.values():  # a command that was killed may not have told it
        ended(result)
    done = set(before)
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

        return context.executor.sweep(job, trials, on_result, lambda told: context.feedback.event("sweep", told))


def _word(planned: Plan) -> str:
    return "reuse" if planned.status() is Status.REUSE else "make what the store lacks"


def _told(variant: sweep_variants.Variant) -> str:
    return sweep_variants.shown(variant.values)
