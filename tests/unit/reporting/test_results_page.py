"""What a cell counts for, and what our paired seeds say of a paper's finding."""

import math
from collections.abc import Mapping, Sequence

import pytest

from orchestrator.config.reproduction import Column, Finding, Reproduction, Row
from orchestrator.reporting.cell_record import CellRecord, Measured, measured
from orchestrator.reporting.results_page import table, verdicts

AVG = Column(heading="Avg", name="all")


def records(values: Sequence[float], epochs: int = 35, experiment: str = "now") -> list[CellRecord]:
    """One for each seed."""
    return [
        CellRecord(
            scale="small", group="g", arm="a", seed=seed, experiment=experiment, epochs=epochs, seconds=1,
            finished_utc="2026-01-02T03:04:05", hardware="", engine="", command="", version="", values={"all": value},
        )
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_a_cell_counts_with_enough_epochs_seeds_and_the_settings_of_now() -> None:
    found = measured(records([0.5, 0.51, 0.52]), AVG, "now", "small")
    assert (found.why_not, found.mean) == ("", pytest.approx(51))
    # Student's t with 2 degrees of freedom (4.3027) times the standard error of 50, 51, 52 (1 / sqrt 3)
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)
    assert "2 of at least 3 seeds" in measured(records([0.5, 0.5]), AVG, "now", "small").why_not
    assert "12 epochs" in measured(records([0.5] * 3, epochs=12), AVG, "now", "small").why_not
    assert measured(records([0.5] * 3, epochs=12), AVG, "now", "full").why_not == ""
    assert "other settings" in measured(records([0.5] * 3, experiment="then"), AVG, "now", "small").why_not
    assert "no few" in measured(records([0.5] * 3), Column(heading="Few", name="few"), "now", "small").why_not
    assert measured([], AVG, "now", "small").why_not == "nobody has run it yet"


@pytest.mark.parametrize(
    ("values", "expect", "word"),
    [
        ((3.0, 3.1, 2.9), "higher", "reappears"),
        ((3.0, 3.1, 2.9), "lower", "does not: the opposite"),
        ((-3.0, -3.1, -2.9), "lower", "reappears"),
        ((3.0, -3.0, 0.1), "higher", "not distinguishable"),
        ((3.0, 3.1), "higher", "not run"),
    ],
)
def test_a_finding_reappears_where_the_paired_interval_excludes_zero_on_its_side(
    values: Sequence[float], expect: str, word: str
) -> None:
    finding = Finding.model_validate({"says": "s", "row": "a", "than": "b", "column": "all", "expect": expect})
    rows = {"a": Row(cell="g/a", paper={"all": 62}), "b": Row(cell="g/b", small="no data")}
    reproduction = Reproduction(
        target="t:table1", title="", question="", expected="", cost={"small": ""}, columns={"all": AVG}, rows=rows,
        findings=(finding,),
    )  # fmt: skip
    base = {0: 40.0, 1: 45.0, 2: 50.0}  # seeds differ far more than the arms: only pairs can tell
    why_not = "" if len(values) > 2 else "2 of at least 3 seeds"
    ours = {seed: base[seed] + value for seed, value in enumerate(values)}
    found: Mapping[str, Measured] = {"g/a": Measured(ours, why_not), "g/b": Measured(base, "")}
    looked = reproduction.model_copy(update={"rows": {"a": rows["a"], "b": Row(cell="g/b")}})
    (verdict,) = verdicts(looked, lambda row, column: found[row.cell], "small")
    assert verdict.word == word

    (excused,) = verdicts(reproduction, lambda row, column: found[row.cell], "small")
    assert (excused.word, excused.told) == ("not run", "b: no data")
    assert "| b |  |  | no data |" in table(reproduction, lambda row, column: found[row.cell], "small")
