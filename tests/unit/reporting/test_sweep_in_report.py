"""The sweep in a report, where the truth is known: one setting decides, and the Pareto front is found by hand."""

import json
import re
from dataclasses import replace

import pytest

from orchestrator.reporting import ReportData, render_html
from orchestrator.reporting.html import titled_figures
from orchestrator.search.answers import answers
from orchestrator.search.space import SearchSpace
from orchestrator.search.trial import TrialResult
from orchestrator.stages.sweep_answers import swept

WEIGHT, DEPTH = "losses.text.weight", "adaptor.depth"
ACCURACY = {0.1: 0.1, 0.3: 0.3, 1.0: 0.5, 3.0: 0.4, 10.0: 0.2}  # by the weight, whatever the depth
SIZE = {0.1: 1.0, 0.3: 2.5, 1.0: 4.0, 3.0: 6.0, 10.0: 8.0}  # and one more for each layer
OBJECTIVES = {"select/all": "max", "cost/model_size_mb": "min"}
SPACE = SearchSpace.model_validate({
    "name": "known", "question": "?", "expected": "!", "cost": "none", "objectives": OBJECTIVES,
    "parameters": {WEIGHT: {"kind": "loguniform", "low": 0.1, "high": 10},
                   DEPTH: {"kind": "choice", "values": [0, 1, 2]}},
    "budget": {"num_trials": 15}, "scheduler": {"kind": "none"},
})  # fmt: skip
GRID = [(weight, depth) for weight in ACCURACY for depth in (0, 1, 2)]
# No layer is the cheapest way to any accuracy; weights of 3 and 10 cost more than 1 does and reach less.
FRONT = [GRID.index((weight, 0)) for weight in (0.1, 0.3, 1.0)]


@pytest.fixture(scope="module")
def data() -> ReportData:
    """A report of fifteen trials, each pair of settings once."""
    trials = [
        TrialResult(
            number, {WEIGHT: weight, DEPTH: depth}, epochs=3, status="finished",
            metrics={"select/all": ACCURACY[weight], "cost/model_size_mb": SIZE[weight] + depth},
        )
        for number, (weight, depth) in enumerate(GRID)
    ]  # fmt: skip
    found = answers(trials, SPACE)
    return ReportData("known", "", (), sweep=replace(swept(trials, found.best, SPACE.objectives), answers=found))


def test_the_front_is_the_one_by_hand_and_the_other_trials_stand_beside_it(data: ReportData) -> None:
    others, front = titled_figures(data)["front"].data
    assert list(zip(front.x, front.y, strict=True)) == [(0.1, 1.0), (0.3, 2.5), (0.5, 4.0)]
    assert len(others.x) == 12
    assert [re.match(r"trial (\d+)", text)[1] for text in front.text] == [str(number) for number in FRONT]
    assert data.sweep.answers.front == tuple(FRONT)


def test_the_setting_that_alone_decides_has_the_whole_bar(data: ReportData) -> None:
    figures = titled_figures(data)
    [bars] = figures["importance:select/all"].data
    shares = dict(zip(bars.y, bars.x, strict=True))
    assert shares[WEIGHT] > 95
    assert shares[DEPTH] < 5
    assert sum(shares.values()) == pytest.approx(100)
    [bars] = figures["importance:cost/model_size_mb"].data
    shares = dict(zip(bars.y, bars.x, strict=True))
    assert shares[WEIGHT] > shares[DEPTH] > 5, "layers make a tenth of the variance of the size"


def test_the_page_has_both_figures_and_the_shares_as_a_table(data: ReportData) -> None:
    page = render_html(data)
    drawn = dict(re.findall(r'<script type="application/json" data-for="([^"]+)">(.*?)</script>', page, re.DOTALL))
    [_, front] = json.loads(drawn["front"])["data"]
    assert (front["name"], front["x"]) == ("Pareto front", [0.1, 0.3, 0.5])
    table = page.partition("<caption>select/all</caption>")[2].partition("</table>")[0]
    rows = [[re.sub("<[^>]+>", "", cell) for cell in re.findall("<td>(.*?)</td>", row)] for row in table.split("<tr>")]
    rows = [row for row in rows if row]
    assert [row[0] for row in rows] == [WEIGHT, DEPTH]
    assert int(rows[0][1]) + int(rows[1][1]) == 100
    assert [row[-1] for row in rows] == ["15", "15"]
