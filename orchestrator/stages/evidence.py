"""Stage `evidence`: every arm on several paired seeds, and its differences to the baseline with 95 % intervals.

A cell is one arm on one seed (the seed sets both `data_seed` and `init_seed`); each is an artifact of its own, so a
stopped command continues with the next cell. Reads shards and embeddings; writes the cells, `evidence.json` and
`evidence.md`.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.artifacts.storage import read_json, write_bytes, write_json
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.config.run_tags import run_tags
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.evaluation.paired import paired_difference
from orchestrator.reporting.data import number, signed
from orchestrator.stages import embed, train
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.evaluate import EVALUATION, evaluate_student
from orchestrator.stages.feedback import short_metrics
from orchestrator.stages.tracked_runs import dataset_of
from orchestrator.tracking import NOTE_TAG
from orchestrator.training.run import TrainingJob, train_settings

METRICS = {"all": "All", "many": "Many", "medium": "Medium", "few": "Few"}
WITH_UNSEEN = {"unseen_mean_per_class": "Unseen", "seen_mean_per_class": "Seen"}  # mean per class (methods 1.11)


@dataclass(frozen=True)
class Cell:
    """One arm on one seed."""

    arm: str
    seed: int
    experiment: Experiment
    plan: Plan


def check(experiment: Experiment, arms: Sequence[str], seeds: Sequence[int]) -> None:
    """Refuse what cannot be compared, before anything is paid for.

    Raises:
        ConfigError: unknown arms; an arm or a seed named twice (a pair counted twice would narrow the interval).
    """
    problems = [f"unknown arm {arm}" for arm in arms if arm not in experiment.arms]
    problems += [f"{kind} {each} twice" for kind, names in (("arm", arms), ("seed", seeds)) for each in _twice(names)]
    if problems:
        raise ConfigError(f"evidence: {', '.join(problems)}", expected=f"each once; arms: {', '.join(experiment.arms)}")


def _twice(names: Sequence[object]) -> list[object]:
    return [name for name, count in Counter(names).items() if count > 1]


def as_the_arm(arm: str, seed: int) -> dict[str, Any]:
    """A cell differs from its arm in nothing but the seeds."""
    return {}


def cells(
    context: Context,
    parents: Mapping[str, Plan],
    arms: Sequence[str],
    seeds: Sequence[int],
    changes: Callable[[str, int], Mapping[str, Any]] = as_the_arm,
) -> list[Cell]:
    """The cells, seed by seed, so that a stopped run has whole pairs.

    Args:
        changes: settings of the cell of (arm, seed) besides its seeds, such as the student that it starts from.
    """
    found = []
    for seed in seeds:
        for arm in arms:
            seeded = {"training.data_seed": seed, "training.init_seed": seed, **changes(arm, seed)}
            experiment = arm_experiment(context.experiment, arm, seeded)
            settings = train_settings(
                experiment.student,
                experiment.adaptor,
                experiment.losses,
                experiment.training,
                experiment.text_sources,
                experiment.image_size,
            )
            folder = context.folder / "cells" / arm / f"seed-{seed}"
            of_seed = _parents(context, parents, seed)
            fingerprints = train.parents_of(of_seed, experiment)
            key = run_key(context, arm, seed)
            planned = train.make_plan(context, experiment, folder, settings, fingerprints, key)
            found.append(Cell(arm, seed, experiment, planned))
    return found


def run_key(context: Context, arm: str, seed: int) -> str:
    """Identity of a cell's run in tracking."""
    return f"{train.run_key(context, arm)}/seed-{seed}"


def _parents(context: Context, parents: Mapping[str, Plan], seed: int) -> dict[str, Plan]:
    """The artifacts that a seed's cells read: an image teacher that sees views sees those of the seed."""
    return {**parents, "embed": embed.plan(context, parents, seed)}


def make(
    context: Context,
    parents: Mapping[str, Plan],
    arms: Sequence[str],
    seeds: Sequence[int],
    on_made: Callable[[Cell], None],
) -> str:
    """Train and evaluate what is missing (see `make_cells`); returns the table as Markdown."""
    wanted = cells(context, parents, arms, seeds)
    make_cells(context, parents, wanted, on_made)
    results = {(cell.arm, cell.seed): read_json(cell.plan.folder / EVALUATION)["metrics"] for cell in wanted}
    table = render(results, arms, seeds, controls(context.experiment, arms))
    rows = [{"arm": arm, "seed": seed, **metrics} for (arm, seed), metrics in results.items()]
    write_json(context.folder / "evidence.json", rows)
    write_bytes(context.folder / "evidence.md", table.encode())
    context.tracker.log_artifact(context.experiment.name, context.folder / "evidence.md")
    context.tracker.set_tags(context.experiment.name, {NOTE_TAG: table})
    return table


def make_cells(
    context: Context,
    parents: Mapping[str, Plan],
    wanted: Sequence[Cell],
    on_made: Callable[[Cell], None],
) -> None:
    """Train and evaluate those that are missing; `on_made` is called with each finished one, made or reused.

    Raises:
        ArtifactError: some failed; the others are finished.
    """
    todo = []
    for cell in wanted:
        if context.begin(cell.plan) is None:
            todo.append(cell)
        else:
            on_made(cell)
    context.feedback.event("evidence", f"{len(wanted)} cells, {len(wanted) - len(todo)} of them reused")
    for seed in dict.fromkeys(cell.seed for cell in todo):
        if _parents(context, parents, seed)["embed"].folder != parents["embed"].folder:
            embed.make(context, parents, seed)
    if todo:
        _train(context, parents, todo, on_made)


