"""The report: its numbers are those given, it is safe to open, and nothing that is missing breaks it."""

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from orchestrator.reporting import (
    ArmResult,
    CaptionCard,
    ClassResult,
    ReportData,
    SweepResult,
    TrialRow,
    read_report_data,
    render_html,
    render_markdown,
    results_table,
    write_html,
    write_report_data,
)
from orchestrator.reporting.data import comparison, summary_of
from orchestrator.reporting.figures import learning_curves, parallel_coordinates
from orchestrator.reporting.html import MAX_BYTES

EVIL = '<script>alert("x")</script>'


def _picture(seed: int, side: int = 64) -> str:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _arm(name: str, numbers: tuple[float, ...], seed: int) -> ArmResult:
    random = np.random.default_rng(seed)
    names = ["dax", "wug", EVIL, "a & b"] + [f"blick{i}" for i in range(44)]
    counts = [max(2, round(200 * 100 ** (-i / 47))) for i in range(48)]
    rise = 1 - np.exp(-np.arange(30) / 8)
    parts = {
        "loss.total": 4 - 3 * rise,
        "loss.classification": 3 - 2 * rise,
        "loss.text": 1 - rise,
        "select.all": 50 * rise,
    }
    return ArmResult(
        name=name,
        metrics=dict(zip(("all", "many", "medium", "few", "mean_per_class"), numbers, strict=True)),
        per_class=tuple(
            ClassResult(i, names[i], counts[i], float(np.clip(80 - 1.2 * i + random.normal(0, 8), 0, 100)))
            for i in range(48)
        ),
        curves={
            key: tuple((float(epoch), float(value)) for epoch, value in enumerate(curve + random.normal(0, 0.02, 30)))
            for key, curve in parts.items()
        },
    )


def _sweep() -> SweepResult:
    random = np.random.default_rng(3)
    trials = tuple(
        TrialRow(
            trial_id=f"{i:04d}",
            values={
                "losses.text.weight": float(10 ** random.uniform(-2, 1)),
                "losses.text.temperature": float(random.uniform(0.03, 0.2)),
                "adaptors.text.depth": int(i % 3),
                "optimizer.name": ["adamw", "sgd"][i % 2],
            },
            objective=math.nan if i == 5 else 40 + 2.125 * i,
            metrics={"select.few": 20.0 + i},
            status="FAILED" if i == 5 else "FINISHED",
            epochs=3 if i % 4 == 1 else 12,
        )
        for i in range(12)
    )
    return SweepResult(trials=trials, metric="select.all", mode="max", best="0011")


@pytest.fixture
def data() -> ReportData:
    """A report as the demo makes it."""
    captions = tuple(
        CaptionCard(
            image_data_uri=_picture(i),
            class_name=EVIL if i == 2 else "dax",
            split="train",
            texts={
                "Describe the image in one sentence.": "a large red striped star with a tail on grass, at the top left",
                "What colour is the dax?": "red",
            },
            oracle="a large red striped star with a tail on sand" if i % 2 else None,
        )
        for i in range(8)
    )
    return ReportData(
        title="demo: does text help the tail?",
        created_utc="2026-11-22 12:00",
        arms=(
            _arm("distilled", (53.43, 70.12, 50.71, 35.26, 53.4), 1),
            _arm("baseline", (52.14, 71.38, 49.02, 31.94, 52.1), 0),
        ),
        sweep=_sweep(),
        captions=captions,
        environment={"Python": "3.11.7", "processor": "2 cores, no GPU", "torch": "2.14.1+cpu"},
        commands=("orchestrator run jobs/experiments/demo.yaml", ".venv/bin/mlflow ui --port 5000"),
        counts={"images": 2810, "captions": 5620},
        notes=("One seed: differences below two points say little.",),
    )


