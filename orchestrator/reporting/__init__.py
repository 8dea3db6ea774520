"""From results to something a person reads: one HTML file, a Markdown table, a table in the terminal.

Holds the names others use. Reads no artifacts and knows nothing of how results were made.
"""

from orchestrator.reporting.caption_quality import (
    CaptionCard,
    CaptionQuality,
    ClassQuality,
    Histogram,
    PromptQuality,
    SourceThresholds,
)
from orchestrator.reporting.data import (
    ArmResult,
    ClassResult,
    ReportData,
    SweepResult,
    TrialRow,
    read_report_data,
    write_report_data,
)
from orchestrator.reporting.html import render_html, write_html
from orchestrator.reporting.markdown import render_markdown
from orchestrator.reporting.table import results_table

__all__ = [
    "ArmResult",
    "CaptionCard",
    "CaptionQuality",
    "ClassQuality",
    "ClassResult",
    "Histogram",
    "PromptQuality",
    "ReportData",
    "SourceThresholds",
    "SweepResult",
    "TrialRow",
    "read_report_data",
    "render_html",
    "render_markdown",
    "results_table",
    "write_html",
    "write_report_data",
]
