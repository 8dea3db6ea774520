"""What `orchestrator compare` does, as one call: sides are found, compared, written as a page, and told.

Reads finished artifacts; writes one page. Knows nothing of the terminal's arguments.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ArtifactError
from orchestrator.reporting.comparison import caution, comparison_json, comparison_tables, words
from orchestrator.reporting.comparison_page import render_comparison
from orchestrator.reporting.page import write_page
from orchestrator.reporting.sweep_comparison import (
    render_sweep_comparison,
    sweep_comparison_json,
    sweep_comparison_table,
    sweep_words,
)
from orchestrator.stages import compare
from orchestrator.stages.compare_sweeps import collect_sweeps
from orchestrator.stages.compared_sides import Side, find_sides

FOLDER = "comparisons"
LONGEST_NAME = 120  # of a page's file, characters


@dataclass(frozen=True)
class Shown:
    """What a terminal is given: tables, lines, warnings, the page's path, and everything as JSON values."""

    tables: tuple[Any, ...]
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    page: Path
    json: dict[str, Any]


def run_compare(names: Sequence[str], root: Path, output: Path | None, confidence: float) -> Shown:
    """Compare, and write the page to `output` or below the storage root.

    Raises:
        ArtifactError: something is missing, unfinished, or cannot be compared.
    """
    sides = find_sides(names, root)
    if len({side.sweep is None for side in sides}) > 1:
        raise ArtifactError(
            "a sweep and a student", expected="sweeps with sweeps, or students (arms, cells, experiments) with students"
        )
    path = output or root / FOLDER / f"{_file_name(sides)}.html"
    if sides[0].sweep is not None:
        found = collect_sweeps(sides)
        write_page(render_sweep_comparison(found), path)
        told = {**sweep_comparison_json(found), "page": str(path)}
        return Shown((sweep_comparison_table(found),), sweep_words(found), found.warnings, path, told)
    data = compare.collect(sides, confidence)
    write_page(render_comparison(data), path)
    return Shown(
        tuple(comparison_tables(data)),
        (*words(data), caution(data), *data.notes),
        data.warnings,
        path,
        {**comparison_json(data), "page": str(path)},
    )


def _file_name(sides: Sequence[Side]) -> str:
    joined = "_against_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", side.name) for side in sides[::-1])
    return joined[:LONGEST_NAME]
