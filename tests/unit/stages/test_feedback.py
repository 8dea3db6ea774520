"""What the user sees: one line per event, whatever brackets an error text holds."""

import pytest

from orchestrator.stages.feedback import Feedback, short_metrics


def test_an_event_is_one_line_and_brackets_in_its_text_are_only_text(capsys: pytest.CaptureFixture[str]) -> None:
    Feedback().event("sweep", "trial 3 failed: shapes [16, 8] and [/bold] differ [red]")
    assert capsys.readouterr().out == "sweep     trial 3 failed: shapes [16, 8] and [/bold] differ [red]\n"


def test_quiet_prints_no_event_and_its_bar_takes_every_advance(capsys: pytest.CaptureFixture[str]) -> None:
    feedback = Feedback(quiet=True)
    feedback.event("sweep", "anything")
    with feedback.bar("train", 3, "epochs") as advance:
        advance(1, "note")
        advance(3)
    assert capsys.readouterr().out == ""


def test_a_progress_line_shows_loss_and_accuracies_that_are_there() -> None:
    assert short_metrics({"train/loss": 1.23456, "select/all": 0.5, "speed/images_per_s": 9}) == "loss 1.23 all 0.5"
