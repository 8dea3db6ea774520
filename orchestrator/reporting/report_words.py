"""The report's sections in sentences: what a reader should take from a figure before looking at it.

Reads and writes nothing. Knows nothing of HTML.
"""

import math
from collections.abc import Sequence

from orchestrator.reporting.data import number
from orchestrator.reporting.sections import Export, Mistakes, PaidRows, Spaces
from orchestrator.reporting.space_figures import title_of


def space_words(spaces: Spaces) -> str:
    """Which space parts the classes best."""
    parted = [one for one in spaces.planes if math.isfinite(one.silhouette)]
    if len(parted) < 2:
        return "Images and texts of a few classes, near what is like them."
    order = sorted(parted, key=lambda one: -one.silhouette)
    return (
        f"Of these spaces, that of {_lower(title_of(order[0]))} tells the shown classes apart best (silhouette "
        f"{order[0].silhouette:.2f}), that of {_lower(title_of(order[-1]))} least ({order[-1].silhouette:.2f})."
    )


def spectrum_words(spaces: Spaces) -> str:
    """Which texts say most."""
    known = [one for one in spaces.spectra if math.isfinite(one.effective_rank)]
    if not known:
        return "These texts do not vary."
    told = ", ".join(f"{one.name} {one.effective_rank:.1f} (of {one.num_texts} texts)" for one in known)
    return f"Texts that say different things use many directions. Effective rank: {told}."


def mistake_words(one: Mistakes) -> str:
    """The worst class and what it is taken for."""
    if not one.classes:
        return "No class has an image in the report split."
    worst = one.classes[0]
    taken = f", most often taken for {worst.taken_for[0][0]}" if worst.taken_for else ""
    return (
        f"{worst.name} is the worst: {worst.correct} of {worst.total} images right{taken}; it has {worst.train_count} "
        "training images. Below a picture is what the student says and with which probability."
    )


def economy_words(rows: Sequence[PaidRows]) -> tuple[str, ...]:
    """Rows reused, time and money saved."""
    asked, reused = sum(row.asked for row in rows), sum(row.reused for row in rows)
    if not asked:
        return ("No row of a teacher was asked for.",)
    found = [
        f"Of {asked:,} rows of the teachers, {reused:,} ({100 * reused / asked:.0f} %) were there already and were not "
        "paid again."
    ]
    captions = next((row for row in rows if row.unit == "captions"), None)
    if captions is not None and captions.without_store > captions.made and math.isfinite(captions.seconds_saved):
        money = f" and {captions.usd_saved:,.2f} USD" if math.isfinite(captions.usd_saved) else ""
        found.append(
            f"Without the store, trainings would have had {captions.without_store:,} captions made: it saved "
            f"{_time(captions.seconds_saved)} of the captioner{money}."
        )
    return tuple(found)


def export_words(one: Export) -> str:
    """Size, and whether it says the same."""
    parity = "; ".join(f"{name}: {told}" for name, told in one.parity.items())
    size = (
        f"{one.num_parameters:,} parameters, {one.macs:,} multiply-accumulates an image. " if one.num_parameters else ""
    )
    return f"{size}{parity or 'Its outputs were not compared'}."


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{number(seconds, 0)} s"
    return f"{number(seconds / 60, 0)} min" if seconds < 7200 else f"{number(seconds / 3600)} h"


def _lower(text: str) -> str:
    return f"the {text[0].lower()}{text[1:]}"
