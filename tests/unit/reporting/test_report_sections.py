"""The report's sections on spaces, mistakes, measures and costs: their words and tables say what was given."""

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.reporting import ArmResult, ReportData, read_report_data, render_html, write_report_data
from orchestrator.reporting.html import MAX_BYTES
from orchestrator.reporting.markdown import render_arm
from orchestrator.reporting.measured import curve_groups, meaning
from orchestrator.reporting.report_words import economy_words, mistake_words, space_words
from orchestrator.reporting.sections import (
    Export,
    Licence,
    Mistakes,
    PaidRows,
    Picture,
    Space,
    Spaces,
    Spectrum,
    WorstClass,
)

EVIL = '<script>alert("x")</script>'
WEBP = "data:image/webp;base64,UklGRg=="


def space(name: str, kind: str, silhouette: float) -> Space:
    """Four points of two classes."""
    points = ((0.0, 1.0), (1.0, 2.0), (2.0, 0.5), (3.0, 3.5))
    return Space(name, kind, "report", points, (0, 1, 0, 1), silhouette)  # type: ignore[arg-type]


def arm(name: str, ece: float, **measures: float) -> ArmResult:
    """An arm with curves and measures."""
    curves = {
        "train/loss": ((1.0, 3.0), (2.0, 1.5)),
        "train/text": ((1.0, 2.0), (2.0, 1.0)),
        "train/text.temperature": ((1.0, 0.1), (2.0, 0.07)),
        "select/m_neigh": ((1.0, 0.2), (2.0, 0.4)),
        "select/many": ((1.0, math.nan), (2.0, math.nan)),
        "cost/model_size_mb": ((1.0, 2.0), (2.0, 2.0)),
        "speed/images_per_s": ((1.0, 99.0), (2.0, 101.0)),
    }
    found = {"report/ece": ece, "model_size_mb": 2.5, "report/m_neigh": 0.25, **measures}
    return ArmResult(name, {"all": 50.0, "unseen_mean_per_class": 20.0}, curves=curves, measures=found)


@pytest.fixture
def data() -> ReportData:
    """A report with every section."""
    pictures = (Picture(WEBP, EVIL, 0.75, False), Picture(WEBP, "dax", 0.5, True))
    return ReportData(
        "t", "now", (arm("baseline", 0.25), arm("distilled", 0.125, **{"report/few_shot_retrieval": 0.5})),
        spaces=Spaces(
            ("dax", EVIL), (space("image teacher", "teacher", 0.5), space("distilled", "student", -0.25)),
            (Spectrum("class texts", 12, 128, (0.5, 0.25, 0.25), 2.83, 2.67, 3, 0.7),), seed=0, perplexity=10.0,
        ),
        mistakes=(Mistakes("distilled", (WorstClass("dax", 40, 1, 4, ((EVIL, 2), ("wug", 1)), pictures),)),),
        economics=(
            PaidRows("captions", 100, 25, 75, 0, seconds_a_row=2.0, usd_a_row=0.01, without_store=400),
            PaidRows("texts", 10, 10, 0, 0),
        ),
        exports=(
            Export("distilled", "exports/distilled", {"ONNX": "outputs differ by at most 1e-06"},
                   {"torch": {"size_mb": 2.5, "ms_b1": 1.25}}, "a processor", 1000, 2000),
        ),
        licences=(Licence("captioner", EVIL, "unknown"),),
        seeds={"training.data_seed": 3},
    )  # fmt: skip


def rows(page: str, caption: str) -> list[list[str]]:
    """The texts of the body of the table with this caption."""
    table = page[page.index(f"<caption>{caption}") :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.S) for row in body.split("</tr>")]
    return [[html.unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in row] for row in cells if row]


def test_every_section_has_an_anchor_a_heading_and_a_link_in_the_order_of_the_page(data: ReportData) -> None:
    page = render_html(data)
    sections = re.findall(r'<section id="(\w+)" aria-labelledby="(\w+)-title">\n<h2 id="(\w+)-title">', page)
    ids = [first for first, _, _ in sections]
    assert ids == ["results", "unseen", "mistakes", "curves", "coherence", "spaces", "spectra", "economics", "measures",
                   "cost", "made"]  # fmt: skip
    assert all(len(set(one)) == 1 for one in sections)
    assert re.findall(r'<a href="#(\w+)">', page[page.index("<nav") : page.index("</nav>")]) == ids


