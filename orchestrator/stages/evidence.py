"""Stage `evidence`: every arm on several paired seeds, and its differences to the baseline with 95 % intervals.

A cell is one arm on one seed (the seed sets both `data_seed` and `init_seed`); each is an artifact of its own, so a
stopped command continues with the next cell. Reads shards and embeddings; writes the cells, `evidence.json` and
`evidence.md`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import vocabulary
from orchestrator.artifacts.manifest import Status
from orchestrator.artifacts.storage import read_json, write_bytes, write_json
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.evaluation.paired import paired_difference
from orchestrator.reporting.data import number, signed
from orchestrator.stages import train
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.evaluate import EVALUATION, evaluate_student
from orchestrator.stages.feedback import short_metrics
from orchestrator.training.run import TrainingJob, train_settings

METRICS = ("all", "many", "medium", "few")


@dataclass(frozen=True)
class Cell:
    """One arm on one seed."""

    arm: str
    seed: int
    experiment: Experiment
    plan: Plan


def cells(context: Context, parents: Mapping[str, Plan], arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """The cells, seed by seed, so that a stopped run has whole pairs."""
    if unknown := [arm for arm in arms if arm not in context.experiment.arms]:
        raise ConfigError(f"--arms {', '.join(unknown)}", expected=f"among {', '.join(context.experiment.arms)}")
    found = []
    for seed in seeds:
        for arm in arms:
            experiment = arm_experiment(
                context.experiment, arm, {"training.data_seed": seed, "training.init_seed": seed}
            )
            settings = train_settings(
                experiment.student, experiment.adaptor, experiment.losses, experiment.training, experiment.text_sources
            )
            folder = context.folder / "cells" / arm / f"seed-{seed}"
            fingerprints = {name: parents[name].fingerprint for name in ("shard", "embed")}
            found.append(Cell(arm, seed, experiment, Plan("train", folder, settings, fingerprints, is_view=False)))
    return found


def make(context: Context, parents: Mapping[str, Plan], arms: Sequence[str], seeds: Sequence[int]) -> str:
    """Train and evaluate what is missing; returns the table as Markdown."""
    wanted = cells(context, parents, arms, seeds)
    todo = [cell for cell in wanted if cell.plan.status() is not Status.REUSE or "train" in context.rebuild]
    context.feedback.event("evidence", f"{len(wanted)} cells, {len(wanted) - len(todo)} of them reused")
    if todo:
        _train(context, parents, todo)
    results = {(cell.arm, cell.seed): read_json(cell.plan.folder / EVALUATION)["metrics"] for cell in wanted}
    table = render(results, arms, seeds)
    rows = [{"arm": arm, "seed": seed, **metrics} for (arm, seed), metrics in results.items()]
    write_json(context.folder / "evidence.json", rows)
    write_bytes(context.folder / "evidence.md", table.encode())
    context.tracker.log_artifact(context.experiment.name, context.folder / "evidence.md")
    return table


def _train(context: Context, parents: Mapping[str, Plan], todo: Sequence[Cell]) -> None:
    jobs: list[TrainingJob] = []
    for cell in todo:
        context.begin(cell.plan)
        run_key = f"{context.experiment.name}/arm/{cell.arm}/seed-{cell.seed}"
        jobs.append(train.make_job(context, cell.experiment, parents, cell.plan.folder, run_key))
        context.tracker.start_run(
            run_key, name=f"{cell.arm} seed {cell.seed}", parent_key=context.experiment.name, params=cell.plan.settings,
            tags={"kind": "arm", "arm": cell.arm, "seed": str(cell.seed)},
        )  # fmt: skip
    progress: dict[int, float] = {}
    errors: list[str] = []
    with context.feedback.bar("evidence", sum(cell.experiment.training.epochs for cell in todo), "epochs") as advance:

        def on_progress(index: int, told: Mapping[str, Any]) -> None:
            progress[index] = told.get("epoch", 0)
            advance(sum(progress.values()), f"{todo[index].arm} {short_metrics(told)}")

        def on_done(index: int, error: str) -> None:
            cell, run_key = todo[index], jobs[index].run_key
            if error:
                errors.append(f"{cell.arm} seed {cell.seed}: {error}")
                context.tracker.end_run(run_key, "FAILED", error)
                return

            def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
                split = vocabulary.SPLIT_REPORT
                found = evaluate_student(cell.experiment, folder, parents["shard"].folder, split)
                write_json(folder / EVALUATION, found)
                metrics = {f"report/{name}": value for name, value in found["metrics"].items()}
                context.tracker.log_metrics(run_key, metrics, cell.experiment.training.epochs)
                return {"images": sum(found["total"])}, metrics

            context.make(cell.plan, build)
            context.tracker.end_run(run_key, "FINISHED")

        context.executor.train_many(jobs, context.execution.trials, on_progress, on_done)
    if errors:
        raise ArtifactError(f"{len(errors)} cells failed: {errors[0]}", remedy="the same command runs only these again")


def render(results: Mapping[tuple[str, int], Mapping[str, float]], arms: Sequence[str], seeds: Sequence[int]) -> str:
    """Markdown: each arm's mean in percent; differences to the first arm, and of the second to the permuted ones."""
    lines = [f"{len(seeds)} paired seeds: {', '.join(map(str, seeds))}. Report split, percent.", ""]
    lines += ["| arm | All | Many | Medium | Few |", "|---|---|---|---|---|"]
    for arm in arms:
        means = [100 * sum(results[arm, seed][name] for seed in seeds) / len(seeds) for name in METRICS]
        lines.append(f"| {arm} | " + " | ".join(map(number, means)) + " |")
    lines += [
        "",
        "Differences in points, mean and 95 % interval (Student's t over the pairs); **bold** excludes zero.",
        "",
    ]
    lines += ["| difference | All | Many | Medium | Few |", "|---|---|---|---|---|"]
    pairs = [(arm, arms[0]) for arm in arms[1:]]
    pairs += [(arms[1], control) for control in arms[2:] if control.startswith("permuted")]
    for arm, reference in pairs:
        told = [_difference(results, arm, reference, name, seeds) for name in METRICS]
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
