"""Stage `report`: what the experiment found: an offline HTML file, Markdown, JSON, pictures, a table in the terminal.

Reads the finished artifacts; writes `report.html`, `report.md`, `report.json` and `figures/`. Knows nothing of how they
were made.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json, write_bytes
from orchestrator.datasets.index import DatasetIndex
from orchestrator.reporting.data import (
    ArmResult,
    ClassResult,
    ReportData,
    SweepResult,
    read_report_data,
    write_report_data,
)
from orchestrator.reporting.html import titled_figures, write_html
from orchestrator.reporting.markdown import render_arm, render_markdown
from orchestrator.reporting.pictures import write_pictures
from orchestrator.stages import (
    evaluate,
    index,
    leaks,
    report_captions,
    report_costs,
    report_mistakes,
    report_spaces,
    sweep,
    sweep_answers,
    train,
)
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.recorded import hardware
from orchestrator.stages.tracked_runs import environment
from orchestrator.tracking import NOTE_TAG, artifact_root, resolve_uri, ui_command
from orchestrator.training.run import HISTORY

FORM = 3  # of what a report says: an older one is written again
DATA, HTML, MARKDOWN = "report.json", "report.html", "report.md"


def plan(context: Context, plans: Mapping[str, Plan]) -> Plan:
    """A report depends on everything before it; it can always be written again."""
    parents = {name: planned.identity for name, planned in plans.items()}
    settings = {
        "form": FORM,
        "description": context.experiment.description,
        "prices": context.execution.prices.model_dump(mode="json"),
        "exports": report_costs.exported(context, plans),
    }
    return Plan("report", context.folder / "report", settings, parents, is_view=True)


def make(context: Context, plans: Mapping[str, Plan]) -> Plan:
    """Make or reuse the report; the table is printed either way."""
    planned = plan(context, plans)
    spaces = report_spaces.make(context, plans, list(context.experiment.arms))

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        data = collect(context, plans, spaces)
        write_report_data(data, folder / DATA)
        write_html(data, folder / HTML)
        text, key = render_markdown(data), context.experiment.name
        write_bytes(folder / MARKDOWN, text.encode())
        context.tracker.set_tags(key, {NOTE_TAG: f"{text}\n{_links(context, plans)}"})
        for arm in data.arms:
            told = f"{render_arm(data, arm.name)}\nCommand: [{key}](run:{key})\n"
            context.tracker.set_tags(train.run_key(context, arm.name), {NOTE_TAG: told})
        for name in (HTML, MARKDOWN, DATA):
            context.tracker.log_artifact(key, folder / name, "report")
        context.tracker.log_artifact(key, write_pictures(titled_figures(data), folder))
        return {"arms": len(data.arms), "trials": len(data.sweep.trials) if data.sweep else 0}, {}

    context.make(planned, build)
    return planned


def _links(context: Context, plans: Mapping[str, Plan]) -> str:
    """The runs below the command's own, as links of its description."""
    keys = {arm: train.run_key(context, arm) for arm in context.experiment.arms}
    if "sweep" in plans:
        name = plans["sweep"].folder.name
        keys[f"sweep {name}"] = sweep.run_key(context, name)
    return "Runs: " + ", ".join(f"[{name}](run:{key})" for name, key in keys.items()) + "\n"


def load(planned: Plan) -> ReportData:
    """The data of a finished report."""
    return read_report_data(planned.folder / DATA)


def open_command(context: Context) -> str:
    """The exact command that opens the MLflow UI on this experiment."""
    uri = resolve_uri(context.execution.tracking, context.root)
    return ui_command(uri, artifact_root(uri))


def collect(context: Context, plans: Mapping[str, Plan], spaces: Plan) -> ReportData:
    """Everything the report shows, from the artifacts."""
    data = index.load(context)
    manifests = {name: read_manifest(planned.folder) for name, planned in plans.items()}
    embedded = manifests["embed"]
    notes = []
    if embedded is not None and "report/all" in embedded.metrics:
        notes.append(
            "The image teacher, zero-shot by the texts of the classes, reaches "
            f"{100 * embedded.metrics['report/all']:.1f} % on the report split and "
            f"{100 * embedded.metrics['select/all']:.1f} % on the selection split."
        )
    counts: dict[str, int | float | str] = {
        f"{name}: {what.replace('_', ' ')}": count
        for name, manifest in manifests.items()
        if manifest is not None and "/" not in name
        for what, count in manifest.counts.items()
    }
    caption_quality, cards = report_captions.collect(plans, data)
    return ReportData(
        title=context.experiment.name,
        created_utc=next((m.created_utc for m in reversed(list(manifests.values())) if m is not None), ""),
        arms=tuple(_arm(context, plans, arm, data) for arm in context.experiment.arms),
        sweep=_sweep(context, plans),
        captions=cards,
        caption_quality=caption_quality,
        spaces=report_spaces.load(spaces),
        mistakes=report_mistakes.collect(plans, list(context.experiment.arms), data),
        economics=report_costs.economics(context, plans),
        exports=report_costs.exports(context, plans),
        licences=report_costs.licences(context, plans),
        seeds=report_costs.seeds(context.experiment.model_dump(mode="json")),
        environment={"machine": hardware(), "engine": context.execution.engine, **environment()},
        commands=(" ".join(["orchestrator", *sys.argv[1:]]), open_command(context)),
        counts=counts,
        notes=tuple(filter(None, (context.experiment.description.strip(), *notes, _leaks(context)))),
    )


def _leaks(context: Context) -> str:
    """What the quick looks for leaks found, in one line; pixels are compared by the command alone."""
    told = leaks.summary(leaks.find(context.folder, look_at_pixels=False))
    return f"{told} See: orchestrator leaks {context.experiment.name}" if told else ""


def _arm(context: Context, plans: Mapping[str, Plan], arm: str, data: DatasetIndex) -> ArmResult:
    found = read_json(plans[f"evaluate/{arm}"].folder / evaluate.EVALUATION)
    names = data.classes["name"].to_pylist()
    rows = zip(found["correct"], found["total"], found["train_count"], strict=True)
    per_class = tuple(
        ClassResult(label, names[label], trained, 100 * right / total if total else float("nan"))
        for label, (right, total, trained) in enumerate(rows)
    )
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in read_json(plans[f"train/{arm}"].folder / HISTORY):
        for name, value in row.items():
            if name != "epoch":
                curves.setdefault(name, []).append((row["epoch"], value))
    settings = plans[f"train/{arm}"].settings
    losses = ", ".join(
        f"{name} ({loss['kind']}, weight {loss['weight']:.3g})" for name, loss in settings["losses"].items()
    )
    return ArmResult(
        name=arm,
        metrics={name: 100 * value for name, value in found["metrics"].items()},
        per_class=per_class,
        curves={name: tuple(points) for name, points in curves.items()},
        description=f"losses: {losses}",
        measures=found["measures"],
        alarms=tuple(
            f"{one['name'].replace('_', ' ')}, epoch {one['epoch']}: {one['message']}" for one in found["alarms"]
        ),
    )


def _sweep(context: Context, plans: Mapping[str, Plan]) -> SweepResult | None:
    if context.experiment.sweep is None:
        return None
    objectives: Mapping[str, Literal["max", "min"]] = plans["sweep"].settings["space"]["objectives"]
    folder = plans["sweep"].folder
    return replace(sweep_answers.swept(*sweep.read_trials(folder), objectives), answers=sweep_answers.read(folder))
