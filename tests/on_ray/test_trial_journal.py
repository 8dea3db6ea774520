"""What trials told survives cut-off lines and generations, and the desk finds the trial that takes its worker along."""

from pathlib import Path

from orchestrator.on_ray.trial_desk import ALONE_AFTER, FAILS_AFTER, TrialDesk
from orchestrator.on_ray.trial_journal import Journal, TrialTurn, begin_generation, read_history, read_turn


def test_a_line_that_a_crash_cut_off_was_never_told_and_an_epoch_trained_again_is_not_told_twice(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    for epoch in (1.0, 2.0):
        assert journal.add({"epoch": epoch, "seconds": epoch, "train/loss": 1 / 3 / epoch})
    with (tmp_path / "told.jsonl").open("ab") as file:
        file.write(b'{"epoch": 3.0, "sec')
    again = Journal(tmp_path)
    assert again.rows == journal.rows
    assert (again.epoch, again.seconds) == (2, 2.0)
    assert not again.add({"epoch": 2.0, "seconds": 9.0, "train/loss": 1 / 6})
    assert again.add({"epoch": 3.0, "seconds": 3.0, "train/loss": float("nan")})
    assert [row["epoch"] for row in Journal(tmp_path).rows] == [1.0, 2.0, 3.0]


def test_a_trial_that_went_on_from_another_ones_state_has_the_history_of_its_generations(tmp_path: Path) -> None:
    first = TrialTurn(4, {"a": 1})
    for epoch in range(1, 6):
        Journal(first.folder(tmp_path)).add({"epoch": epoch, "seconds": epoch})
    second = begin_generation(tmp_path, 4, {"a": 2}, "somewhere/epoch_0003.pt", 3)
    assert second == TrialTurn(4, {"a": 2}, generation=1, start="somewhere/epoch_0003.pt", epoch=3)
    assert begin_generation(tmp_path, 4, {"a": 2}, "somewhere/epoch_0003.pt", 3) == second  # told again after a crash
    for epoch in (4, 5, 6):
        Journal(second.folder(tmp_path)).add({"epoch": epoch, "seconds": 100 + epoch})
    assert read_turn(tmp_path, 4, {"a": 1}) == second
    assert read_turn(tmp_path, 4, {"a": 1}, 0) == first
    assert read_turn(tmp_path, 5, {"a": 1}) == TrialTurn(5, {"a": 1})
    assert [row["seconds"] for row in read_history(tmp_path, second)] == [1, 2, 3, 104, 105, 106]
    assert begin_generation(tmp_path, 4, {"a": 3}, "somewhere/epoch_0006.pt", 6).generation == 2


def test_trials_go_to_the_least_loaded_worker_and_a_death_counts_for_those_that_were_trained() -> None:
    desk = TrialDesk(2)
    assert [desk.place(trial) for trial in "abcd"] == [0, 1, 0, 1]
    assert desk.place("b") == 1
    desk.free("b")
    assert desk.place("e") == 1
    desk.opened(0)
    desk.opened(1)
    assert desk.news() == []
    for _ in range(ALONE_AFTER):
        desk.trains(0, ("a", "c"))
        desk.opened(0)
    assert [desk.deaths(trial) for trial in "abc"] == [ALONE_AFTER, 0, ALONE_AFTER]
    desk.trains(0, ("a",))
    desk.trains(0, ("c",))  # a has ended alone
    desk.opened(0)
    assert [desk.deaths(trial) for trial in "ac"] == [ALONE_AFTER, FAILS_AFTER]
    assert len(desk.news()) == 3
