"""The benchmarks of training run with tiny sizes, and their measuring says what is true of times that are known."""

import sys
from pathlib import Path

import pytest

from benchmarks import cached_distillation, distillation_peers, real_images, training_loop
from benchmarks.pairs import ratio_with_interval, take_turns, told, verdict

TINY = ["--seconds", "0", "--batch", "4"]


def run(module: object, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    module.main()  # type: ignore[attr-defined]


def test_the_ratio_is_the_others_time_over_ours_whatever_both_have_in_common() -> None:
    load = [1.0, 7.0, 2.0, 30.0]
    ratio, low, high = ratio_with_interval([2 * busy for busy in load], [3 * busy for busy in load])
    assert (ratio, low, high) == pytest.approx((1.5, 1.5, 1.5))


def test_a_claim_holds_where_its_interval_lies_above_it() -> None:
    assert verdict(0.97, 0.96, 0.95).startswith("holds (")
    assert "median only" in verdict(0.97, 0.94, 0.95)
    assert "DOES NOT HOLD" in verdict(0.94, 0.93, 0.95)


def test_sides_take_turns_in_alternating_order_on_the_same_numbers() -> None:
    calls: list[tuple[str, int]] = []
    sides = {name: (lambda number, name=name: calls.append((name, number))) for name in "ab"}
    times = take_turns(sides, seconds=0, warmup=1)  # type: ignore[arg-type]
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2)]
    assert len(times["a"]) == len(times["b"]) == 2
    steady = {"a": [(2.0, 1.0)] * 3, "b": [(4.0, 3.0)] * 3}
    wall, processor = told(steady, "a", "b", images=8, at_least=1.5)
    assert "a 4.0, b 2.0 images/s; a / b 2.000" in wall
    assert "a / b 3.000" in processor


def test_the_loop_and_the_hand_written_one_begin_with_one_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(training_loop, monkeypatch, *TINY)
    assert "ours / hand-written" in capsys.readouterr().out


def test_distillation_and_cross_entropy_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(cached_distillation, monkeypatch, *TINY, "--student", "test_byobnet")
    assert "distillation / cross-entropy" in capsys.readouterr().out


def test_the_peers_begin_with_our_loss(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(distillation_peers, monkeypatch, *TINY, "--student", "resnet10t", "--teacher", "resnet10t", "--images", "8")
    assert "ours / torchdistill" in capsys.readouterr().out


def test_real_images_says_that_nothing_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classes.tsv").write_text("0\tn0\tthing\t3\n1\tn1\tother thing\t3\n")
    monkeypatch.setattr(real_images, "TEACHER", "test_resnet")
    run(real_images, monkeypatch, "--data", str(tmp_path), "--storage", str(tmp_path / "runs"), "--state")
    assert "nothing has begun" in capsys.readouterr().out
    assert (tmp_path / "runs" / "real_images_start" / "model.safetensors").is_file()
