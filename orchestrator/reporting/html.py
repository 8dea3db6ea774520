"""The report of an experiment as a page (see page.py), kept below its largest size.

Writes one file. Knows nothing of how the results were made.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.reporting.caption_quality import BAD_FLAGS, FLAG_WORDS, GOOD_FLAGS, SHARE_HEADINGS
from orchestrator.reporting.data import ReportData, comparison, summary_of
from orchestrator.reporting.page import MAX_BYTES, render_page, write_page


def render_html(data: ReportData) -> str:
    """The page as text, at most `MAX_BYTES` when encoded: a gallery that is too large loses its last images, and says
    so."""
    page = _render(data)
    while len(page.encode()) > MAX_BYTES and data.captions:
        kept = len(data.captions) // 2
        note = f"The caption gallery shows the first {kept} images, to keep this file small."
        notes = tuple(one for one in data.notes if not one.startswith("The caption gallery shows the first"))
        data = replace(data, captions=data.captions[:kept], notes=(*notes, note))
        page = _render(data)
    return page


def write_html(data: ReportData, path: Path) -> Path:
    """Write the page, atomically, and return its path."""
    return write_page(render_html(data), path)


def _render(data: ReportData) -> str:
    headings, rows = comparison(data)
    figures = _figures(data)
    return render_page(
        "report.html",
        figures,
        data=data,
        summary=summary_of(data),
        headings=headings,
        rows=rows,
        curves=[name for name in figures if name.startswith("curve:")],
        swept=_swept(data),
        trial_metrics=_trial_metrics(data),
        class_rows=_class_rows(data),
        share_headings=SHARE_HEADINGS,
        flag_words=FLAG_WORDS,
        good_flags=GOOD_FLAGS,
        bad_flags=BAD_FLAGS,
        nan=float("nan"),
    )


def _figures(data: ReportData) -> dict[str, Any]:
    from orchestrator.reporting import figures

    drawn: dict[str, Any] = {}
    if data.arms:
        drawn["groups"] = figures.group_bars(data)
        drawn["frequency"] = figures.accuracy_by_frequency(data)
    drawn |= {f"curve:{metric}": figure for metric, figure in figures.learning_curves(data).items()}
    if data.caption_quality is not None:
        drawn["caption:words"] = figures.caption_histogram(data.caption_quality.words, "words")
        drawn["caption:clip"] = figures.caption_histogram(data.caption_quality.clip_scores, "CLIP score")
    if data.sweep is not None:
        drawn["sweep"] = figures.parallel_coordinates(data.sweep)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _swept(data: ReportData) -> list[str]:
    return sorted({path for trial in data.sweep.trials for path in trial.values}) if data.sweep else []


def _trial_metrics(data: ReportData) -> list[str]:
    if data.sweep is None:
        return []
    return sorted({name for trial in data.sweep.trials for name in trial.metrics} - {data.sweep.metric})


def _class_rows(data: ReportData) -> list[dict[str, Any]]:
    """One row per class, most frequent first: name, count and the accuracy of every arm."""
    by_arm = [{one.label: one for one in arm.per_class} for arm in data.arms]
    classes = {label: one for known in by_arm for label, one in known.items()}
    ordered = sorted(classes.values(), key=lambda one: (-one.train_count, one.label))
    rows = []
    for one in ordered:
        accuracies = [known[one.label].accuracy if one.label in known else float("nan") for known in by_arm]
        rows.append({"name": one.name, "train_count": one.train_count, "accuracies": accuracies})
    return rows