def controls(experiment: Experiment, arms: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs (arm, its control): a later arm that differs from an earlier one in nothing but the texts it reads."""
    settings = {
        arm: arm_experiment(experiment, arm).model_dump(include={"student", "adaptor", "losses", "training"})
        for arm in arms
    }
    texts = {arm: arm_experiment(experiment, arm).text_sources for arm in arms}
    return [
        (arm, later)
        for arm, later in itertools.combinations(arms, 2)
        if settings[arm] == settings[later] and texts[arm] == experiment.text_sources != texts[later]
    ]


def _train(
    context: Context, parents: Mapping[str, Plan], todo: Sequence[Cell], on_made: Callable[[Cell], None]
) -> None:
    jobs: list[TrainingJob] = []
    for cell in todo:
        key = run_key(context, cell.arm, cell.seed)
        of_seed = _parents(context, parents, cell.seed)
        jobs.append(train.make_job(context, cell.experiment, of_seed, cell.plan.folder, key))
    started: dict[int, float] = {}
    progress: dict[int, float] = {}
    errors: list[str] = []

    def begin(index: int) -> None:
        """The run of a cell begins when the cell does: a cell that waits is not running."""
        if index in started:
            return
        started[index] = time.perf_counter()
        cell, key = todo[index], jobs[index].run_key
        context.tracker.start_run(
            key, name=f"{cell.arm} seed {cell.seed}", parent_key=context.experiment.name, params=cell.plan.settings,
            tags=run_tags(cell.experiment, "arm", arm=cell.arm),
        )  # fmt: skip
        context.tracker.log_dataset(key, dataset_of(context, parents))

    with context.feedback.bar("evidence", sum(cell.experiment.training.epochs for cell in todo), "epochs") as advance:

        def on_progress(index: int, told: Mapping[str, Any]) -> None:
            begin(index)
            progress[index] = told.get("epoch", 0)
            advance(sum(progress.values()), f"{todo[index].arm} {short_metrics(told)}")

        def on_done(index: int, error: str) -> None:
            begin(index)
            cell, key = todo[index], jobs[index].run_key
            if error:
                errors.append(f"{cell.arm} seed {cell.seed}: {error}")
                context.tracker.end_run(key, "FAILED", error)
                return
            of_seed = _parents(context, parents, cell.seed)
            found, metrics = evaluate_student(context, cell.experiment, cell.plan, of_seed, cell.plan.folder)
            context.tracker.log_metrics(key, metrics, cell.experiment.training.epochs)
            seconds = time.perf_counter() - started[index]
            context.finish(cell.plan, {"images": found["images"]}, metrics, seconds)
            context.tracker.end_run(key, "FINISHED")
            on_made(cell)

        context.executor.train_many(jobs, context.execution.trials, on_progress, on_done)
    if errors:
        raise ArtifactError(f"{len(errors)} cells failed: {errors[0]}", remedy="the same command runs only these again")


def render(
    results: Mapping[tuple[str, int], Mapping[str, float]],
    arms: Sequence[str],
    seeds: Sequence[int],
    controls: Sequence[tuple[str, str]],
) -> str:
    """Markdown: each arm's mean in percent; differences to the first arm, and of arms to their controls."""
    columns = WITH_UNSEEN if all(WITH_UNSEEN.keys() <= metrics.keys() for metrics in results.values()) else METRICS
    heads = f"{' | '.join(columns.values())} |\n|{'---|' * (1 + len(columns))}"
    split = "Mean per class" if columns is WITH_UNSEEN else "Report split"
    lines = [f"{len(seeds)} paired seeds: {', '.join(map(str, seeds))}. {split}, percent.", ""]
    lines += [f"| arm | {heads}"]
    for arm in arms:
        means = [100 * sum(results[arm, seed][name] for seed in seeds) / len(seeds) for name in columns]
        lines.append(f"| {arm} | " + " | ".join(map(number, means)) + " |")
    lines += [
        "",
        "Differences in points, mean and 95 % interval (Student's t over the pairs); **bold** excludes zero.",
        "",
    ]
    lines += [f"| difference | {heads}"]
    pairs = [*((arm, arms[0]) for arm in arms[1:]), *controls]
    for arm, reference in pairs:
        told = [_difference(results, arm, reference, name, seeds) for name in columns]
        lines.append(f"| {arm} - {reference} | " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"


def _difference(
    results: Mapping[tuple[str, int], Mapping[str, float]], arm: str, reference: str, name: str, seeds: Sequence[int]
) -> str:
    found = paired_difference(
        [100 * results[arm, seed][name] for seed in seeds], [100 * results[reference, seed][name] for seed in seeds]
    )
    if math.isnan(found.mean):
        return "n/a"
    text = f"{signed(found.mean)} ± {number(found.half_width)}"
    return f"**{text}**" if found.excludes_zero else text
