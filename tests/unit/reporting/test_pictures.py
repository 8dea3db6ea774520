"""The pictures of figures: what is drawn is what the figure holds, and the file is a picture."""

import math
import warnings
from pathlib import Path

import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from orchestrator.reporting import ArmResult, ClassResult, ReportData, SweepResult, TrialRow
from orchestrator.reporting.figures import accuracy_by_frequency, group_bars, learning_curves, parallel_coordinates
from orchestrator.reporting.pictures import draw, write_pictures
from orchestrator.reporting.sections import Mistakes, WorstClass
from orchestrator.reporting.space_figures import mistakes_figure


def _arm(name: str, few: float) -> ArmResult:
    classes = (ClassResult(0, "a & b", 200, 80.0), ClassResult(1, "$x$ $y$", 10, few))
    curves = {"train/loss": ((1.0, 3.0), (2.0, math.nan), (3.0, 1.0))}
    return ArmResult(name, {"all": 50.0, "few": few}, classes, curves)


@pytest.fixture
def data() -> ReportData:
    """Two arms, of which one is told in letters that no font of matplotlib has."""
    return ReportData("demo", "2026-11-22 12:00", (_arm("baseline", 10.0), _arm("蒸留", 25.0)))


def test_bars_have_the_heights_places_and_colours_of_the_arms(data: ReportData) -> None:
    [axes] = draw("groups", group_bars(data)).axes
    bars = sorted((bar.get_x() + bar.get_width() / 2, bar.get_height(), bar.get_facecolor()) for bar in axes.patches
                  if not math.isnan(bar.get_height()))  # fmt: skip
    assert [height for _, height, _ in bars] == [50.0, 50.0, 10.0, 25.0]
    assert [round(place) for place, *_ in bars] == [0, 0, 3, 3], "over All and over Few"
    assert [colour for *_, colour in bars[:2]] == [to_rgba("#8a8f98"), to_rgba("#0072B2")]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["All", "Many", "Medium", "Few"]
    assert axes.get_ylabel() == "accuracy, %"


def test_lines_and_points_are_those_given_on_the_axes_given(data: ReportData) -> None:
    [axes] = draw("frequency", accuracy_by_frequency(data)).axes
    assert axes.get_xscale() == "log"
    points = [line.get_xydata().tolist() for line in axes.lines if line.get_linestyle() == "None"]
    assert points == [[[10.0, 10.0], [200.0, 80.0]], [[10.0, 25.0], [200.0, 80.0]]]
    assert axes.get_legend_handles_labels()[1] == ["baseline", "蒸留"]

    [axes] = draw("curve:train/loss", learning_curves(data)["train/loss"]).axes
    assert axes.get_title() == "curve: train/loss"
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([3.0, math.nan, 1.0], nan_ok=True)


def test_a_heat_map_has_its_first_row_on_top_and_its_shares(data: ReportData) -> None:
    rows = (
        WorstClass("dax", 10, correct=2, total=4, taken_for=(("wug", 2),)),
        WorstClass("wug", 20, correct=3, total=4, taken_for=(("dax", 1),)),
    )
    [axes] = draw("mistakes", mistakes_figure(Mistakes("baseline", rows))).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    cells = dict(zip(names, axes.images[0].get_array().tolist(), strict=True))
    assert cells == {"dax": [50.0, 50.0], "wug": [25.0, 75.0]}
    assert axes.images[0].origin == "lower", "so that the last row, which is the first class, is on top"
    assert names == ["wug", "dax"]


def test_parallel_coordinates_lead_each_trial_through_its_place_on_every_axis() -> None:
    rows = [TrialRow(f"000{number}", {"depth": number, "weight": 10.0**-number}, 40.0 + number) for number in range(3)]
    axes = draw("sweep", parallel_coordinates(SweepResult(tuple(rows), "select/all", "max", "0002"))).axes[0]
    lines = [line.get_ydata().tolist() for line in axes.lines if len(line.get_ydata()) == 3]
    assert lines == [pytest.approx([place, 1 - place, place]) for place in (0.0, 0.5, 1.0)]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["depth", "weight", "select/all"]


def test_each_figure_is_a_png_file_named_by_its_title_and_unknown_letters_are_no_warning(
    data: ReportData, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = write_pictures({"curve:train/loss": learning_curves(data)["train/loss"]}, tmp_path)
    [path] = folder.iterdir()
    assert path == tmp_path / "figures" / "curve-train-loss.png"
    with Image.open(path) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (700, 300))
        assert len(set(picture.convert("RGB").get_flattened_data())) > 10