class _Page(HTMLParser):
    """Collects what the browser would load, the texts of cells, and unexpected elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.images: list[dict[str, str | None]] = []
        self._cell: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.loads += [known[name] or "" for name in ("src", "href", "data", "action", "srcset") if name in known]
        self.loads += ["<link>"] if tag == "link" else []
        if tag == "img":
            self.images.append(known)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell).strip())
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


def test_the_html_table_shows_exactly_the_numbers_given_and_their_differences(data: ReportData) -> None:
    assert _Page(render_html(data)).tables[0] == [
        ["Student", "All", "Many", "Medium", "Few", "Mean per class"],
        ["baseline", "52.1", "71.4", "49.0", "31.9", "52.1"],
        ["distilled", "53.4", "70.1", "50.7", "35.3", "53.4"],
        ["minus baseline", "+1.3", "-1.3", "+1.7", "+3.3", "+1.3"],
    ]


def test_the_trial_table_holds_every_trial_with_its_settings(data: ReportData) -> None:
    (table,) = (table for table in _Page(render_html(data)).tables if table[0][0] == "Trial")
    assert table[0][:3] == ["Trial", "select.all", "adaptors.text.depth"]
    assert len(table) == 13
    assert table[1][:3] == ["0000", "40", "0"]
    assert table[6][:2] == ["0005", "n/a"]
    assert table[12][0] == "0011 (best)"


def test_the_page_loads_nothing_and_forbids_loading(data: ReportData) -> None:
    page = render_html(data)
    parsed = _Page(page)
    assert [load for load in parsed.loads if not load.startswith(("#", "data:image/png;base64,"))] == []
    assert "default-src 'none'" in page
    assert "@import" not in page.split("<script", 1)[0]
    assert page.count("Plotly.react(") == 1
    assert len(page.encode()) < MAX_BYTES


def test_special_characters_are_escaped_everywhere(data: ReportData) -> None:
    evil = replace(data, title=EVIL, notes=(EVIL,), commands=("a && b < c",), summary=(EVIL,), counts={EVIL: EVIL})
    page = render_html(evil)
    assert EVIL not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(" in page
    assert "a &amp;&amp; b &lt; c" in page


def test_every_image_has_words_for_those_who_do_not_see_it(data: ReportData) -> None:
    parsed = _Page(render_html(data))
    assert len(parsed.images) == 8
    assert all(image["alt"] for image in parsed.images)
    assert parsed.images[2]["alt"] == f"Image of class {EVIL}, train split"


def test_the_figures_in_the_page_are_json_with_the_given_values(data: ReportData) -> None:
    page = render_html(data)
    blocks = dict(re.findall(r'<script type="application/json" data-for="([^"]+)">(.*?)</script>', page, re.S))
    assert set(blocks) == {
        "groups",
        "frequency",
        "sweep",
        *(f"curve:{name}" for name in ("loss.total", "loss.classification", "loss.text", "select.all")),
    }
    groups = json.loads(blocks["groups"])
    assert [(trace["name"], trace["text"]) for trace in groups["data"]] == [
        ("baseline", ["52.1", "71.4", "49.0", "31.9"]),
        ("distilled", ["53.4", "70.1", "50.7", "35.3"]),
    ]


def test_a_report_without_sweep_captions_and_arms_still_opens(data: ReportData) -> None:
    page = render_html(replace(data, sweep=None, captions=()))
    assert 'id="sweep"' not in page
    assert 'id="captions"' not in page
    empty = render_html(ReportData(title="nothing", created_utc="2026-11-22 12:00", arms=()))
    assert "No student was trained." in empty


def test_what_was_not_measured_is_na_in_every_form(data: ReportData) -> None:
    arm = replace(data.arms[0], metrics={"all": 50.0, "few": math.nan}, per_class=(), curves={})
    partial = replace(data, arms=(arm,))
    expected = ["distilled", "50.0", "n/a", "n/a", "n/a"]
    assert _Page(render_html(partial)).tables[0][1] == expected
    assert "| distilled | 50.0 | n/a | n/a | n/a |" in render_markdown(partial)


def test_the_arm_called_baseline_is_the_reference_else_the_first(data: ReportData) -> None:
    assert comparison(data)[1][0].name == "baseline"
    renamed = replace(data, arms=tuple(replace(arm, name=f"{arm.name} 2") for arm in data.arms))
    assert comparison(renamed)[1][0].name == "distilled 2"


def test_a_difference_that_rounds_to_zero_has_no_sign(data: ReportData) -> None:
    low = replace(data.arms[0], metrics={"all": 52.10, "many": 52.0, "medium": 52.0, "few": 52.0})
    base = replace(data.arms[1], metrics={"all": 52.14, "many": 52.0, "medium": 50.0, "few": 54.0})
    text = render_markdown(replace(data, arms=(base, low)))
    assert "| distilled - baseline | 0.0 | 0.0 | +2.0 | -2.0 |" in text


def test_the_summary_in_words_says_the_table(data: ReportData) -> None:
    sentence = summary_of(data)[1]
    assert "All 53.4 % (+1.3)" in sentence
    assert "Few 35.3 % (+3.3)" in sentence
    assert summary_of(replace(data, summary=("Given.",))) == ("Given.",)


def test_the_terminal_table_holds_the_same_numbers(data: ReportData) -> None:
    stream = io.StringIO()
    Console(file=stream, width=100, no_color=True).print(results_table(data))
    lines = [re.sub(r"[^\w.+\- ]", " ", line).split() for line in stream.getvalue().splitlines()]
    assert ["baseline", "52.1", "71.4", "49.0", "31.9", "52.1"] in lines
    assert ["distilled", "53.4", "70.1", "50.7", "35.3", "53.4"] in lines
    assert ["minus", "baseline", "+1.3", "-1.3", "+1.7", "+3.3", "+1.3"] in lines


def test_report_data_survives_its_json_file(data: ReportData, tmp_path: Path) -> None:
    without_nan = replace(data, sweep=replace(data.sweep, trials=data.sweep.trials[:3]))
    write_report_data(without_nan, tmp_path / "report.json")
    assert read_report_data(tmp_path / "report.json") == without_nan
    write_report_data(data, tmp_path / "nan.json")
    assert math.isnan(read_report_data(tmp_path / "nan.json").sweep.trials[5].objective)


def test_a_gallery_that_would_make_the_file_too_large_is_cut_with_a_note(data: ReportData, tmp_path: Path) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(bytes(3_000_000)).decode()}"
    heavy = replace(data.captions[0], image_data_uri=uri)
    path = write_html(replace(data, captions=(heavy,) * 6), tmp_path / "out" / "report.html")
    assert path.stat().st_size < MAX_BYTES
    page = path.read_text()
    assert len(_Page(page).images) == 1
    assert "shows the first 1 images" in page
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_parallel_coordinates_scale_each_axis_by_its_kind(data: ReportData) -> None:
    figure = parallel_coordinates(data.sweep)
    axes = {axis.label: axis for axis in figure.data[0].dimensions}
    assert list(axes) == ["text.depth", "text.temperature", "text.weight", "optimizer.name", "select.all"]
    assert axes["optimizer.name"].ticktext == ("adamw", "sgd")
    assert axes["text.depth"].tickvals == (0, 1, 2)
    weights = [trial.values["losses.text.weight"] for trial in data.sweep.trials if math.isfinite(trial.objective)]
    np.testing.assert_allclose(axes["text.weight"].values, np.log10(weights))
    assert axes["text.weight"].ticktext == ("0.01", "0.1", "1", "10")
    assert figure.data[0].line.cmin == 40
    assert len(figure.data[0].line.color) == 11


def test_a_sweep_with_one_trial_or_none_finished_does_not_fail(data: ReportData) -> None:
    one = replace(data.sweep, trials=data.sweep.trials[:1])
    assert parallel_coordinates(one) is not None
    assert parallel_coordinates(replace(data.sweep, trials=(data.sweep.trials[5],))) is None
    assert "n/a" in render_html(replace(data, sweep=replace(data.sweep, trials=(data.sweep.trials[5],), best="")))


def test_every_loss_part_gets_its_own_curve_with_all_epochs(data: ReportData) -> None:
    figures = learning_curves(data)
    assert set(figures) == {"loss.total", "loss.classification", "loss.text", "select.all"}
    for metric, figure in figures.items():
        assert [trace.name for trace in figure.data] == ["baseline", "distilled"]
        assert list(figure.data[0].y) == [value for _, value in data.arms[1].curves[metric]]
