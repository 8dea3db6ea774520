"""The whole line, the file to read first: index -> captions -> embeddings -> shards -> sweep -> students -> report.

Each stage reads artifacts, writes one, and is reused when nothing that determines it has changed. Three are there only
where the experiment asks for them: descriptions of classes, the tuning of the image teacher, and the sweep. Knows the
order and nothing else.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.artifacts.manifest import Status
from orchestrator.stages import (
    best_student,
    caption,
    describe,
    embed,
    evaluate,
    evaluate_teacher,
    index,
    measure_check,
    quality,
    report,
    shard,
    sweep,
    train,
    tune,
)
from orchestrator.stages.context import Context, Plan

STAGES = ("index", "describe", "caption", "tune", "embed", "quality", "shard", "sweep", "train", "evaluate", "report")


def run(context: Context, until: str) -> dict[str, Plan]:
    """Make everything up to and including stage `until`; returns the plans by stage (arms as `train/ARM`)."""
    experiment = context.experiment
    wanted = STAGES[: STAGES.index(until) + 1]
    plans: dict[str, Plan] = {"index": index.make(context)}
    measure_check.check(context, plans)
    if "describe" in wanted and (described := describe.plan(context, plans["index"])) is not None:
        plans["describe"] = describe.make(context, described)
    if "caption" in wanted:
        plans["caption"] = caption.make(context, plans["index"])
    if "tune" in wanted and (tuned := tune.plan(context, plans)) is not None:
        plans["tune"] = tune.make(context, plans, tuned)
    if "embed" in wanted:
        plans["embed"] = embed.make(context, _read_by_embed(plans))
    if "quality" in wanted:
        plans["quality"] = quality.make(context, {name: plans[name] for name in ("index", "caption", "embed")})
    if "shard" in wanted:
        plans["shard"] = shard.make(context, plans["index"])
    measure_check.check(context, plans)
    best: dict[str, dict[str, Any]] = {}
    if "sweep" in wanted and (planned := sweep.plan(context, plans)) is not None:
        assert experiment.sweep is not None
        best[experiment.sweep.arm] = sweep.make(context, plans, planned)
        plans["sweep"] = planned
    if "train" in wanted:
        data = {arm: sweep.data_of(context, plans, arm, best.get(arm, {})) for arm in experiment.arms}
        for arm, (inner, read) in data.items():
            plans[f"train/{arm}"] = train.make(inner, read, arm, best.get(arm, {}))
    if "evaluate" in wanted:
        if "tune" in plans:
            plans["evaluate-teacher"] = evaluate_teacher.make(context, plans)
        for arm, (inner, read) in data.items():
            plans[f"evaluate/{arm}"] = evaluate.make(inner, read, plans[f"train/{arm}"], arm)
    if "report" in wanted:
        best_student.register(context, plans)
        plans["report"] = report.make(context, plans)
    return plans


def plan_data(context: Context) -> dict[str, Plan]:
    """The plans of everything that students read."""
    plans: dict[str, Plan] = {"index": index.plan(context)}
    if (described := describe.plan(context, plans["index"])) is not None:
        plans["describe"] = described
    plans["caption"] = caption.plan(context, plans["index"])
    if (tuned := tune.plan(context, plans)) is not None:
        plans["tune"] = tuned
    plans["embed"] = embed.plan(context, _read_by_embed(plans))
    plans["quality"] = quality.plan(context, {name: plans[name] for name in ("index", "caption", "embed")})
    plans["shard"] = shard.plan(context, plans["index"])
    return plans


def _read_by_embed(plans: Mapping[str, Plan]) -> dict[str, Plan]:
    return {name: plans[name] for name in embed.READS if name in plans}


def forecast(context: Context, until: str) -> list[tuple[str, str, str]]:
    """What `run` would do, without doing it: rows of (stage, folder, make | reuse | remake | refused).

    An arm that waits for its sweep's best values cannot be told before the sweep has run.
    """
    wanted = STAGES[: STAGES.index(until) + 1]
    plans = plan_data(context)
    measure_check.check(context, plans)
    rows: list[tuple[str, str, str]] = [
        (name, *told(context, planned)) for name, planned in plans.items() if name in wanted
    ]
    best: Mapping[str, Any] | None = {}
    if "sweep" in wanted and (planned := sweep.plan(context, plans)) is not None:
        rows += sweep.forecast_variants(context, plans)
        rows.append(("sweep", *told(context, planned)))
        best = sweep.best_values(planned) if planned.status() is Status.REUSE else None
    if "train" in wanted:
        for arm in context.experiment.arms:
            swept = context.experiment.sweep is not None and context.experiment.sweep.arm == arm
            if swept and best is None:
                rows.append(("train", f"{context.experiment.name}/arms/{arm}", "make (after the sweep)"))
            else:
                values = best if swept and best else {}
                inner, read = sweep.data_of(context, plans, arm, values)
                rows.append(("train", *told(context, train.plan(inner, read, arm, values))))
    if "evaluate" in wanted and "tune" in plans:
        rows.append(("evaluate", f"{context.experiment.name}/{evaluate_teacher.FOLDER}", "make or reuse"))
    later = [f"evaluations/{arm}" for arm in context.experiment.arms] if "evaluate" in wanted else []
    rows += [("evaluate", f"{context.experiment.name}/{folder}", "make or reuse") for folder in later]
    if "report" in wanted:
        rows.append(("report", f"{context.experiment.name}/report", "make or reuse"))
    return rows


def told(context: Context, plan: Plan) -> tuple[str, str]:
    """(folder, what would happen) of one plan."""
    word = plan.status().value
    if word == Status.CHANGED:
        word = "remake" if plan.is_view else "refused"
    if plan.stage in context.rebuild:
        word = "remake (asked for)"
    return str(plan.folder.relative_to(context.root)), word
