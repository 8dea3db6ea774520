"""The sweep's files: what is written is there again after any end of the process, and nothing else is."""

import json
from pathlib import Path

import pytest

from orchestrator.artifacts.manifest import write_manifest
from orchestrator.artifacts.storage import write_json
from orchestrator.config.execution import PriceSettings
from orchestrator.errors import ArtifactError
from orchestrator.search.budget import Budget, cost_usd
from orchestrator.search.sweep_folder import SweepFolder
from orchestrator.search.warm_start import read_warm_start
from tests.unit.search.spaces import ended, space

VALUES = {"a.b": 0.1, "c": None, "d": ["x", "y"], "e": True, "f": {"kind": "tiny"}}


def test_what_was_proposed_and_what_ended_is_read_back_as_it_was(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    folder.suggest(1, VALUES)
    folder.suggest(0, {"a.b": 1.5})
    result = ended(0, {"a.b": 1.5}, 0.25, history=({"epoch": 1.0, "select/all": 0.25},), seconds=3.5, gpu_seconds=7.0)
    folder.end(result)
    (tmp_path / "ended" / ".0001.json.abc.tmp").write_text('{"numb')  # a write that was cut off
    again = SweepFolder(tmp_path)
    assert list(again.suggested().items()) == [(0, {"a.b": 1.5}), (1, VALUES)]
    assert again.ended() == {0: result}
    assert again.waiting() == {1: VALUES}
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_sweeps_clock_goes_on_where_it_was_and_leaves_out_the_pause(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert folder.elapsed_s < 60
    write_json(tmp_path / "clock.json", {"at_s": 7200.0})
    again = SweepFolder(tmp_path)
    assert 7200 <= again.elapsed_s < 7260
    again.suggest(0, {})
    assert json.loads((tmp_path / "proposed" / "0000.json").read_text())["at_s"] >= 7200


def test_failed_trials_are_tried_again_only_where_none_ended_well(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for number in (0, 1):
        folder.suggest(number, {"x": number})
    folder.end(ended(0, {"x": 0}, 0, status="failed", error="no disk"))
    folder.forget_if_all_failed()
    assert SweepFolder(tmp_path).waiting() == {0: {"x": 0}, 1: {"x": 1}}
    folder.end(ended(0, {"x": 0}, 0.5))
    folder.end(ended(1, {"x": 1}, 0, status="failed", error="NaN"))
    folder.forget_if_all_failed()
    assert SweepFolder(tmp_path).waiting() == {}


def test_each_limit_of_a_budget_ends_the_proposals_and_is_named() -> None:
    trials = [ended(n, {}, 0, epochs=5, cpu_seconds=7200.0, gpu_seconds=1800.0) for n in range(4)]
    prices = PriceSettings(gpu_hour_usd=3, cpu_hour_usd=0.5)
    assert cost_usd(trials, prices) == pytest.approx(4 * (2 * 0.5 + 0.5 * 3))

    def told(**limits: float) -> str:
        return Budget(**limits).reached(trials, proposed=4, elapsed_s=7000, prices=prices)  # type: ignore[arg-type]

    assert told(num_trials=5, epochs=21, hours=2, gpu_hours=2.1, cost_usd=10.5) == ""
    assert told(num_trials=4) == "the budget of 4 trials is used up"
    assert told(epochs=20) == "the budget of 20 epochs is used up"
    assert told(hours=1.9) == "the budget of 1.9 hours is used up"
    assert told(gpu_hours=2) == "the budget of 2 GPU-hours is used up"
    assert told(cost_usd=10) == "the budget of 10 USD is used up"
    assert "no prices" in Budget(cost_usd=10).unpriced(PriceSettings())
    assert Budget(cost_usd=10).unpriced(prices) == ""


def test_warm_start_takes_what_fits_of_finished_sweeps_and_counts_the_rest(tmp_path: Path) -> None:
    folder, weight = SweepFolder(tmp_path / "old"), "losses.text.weight"
    for number, value in enumerate([1.0, 99.0, 2.0, 3.0]):
        folder.suggest(number, {weight: value})
        folder.end(ended(number, {weight: value}, value, status="failed" if value == 2.0 else "finished"))
    new = space(warm_start=[str(tmp_path / "old")])
    with pytest.raises(ArtifactError, match="holds no finished sweep"):
        read_warm_start(new)
    write_manifest(tmp_path / "old", stage="sweep", settings={}, parents={}, counts={}, seconds=1, metrics={})
    found = read_warm_start(new)
    assert ([result.values[weight] for result in found.trials], found.skipped) == ([1.0, 3.0], 2)
    assert len(found.fingerprints[str(tmp_path / "old")]) > 8
    with pytest.raises(ArtifactError, match="none of the 4 trials"):
        read_warm_start(space(warm_start=[str(tmp_path / "old")], objectives={"select/few": "max"}))
