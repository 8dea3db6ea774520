"""The answers of a finished sweep, beside its trials: `answers.json`, `best.yaml`, `front/`, `sweep.html`, `figures/`.

Reads `trials.json`. Knows nothing of how trials were run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.artifacts.storage import read_json, write_bytes, write_json
from orchestrator.reporting.data import SweepResult, TrialRow
from orchestrator.reporting.page import write_page
from orchestrator.reporting.pictures import write_pictures
from orchestrator.reporting.sweep_page import answers_table, page_figures, render_sweep
from orchestrator.search.answers import Answers, answers, listed, shown
from orchestrator.search.best_sheet import best_sheet
from orchestrator.search.space import Mode, SearchSpace
from orchestrator.search.trial import TrialResult
from orchestrator.stages.context import Context

ANSWERS, BEST_SHEET, FRONT, PAGE = "answers.json", "best.yaml", "front", "sweep.html"
LONGEST_NAME = 64  # of an experiment


def write(
    context: Context, space: SearchSpace, arm: str, results: Sequence[TrialResult], folder: Path,
    num_images: Mapping[str, int],
) -> Answers:  # fmt: skip
    """Find the answers and write them; the page and the sheets are given to tracking too.

    Args:
        num_images: how many images an objective is an accuracy over, by name, where it is one.
    """
    found = answers(results, space, num_images)
    write_json(folder / ANSWERS, asdict(found))
    _write_sheet(context, space, arm, found.values, folder / BEST_SHEET, "best", _reason(found, results))
    if len(space.objectives) > 1:
        by_number = {result.number: result for result in results}
        for number in found.front:
            reason = f"Trial {number}, on the Pareto front: {_reached(by_number[number], space)}."
            path = folder / FRONT / f"{number:04d}.yaml"
            _write_sheet(context, space, arm, by_number[number].values, path, f"{number:04d}", reason)
    question = (space.question, f"Expected: {space.expected}")
    title = f"Sweep {space.name} of {context.experiment.name}"
    rows = swept(results, found.best, space.objectives)
    write_page(render_sweep(title, question, found, results, rows), folder / PAGE)
    key = f"{context.experiment.name}/sweep/{space.name}"
    for name in (ANSWERS, BEST_SHEET, PAGE):
        context.tracker.log_artifact(key, folder / name)
    context.tracker.log_artifact(key, write_pictures(page_figures(found, results, rows), folder))
    return found


def read(folder: Path) -> Answers:
    """What `write` found."""
    return TypeAdapter(Answers).validate_python(read_json(folder / ANSWERS))


def tell(context: Context, folder: Path) -> None:
    """Print the answers of a finished sweep, in words and as a table."""
    found, feedback = read(folder), context.feedback
    for sentence in found.words:
        feedback.event("sweep", sentence)
    for warning in found.warnings:
        feedback.event("sweep", f"note: {warning}")
    if any(found.importance.values()) and not feedback.quiet:
        feedback.console.print(answers_table(found))
    feedback.event("sweep", f"best configuration: {folder / BEST_SHEET}")
    feedback.event("sweep", f"page: {folder / PAGE}")


def swept(results: Sequence[TrialResult], best: int, objectives: Mapping[str, Mode]) -> SweepResult:
    """The trials as a report has them, by the first objective."""
    metric = next(iter(objectives))
    rows = tuple(
        TrialRow(
            trial_id=f"{result.number:04d}",
            values={
                path: value if isinstance(value, int | float | str) else shown(value)
                for path, value in result.values.items()
            },
            objective=result.metrics.get(metric, math.nan),
            metrics={
                name: value
                for name, value in result.metrics.items()
                if name.startswith("select/") or name in objectives
            },
            status=result.status,
            epochs=result.epochs,
        )
        for result in results
    )
    return SweepResult(rows, metric, objectives[metric], f"{best:04d}")


def _reached(result: TrialResult, space: SearchSpace) -> str:
    return ", ".join(f"{name} {result.metrics[name]:.4g}" for name in space.objectives)


def _reason(found: Answers, results: Sequence[TrialResult]) -> str:
    if found.configurations:
        first = found.configurations[0]
        return (
            f"Best mean over {len(first.trials)} seeds (trials {', '.join(map(str, first.trials))}): {first.mean:.4g}."
        )
    best = next(result for result in results if result.number == found.best)
    reached = ", ".join(f"{name} {best.metrics[name]:.4g}" for name in found.objectives)
    return f"Best of {len(results)} trials, number {best.number}: {reached}."


def _write_sheet(
    context: Context, space: SearchSpace, arm: str, values: Mapping[str, Any], path: Path, ending: str, reason: str
) -> None:
    experiment = context.experiment
    fixed = f"Trials had {listed(space.fixed)}; this sheet has what the experiment says." if space.fixed else ""
    header = [
        f"Question: {space.question}",
        f"From: sweep {space.name} over arm {arm} of {experiment.name}, by {', '.join(space.objectives)}.",
        reason,
        f"Swept values: {listed(values)}.",
        fixed,
        "Chosen on the selection split: what it is worth, the report split and several seeds say.",
        f"Command: orchestrator run {path}",
    ]
    name = f"{experiment.name}-{space.name}"[: LONGEST_NAME - 1 - len(ending)] + f"-{ending}"
    write_bytes(path, best_sheet(experiment, arm, values, name, [line for line in header if line]).encode())