def test_tables_of_spaces_mistakes_economics_and_exports_say_what_was_given(data: ReportData) -> None:
    page = render_html(data)
    assert rows(page, "Silhouette") == [
        ["Image teacher", "report", "4", "2", "0.500"], ["Student distilled", "report", "4", "2", "-0.250"],
    ]  # fmt: skip
    assert rows(page, "How many directions") == [["class texts", "12", "128", "2.8", "2.7", "3", "0.700"]]
    assert rows(page, "On the report split; the three") == [
        [
            "dax",
            "40",
            "4",
            "25.0",
            f"{EVIL} (2), wug (1)",
        ]
    ]
    assert rows(page, "Rows of the teachers") == [
        ["captions", "100", "25", "75", "0", "2", "400", "750", "3.75"],
        ["texts", "10", "10", "0", "0", "n/a", "", "n/a", "n/a"],
    ]  # fmt: skip
    assert rows(page, "Each form on a processor") == [["torch", "2.5", "1.25"]]
    assert rows(page, "Of the weights")[0][0::2] == ["captioner", "unknown"]
    assert EVIL not in page


def test_measures_stand_in_their_section_with_what_they_mean(data: ReportData) -> None:
    page = render_html(data)
    assert rows(page, "Accuracy on seen and unseen classes") == [
        ["report/few_shot_retrieval", "n/a", "50", meaning("few_shot_retrieval")],
        ["unseen_mean_per_class", "20", "20", "the same, mean over classes"],
    ]
    assert [row[0] for row in rows(page, "On the report split unless")] == ["report/ece"]
    assert [row[0] for row in rows(page, "Of the finished students")] == ["report/m_neigh"]
    assert "distilled is calibrated best (expected calibration error 0.125)" in page


def test_every_loss_part_has_a_curve_and_what_has_no_number_has_none(data: ReportData) -> None:
    page = render_html(data)
    drawn = set(re.findall(r'data-figure="curve:([^"]+)"', page))
    assert drawn == {"train/loss", "train/text", "train/text.temperature", "select/m_neigh", "speed/images_per_s"}
    groups = curve_groups(data.arms)
    assert [row.name for row in groups["Losses"].rows] == ["train/loss", "train/text"]
    assert groups["Losses"].rows[0].ends == ((3.0, 1.5), (3.0, 1.5))


def test_figures_hold_the_points_and_shares_that_were_given(data: ReportData) -> None:
    page = render_html(data)
    found = dict(re.findall(r'<script type="application/json" data-for="([^"]+)">(.*?)</script>', page, re.S))
    plane = json.loads(found["space:0"])["data"]
    assert [(trace["x"], trace["y"]) for trace in plane] == [([0.0, 2.0], [1.0, 0.5]), ([1.0, 3.0], [2.0, 3.5])]
    (heat,) = json.loads(found["mistakes:distilled"])["data"]
    assert heat["z"] == [[25.0, 50.0, 25.0]]
    assert json.loads(found["spectra"])["data"][0]["y"] == [0.5, 0.25, 0.25]


def test_words_name_the_best_space_the_worst_class_and_what_was_saved(data: ReportData) -> None:
    assert "the image teacher tells the shown classes apart best (silhouette 0.50)" in space_words(data.spaces)
    assert mistake_words(data.mistakes[0]).startswith("dax is the worst: 1 of 4 images right, most often taken for")
    first, second = economy_words(data.economics)
    assert "Of 110 rows of the teachers, 75 (68 %)" in first
    assert "400 captions made: it saved 12 min of the captioner and 3.75 USD" in second  # 375 rows of 2 s


def test_what_was_not_measured_is_told_in_a_line_with_how_to_measure_it(data: ReportData) -> None:
    bare = replace(data.arms[0], measures={}, curves={})
    page = render_html(ReportData("t", "now", (bare,)))
    for told in (
        "<code>coherence</code> among",
        "<code>latency</code> to",
        "orchestrator export",
        "<code>evaluation.measures</code> names",
    ):
        assert told in page
    assert not {"spaces", "spectra", "mistakes", "economics"} & set(re.findall(r'<section id="(\w+)"', page))


def test_a_page_with_too_many_pictures_loses_them_and_says_so(data: ReportData) -> None:
    big = replace(data.mistakes[0].classes[0].pictures[0], image_data_uri=WEBP + "A" * (MAX_BYTES // 2))
    row = replace(data.mistakes[0].classes[0], pictures=(big, big, big))
    page = render_html(replace(data, mistakes=(Mistakes("distilled", (row,)),)))
    assert len(page.encode()) < MAX_BYTES
    assert "3 more pictures are left out" in page


def test_every_section_survives_the_json_file_of_the_report(data: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report_data(data, path)
    assert render_html(read_report_data(path)) == render_html(data)


def test_an_arms_description_has_its_row_and_its_difference_to_the_baseline(data: ReportData) -> None:
    arms = (
        replace(data.arms[0], metrics={"all": 50.0}),
        replace(data.arms[1], metrics={"all": 52.5}, alarms=("look",)),
    )
    lines = render_arm(replace(data, arms=arms), "distilled").splitlines()
    assert "| distilled | 52.5 | n/a | n/a | n/a |" in lines
    assert "| minus baseline | +2.5 | n/a | n/a | n/a |" in lines
    assert lines[-1] == "* look"
    assert "minus" not in render_arm(replace(data, arms=arms), "baseline")
