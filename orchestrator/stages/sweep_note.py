"""What a sweep found, as the Markdown description of its run: question, answer, the best trials with links.

Reads and writes nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult

SHOWN = 10


def sweep_note(
    space: SearchSpace, objectives: Mapping[str, str], results: Sequence[TrialResult], best: TrialResult, run_key: str
) -> str:
    """Markdown; a link `(run:KEY)` leads to the run of that key.

    Args:
        objectives: name -> max or min, the most important first.
    """
    first, mode = next(iter(objectives.items()))
    told = [result for result in results if not math.isnan(result.metrics.get(first, math.nan))]
    told.sort(key=lambda result: result.metrics[first], reverse=mode == "max")
    paths = list(space.parameters)
    values = " ".join(f"{path}={_cell(value)}" for path, value in best.values.items())
    ended = {status: sum(result.status == status for result in results) for status in ("finished", "stopped", "failed")}
    lines = [
        f"**{space.question}**",
        "",
        f"Expected: {space.expected}",
        "",
        f"{len(results)} trials: " + ", ".join(f"{count} {status}" for status, count in ended.items() if count) + ". "
        f"Best by `{first}` ({mode}): trial {best.number:04d}, `{values}`.",
        "",
        "| trial | " + " | ".join([*objectives, *(f"`{path}`" for path in paths)]) + " | epochs | ended |",
        "|---|" + "---:|" * (len(objectives) + len(paths) + 1) + "---|",
    ]
    for result in told[:SHOWN]:
        cells = [_cell(result.metrics.get(name)) for name in objectives]
        cells += [_cell(result.values.get(path)) for path in paths]
        link = f"[{result.number:04d}](run:{run_key}/trial/{result.number:04d})"
        lines.append(f"| {link} | " + " | ".join([*cells, str(result.epochs), result.status]) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
