"""The report on captions: it shows the sums given, escapes text, says n/a for what is missing, and loads nothing."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from orchestrator.reporting import (
    CaptionCard,
    CaptionQuality,
    ClassQuality,
    Histogram,
    PromptQuality,
    ReportData,
    SourceThresholds,
    read_report_data,
    render_html,
    write_report_data,
)
from orchestrator.reporting.caption_quality import SHARE_HEADINGS
from orchestrator.reporting.figures import caption_histogram

EVIL = '<script>alert("x")</script>'
WEBP = "data:image/webp;base64,UklGRg=="


def sums(score: float = 0.75) -> dict[str, float]:
    """Sums of captions; without a score when it is nan."""
    shares = {name: (number + 1) / 8 for number, name in enumerate(SHARE_HEADINGS)}
    words = {"words_median": 12.0, "words_p05": 8.0, "words_p95": 20.0, "words_mean": 12.5}
    scores = {f"clip_score_{what}": score for what in ("mean", "median", "p05", "p95")}
    return shares | words | scores


def thresholds(few_dropped: int) -> SourceThresholds:
    """100 captions of which 10 and those of Few are dropped."""
    groups = {"many": (80, 10), "medium": (0, 0), "few": (20, few_dropped)}
    return SourceThresholds(
        "named", "general", {"must_name_class": True, "min_clip_score": 0.5}, 100, 10 + few_dropped,
        {"must_name_class": 9, "min_clip_score": 3}, groups,
    )  # fmt: skip


@pytest.fixture
def data() -> ReportData:
    """A report with two prompts, one of them not scored."""
    quality = CaptionQuality(
        prompts=(
            PromptQuality("general", "All", 101, 100, sums()),
            PromptQuality("general", "Few", 21, 20, sums(0.5)),
            PromptQuality(EVIL, "All", 5, 5, sums(math.nan)),
        ),
        worst=(ClassQuality("general", EVIL, 7, 6, sums(0.25)), ClassQuality(EVIL, "wug", 5, 5, sums(math.nan))),
        words=Histogram((7.5, 8.5, 9.5), {"general": (0.25, 0.75)}),
        clip_scores=Histogram((0.0, 1.0), {}),
        thresholds=(thresholds(10),),
        class_in_prompt=(EVIL,),
        notes=("No CLIP score for this & that.",),
    )
    card = CaptionCard(
        WEBP, EVIL, "train", {"general": EVIL}, None, {"general": ("names_class", "cut_off")}, {"general": 0.1234},
        "Few, by lot",
    )  # fmt: skip
    return ReportData("t", "now", (), captions=(card,), caption_quality=quality)


def cells(page: str, caption_id: str) -> list[list[str]]:
    """The texts of a table's body."""
    table = page[page.index(f'<caption id="{caption_id}"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    rows = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.S) for row in body.split("</tr>")]
    return [[re.sub("<[^>]*>", " ", cell).strip() for cell in row] for row in rows if row]


def test_the_table_shows_the_sums_given_and_na_for_what_was_not_measured(data: ReportData) -> None:
    shares = ["12.5", "25.0", "37.5", "50.0", "62.5", "75.0", "87.5"]
    rows = cells(render_html(data), "quality-caption")
    assert rows[0] == ["general", "100", "1", "12 (8 to 20)", "0.750 (0.75 to 0.75)", *shares]
    assert rows[1] == ["Few", "20", "1", "12 (8 to 20)", "0.500 (0.50 to 0.50)", *shares]
    assert rows[2][3:] == ["12 (8 to 20)", "n/a", *shares]
    assert rows[2][0].endswith("asked with the class")


def test_the_thresholds_tell_reasons_and_the_share_of_every_group(data: ReportData) -> None:
    page = render_html(data)
    (row,) = cells(page, "thresholds-caption")
    assert row[:8] == ["named", "general", "100", "20", "20.0", "12.5", "n/a", "50.0"]
    assert re.split(r"\s{2,}", row[8]) == ["must name class: 9", "min clip score 0.5: 3"]
    assert "take 50.0 % of the captions of Few, and 20.0 % of all" in page


@pytest.mark.parametrize(("few_dropped", "lopsided"), [(0, False), (2, False), (4, False), (5, True), (20, True)])
def test_thresholds_are_called_lopsided_when_few_loses_half_as_much_again(few_dropped: int, lopsided: bool) -> None:
    assert thresholds(few_dropped).is_lopsided() is lopsided  # 4: 20 % of Few, 14 % of all; 5: 25 % and 15 %


def test_what_people_or_models_wrote_is_escaped_and_nothing_is_loaded(data: ReportData) -> None:
    page = render_html(data)
    section = page[page.index('<section id="captions"') : page.index('<section id="made"')]
    assert EVIL not in page
    assert "&lt;script&gt;alert(" in section
    assert "this &amp; that" in section
    assert re.findall(r'(?:src|href)="([^"]*)"', section) == [WEBP]
    assert 'alt="Image of class &lt;script&gt;' in section
    with pytest.raises(AssertionError, match="loads nothing"):
        CaptionCard("https://example.org/x.png", "dax", "train", {})


def test_a_card_shows_score_reason_and_flags_good_and_bad(data: ReportData) -> None:
    page = render_html(data)
    assert "CLIP score 0.123" in page
    assert "train · Few, by lot" in page
    assert '<span class="flag good">names the class</span> <span class="flag bad">cut off</span>' in page


def test_a_histogram_is_drawn_in_steps_that_hold_every_share_and_none_without_a_caption(data: ReportData) -> None:
    assert data.caption_quality is not None
    figure = caption_histogram(data.caption_quality.words, "words")
    assert figure is not None
    assert list(figure.data[0].x) == [7.5, 7.5, 8.5, 9.5]
    np.testing.assert_allclose(figure.data[0].y, [0, 25, 75, 0])
    assert caption_histogram(data.caption_quality.clip_scores, "CLIP score") is None
    assert 'data-for="caption:clip"' not in render_html(data)


def test_a_report_of_no_caption_at_all_opens() -> None:
    page = render_html(ReportData("t", "now", (), caption_quality=CaptionQuality(())))
    assert cells(page, "quality-caption") == []


def test_caption_quality_survives_the_json_file_of_the_report(data: ReportData, tmp_path: Path) -> None:
    write_report_data(data, tmp_path / "report.json")
    read = read_report_data(tmp_path / "report.json")
    assert render_html(read) == render_html(data)
