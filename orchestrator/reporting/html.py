"""The report of an experiment as a page (see page.py), kept below its largest size.

Writes one file. Knows nothing of how the results were made.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.reporting import measured, report_words
from orchestrator.reporting.caption_quality import BAD_FLAGS, FLAG_WORDS, GOOD_FLAGS, SHARE_HEADINGS
from orchestrator.reporting.data import ReportData, comparison, summary_of
from orchestrator.reporting.page import MAX_BYTES, render_page, write_page


def render_html(data: ReportData) -> str:
    """The page as text, at most `MAX_BYTES` when encoded: a gallery that is too large loses its last images, and says
    so; then the confused classes lose their pictures."""
    page = _render(data)
    while len(page.encode()) > MAX_BYTES and (data.captions or any(_pictures(data))):
        data = _smaller(data)
        page = _render(data)
    return page


def write_html(data: ReportData, path: Path) -> Path:
    """Write the page, atomically, and return its path."""
    return write_page(render_html(data), path)


def _pictures(data: ReportData) -> list[int]:
    return [len(one.pictures) for mistakes in data.mistakes for one in mistakes.classes]


def _smaller(data: ReportData) -> ReportData:
    if data.captions:
        kept = len(data.captions) // 2
        note = f"The caption gallery shows the first {kept} images, to keep this file small."
        notes = tuple(one for one in data.notes if not one.startswith("The caption gallery shows the first"))
        return replace(data, captions=data.captions[:kept], notes=(*notes, note))
    bare = [
        replace(
            one,
            classes=tuple(replace(row, pictures=()) for row in one.classes),
            left_out=one.left_out + sum(len(row.pictures) for row in one.classes),
        )
        for one in data.mistakes
    ]
    return replace(data, mistakes=tuple(bare))


def _render(data: ReportData) -> str:
    from orchestrator.reporting.space_figures import title_of

    headings, rows = comparison(data)
    figures = _figures(data)
    curves = measured.curve_groups(data.arms)
    costs = measured.cost_measures(data.arms)
    return render_page(
        "report.html",
        figures,
        title=data.title,
        words=summary_of(data),
        warnings=(),
        data=data,
        headings=headings,
        rows=rows,
        arms=[arm.name for arm in data.arms],
        coherence_curves=curves.pop(measured.COHERENCE_CURVES, None),
        curve_groups=list(curves.values()),
        unseen=measured.unseen_measures(data.arms),
        coherence=measured.coherence_measures(data.arms),
        measures=measured.other_measures(data.arms),
        costs=costs,
        has_latency=any(row.name.startswith("latency_ms") for row in costs.rows),
        space_titles=[title_of(one) for one in data.spaces.planes],
        space_words=report_words.space_words(data.spaces),
        spectrum_words=report_words.spectrum_words(data.spaces),
        mistake_words={one.arm: report_words.mistake_words(one) for one in data.mistakes},
        economy_words=report_words.economy_words(data.economics),
        export_words=[report_words.export_words(one) for one in data.exports],
        swept=_swept(data),
        importance=data.sweep.answers.importance if data.sweep is not None and data.sweep.answers is not None else {},
        trial_metrics=_trial_metrics(data),
        class_rows=_class_rows(data),
        share_headings=SHARE_HEADINGS,
        flag_words=FLAG_WORDS,
        good_flags=GOOD_FLAGS,
        bad_flags=BAD_FLAGS,
        nan=float("nan"),
    )


def titled_figures(data: ReportData) -> dict[str, Any]:
    """Every figure of the page by a title of its own, for places where no heading stands above it."""
    from orchestrator.reporting.space_figures import title_of

    titles = {f"space:{number}": title_of(one) for number, one in enumerate(data.spaces.planes)}
    titles |= {"groups": "accuracy by group", "frequency": "accuracy by class frequency", "spectra": "spectra of texts"}
    return {titles.get(name, name): figure for name, figure in _figures(data).items()}


def _figures(data: ReportData) -> dict[str, Any]:
    from orchestrator.reporting import figures, space_figures
    from orchestrator.reporting.sweep_page import sweep_figures

    drawn: dict[str, Any] = {}
    if data.arms:
        drawn["groups"] = figures.group_bars(data)
        drawn["frequency"] = figures.accuracy_by_frequency(data)
    drawn |= {f"curve:{metric}": figure for metric, figure in figures.learning_curves(data).items()}
    drawn |= space_figures.drawn(data.spaces, data.mistakes)
    if data.caption_quality is not None:
        drawn["caption:words"] = figures.caption_histogram(data.caption_quality.words, "words")
        drawn["caption:clip"] = figures.caption_histogram(data.caption_quality.clip_scores, "CLIP score")
    if data.sweep is not None:
        drawn |= sweep_figures(data.sweep)
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
