"""The result as Markdown, for an MLflow description or a file.

Reads and writes nothing. Knows nothing of HTML pages and figures.
"""

import re

from orchestrator.reporting.data import ReportData, comparison, number, signed, summary_of


def render_markdown(data: ReportData) -> str:
    """Title, summary, the table with differences, commands and notes."""
    headings, rows = comparison(data)
    lines = [f"# {_plain(data.title)}", ""]
    for paragraph in summary_of(data):
        lines += [_plain(paragraph), ""]
    lines += ["| Accuracy, % | " + " | ".join(headings) + " |", "|---|" + "---:|" * len(headings)]
    for row in rows:
        lines.append(f"| {_plain(row.name)} | " + " | ".join(number(value) for value in row.values) + " |")
        if row.differences is not None:
            cells = " | ".join(signed(value) for value in row.differences)
            lines.append(f"| {_plain(row.name)} - {_plain(rows[0].name)} | {cells} |")
    if told := [f"* {_plain(arm.name)}: {_plain(alarm)}" for arm in data.arms for alarm in arm.alarms]:
        lines += ["", "## Alarms", "", *told]
    if data.commands:
        lines += ["", "```", *data.commands, "```"]
    if data.notes:
        lines += ["", *(f"* {_plain(note)}" for note in data.notes)]
    return "\n".join(lines) + "\n"


def render_arm(data: ReportData, name: str) -> str:
    """What the report says of one arm: its losses, its accuracies and the differences to the baseline, its alarms."""
    headings, rows = comparison(data)
    arm, row = next((arm, row) for arm in data.arms for row in rows if arm.name == row.name == name)
    lines = [
        _plain(arm.description),
        "",
        "| Accuracy, % | " + " | ".join(headings) + " |",
        "|---|" + "---:|" * len(headings),
    ]
    lines.append(f"| {_plain(name)} | " + " | ".join(number(value) for value in row.values) + " |")
    if row.differences is not None:
        lines.append(
            f"| minus {_plain(rows[0].name)} | " + " | ".join(signed(value) for value in row.differences) + " |"
        )
    if arm.alarms:
        lines += ["", *(f"* {_plain(alarm)}" for alarm in arm.alarms)]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
