"""RESULTS.md: every table of the papers beside ours, written from the records of cells and from nothing else.

Holds how numbers become Markdown. Reads and writes nothing. Knows nothing of how cells are made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.config.reproduction import Column, Finding, Reproduction, Row, Scale
from orchestrator.evaluation.paired import paired_difference
from orchestrator.reporting.cell_record import CellRecord, Measured
from orchestrator.reporting.data import number, signed

Look = Callable[[Row, Column], Measured]  # what there is of one column of one row
REAPPEARS, OPPOSITE, UNCLEAR, NOT_RUN = "reappears", "does not: the opposite", "not distinguishable", "not run"


@dataclass(frozen=True)
class Verdict:
    """What our cells say of a finding of a paper."""

    finding: Finding
    word: str
    told: str


def verdicts(reproduction: Reproduction, look: Look, scale: Scale) -> list[Verdict]:
    """Every finding of a target: does it reappear on our paired seeds?"""
    return [_verdict(reproduction, finding, look, scale) for finding in reproduction.findings]


def _verdict(reproduction: Reproduction, finding: Finding, look: Look, scale: Scale) -> Verdict:
    column, excused = (
        reproduction.columns[finding.column],
        [f"{name}: {why}" for name in (finding.row, finding.than) if (why := reproduction.rows[name].why_not(scale))],
    )
    if excused:
        return Verdict(finding, NOT_RUN, "; ".join(excused))
    ours, reference = (look(reproduction.rows[name], column) for name in (finding.row, finding.than))
    missing = {name: one.why_not for name, one in ((finding.row, ours), (finding.than, reference)) if one.why_not}
    if missing:
        reasons = set(missing.values())
        both = len(missing) == 2 and len(reasons) == 1
        told = reasons.pop() if both else "; ".join(f"{name}: {why}" for name, why in missing.items())
        return Verdict(finding, NOT_RUN, told)
    seeds = sorted(set(ours.by_seed) & set(reference.by_seed))
    if len(seeds) < 2:
        return Verdict(finding, NOT_RUN, "the two have no two seeds in common")
    found = paired_difference([ours.by_seed[seed] for seed in seeds], [reference.by_seed[seed] for seed in seeds])
    told = (
        f"{finding.row} - {finding.than}, {column.heading}: {signed(found.mean, column.digits)} ± "
        f"{number(found.half_width, column.digits)} over {len(seeds)} paired seeds"
    )
    if not found.excludes_zero:
        return Verdict(finding, UNCLEAR, told)
    return Verdict(finding, REAPPEARS if (found.mean > 0) == (finding.expect == "higher") else OPPOSITE, told)


def table(reproduction: Reproduction, look: Look, scale: Scale) -> str:
    """Markdown: for each row and column the paper's number, ours with its interval, and why a cell was not run.

    A number in parentheses does not count; the last column says why.
    """
    heads = [f"{column.heading}: {what}" for column in reproduction.columns.values() for what in ("paper", "ours")]
    lines = [f"| | {' | '.join(heads)} | not run because |", f"|{'---|' * (len(heads) + 2)}"]
    for name, row in reproduction.rows.items():
        shown, reasons = [], []
        for key, column in reproduction.columns.items():
            shown.append(f"{row.paper[key]:.{_digits(row.paper[key])}f}" if key in row.paper else "")
            excuse = row.why_not(scale)
            one = Measured({}, excuse) if excuse else look(row, column)
            shown.append(_ours(one, column))
            reasons.append(one.why_not)
        lines.append(f"| {name} | {' | '.join(shown)} | {'; '.join(dict.fromkeys(filter(None, reasons)))} |")
    return "\n".join(lines)


def _ours(one: Measured, column: Column) -> str:
    if not one.by_seed:
        return ""
    mean = number(one.mean, column.digits)
    return f"({mean})" if one.why_not else f"{mean} ± {number(one.half_width, column.digits)}"


def _digits(value: float) -> int:
    """As many decimals as the paper printed, at most four."""
    return next((digits for digits in range(5) if round(value, digits) == value), 4)


def section(reproduction: Reproduction, look: Look, scale: Scale, about: Mapping[str, str]) -> str:
    """A target of the page at one scale: question, table, findings, and what differs from the paper.

    Args:
        about: group -> what is otherwise than in the paper.
    """
    lines = [f"### {reproduction.target}: {reproduction.title}", "", reproduction.question, ""]
    lines += [table(reproduction, look, scale), ""]
    for verdict in verdicts(reproduction, look, scale):
        lines.append(f"* {verdict.finding.says}: **{verdict.word}** ({verdict.told}).")
    groups = dict.fromkeys(group for group, _ in reproduction.cells(scale))
    told = [f"`{group}`: {about[group]}" for group in groups if about.get(group)]
    lines += ["", *(f"{text}" for text in [reproduction.note] if text), *(f"* {text}" for text in told), ""]
    lines.append(f"`orchestrator reproduce {reproduction.target}{_scale_option(scale)}`")
    return "\n".join(lines)


def _scale_option(scale: Scale) -> str:
    return " --data ROOT" if scale == "data" else f" --scale {scale}"


def summary(found: Mapping[str, Sequence[Verdict]]) -> str:
    """Markdown: every finding in one line, by target."""
    lines = ["| target | the paper says | here | |", "|---|---|---|---|"]
    for target, each in found.items():
        lines += [f"| {target} | {one.finding.says} | **{one.word}** | {one.told} |" for one in each]
    return "\n".join(lines)


def provenance(records: Sequence[CellRecord]) -> str:
    """Markdown: when, on what and by which command the cells of each group were made."""
    groups: dict[tuple[str, str], list[CellRecord]] = {}
    for record in records:
        groups.setdefault((record.scale, record.group), []).append(record)
    lines = ["| group | arms | seeds | epochs | finished | wall time, sum | hardware, engine | command |"]
    lines.append(f"|{'---|' * 8}")
    for (scale, group), mine in groups.items():
        dates = sorted(record.finished_utc[:10] for record in mine)
        when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        cells = [
            f"{scale}/{group}",
            ", ".join(dict.fromkeys(record.arm for record in mine)),
            ", ".join(map(str, sorted({record.seed for record in mine}))),
            ", ".join(map(str, sorted({record.epochs for record in mine}))),
            when,
            f"{sum(record.seconds for record in mine) / 60:.0f} min",
            "; ".join(sorted({f"{record.hardware}, {record.engine}" for record in mine})),
            "; ".join(f"`{command}`" for command in sorted({record.command for record in mine})),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
