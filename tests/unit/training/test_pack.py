"""Trainings that share a process and a stream of batches end as each of them does alone."""

import itertools
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.execution import TrialSettings
from orchestrator.errors import ConfigError, Stopped
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.training.checkpoint import read_state
from orchestrator.training.notice import Wish
from orchestrator.training.pack import Pack, Told, packs_of
from orchestrator.training.run import TrainingJob
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import SmokeLine
from tests.unit.training.test_resume import assert_same, outcome, run

MEMBERS: dict[str, dict[str, Any]] = {
    "weights": {"losses.text.weight": 0.3, "training.optimizer.learning_rate": 1e-3, "adaptor.depth": 2},
    "drop-path": {
        "student": {"kind": "timm", "name": "test_vit", "image_size": 32, "drop_path": 0.5},
        "training.init_seed": 3, "training.ema": {"decay": 0.9}, "losses.image": None,
    },
    "queue": {"losses.views": {"kind": "paco", "queue_size": 64, "head_dim": 8}, "text_sources": ["truth"]},
}  # fmt: skip
ALL: dict[str, Any] = {
    "training.epochs": 3, "training.more_views": [{"recipe": "sim"}], "training.accumulation_steps": 2
}  # fmt: skip

CHILD = """
import sys
from orchestrator.training.pack import train_together
from orchestrator.training.run import TrainingJob

for told in train_together([TrainingJob.model_validate_json(line) for line in sys.stdin]):
    print(told.progress.epoch, flush=True)
"""


def jobs(line: SmokeLine, folder: Path) -> list[TrainingJob]:
    return [line.job(folder / name, {**ALL, **overrides}) for name, overrides in MEMBERS.items()]


def run_all(pack: Pack) -> list[Told]:
    told: list[Told] = []
    while pack.run_keys:
        told += pack.step_epoch()
    return told


def test_packed_trainings_end_in_the_same_bits_as_alone(smoke_line: SmokeLine, tmp_path: Path) -> None:
    alone, packed = jobs(smoke_line, tmp_path / "alone"), jobs(smoke_line, tmp_path / "packed")
    with Pack() as pack:
        for job in packed:
            pack.join(job)
        told = run_all(pack)
    assert [one.progress.epoch for one in told if one.progress] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [one.finished for one in told] == [False] * 6 + [True] * 3
    for job in alone:
        run(job)
    for one, other in zip(alone, packed, strict=True):
        assert_same(one, other)


def test_one_that_fails_and_one_that_is_stopped_leave_the_others_as_they_were(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    stays, late, stopped = (smoke_line.job(tmp_path / name) for name in ("stays", "late", "stopped"))
    diverges = smoke_line.job(tmp_path / "diverges", {"training.optimizer.learning_rate": 1e30})
    refused = smoke_line.job(tmp_path / "refused", {"training.sampler": {"kind": "few_shot"}})
    alone = smoke_line.job(tmp_path / "alone")
    run(alone)
    with Pack() as pack:
        for job in (stays, stopped):
            pack.join(job)
        with pytest.raises(ConfigError, match="few_shot"):
            pack.join(refused)
        assert [one.progress and one.progress.epoch for one in pack.step_epoch()] == [1, 1]
        pack.join(diverges)
        (failed,) = pack.step_epoch()  # within an epoch that nobody else is in
        assert (failed.run_key, failed.progress) == (diverges.run_key, None)
        assert "the loss is nan at step" in failed.error
        pack.leave(stopped.run_key)
        pack.join(late)
        caught_up = pack.step_epoch()
        assert [(one.run_key, one.progress and one.progress.epoch) for one in caught_up] == [(late.run_key, 1)]
        told = run_all(pack)
        assert [one.run_key for one in told] == [stays.run_key, late.run_key] * 2
        pack.join(stopped)
        assert [one.progress and one.progress.epoch for one in run_all(pack)] == [2, 3]
        pack.join(stays)  # it had ended: its last epoch is told again
        assert [(one.progress and one.progress.epoch, one.finished) for one in pack.step_epoch()] == [(3, True)]
    for job in (stays, late, stopped):
        assert_same(alone, job)


def test_a_training_begins_with_the_checkpoint_of_another_and_its_own_settings_hold(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    better, worse, alone = (smoke_line.job(tmp_path / name) for name in ("better", "worse", "alone"))
    changed = smoke_line.job(tmp_path / "worse", {"training.optimizer.learning_rate": 1e-3, "losses.text.weight": 2.0})
    run(alone)
    with Pack() as pack:
        pack.join(better)
        pack.join(worse)
        pack.step_epoch()
        start = pack.keep(better.run_key)
        pack.leave(worse.run_key)
        pack.join(changed, start)
        told = pack.step_epoch()
        assert [(one.run_key, one.progress and one.progress.epoch) for one in told] == [
            (better.run_key, 2), (changed.run_key, 2),
        ]  # fmt: skip
        state = read_state(pack.keep(changed.run_key))
        assert 0 < state["optimizer"]["param_groups"][0]["lr"] < 1e-3
        assert [row["epoch"] for row in state["history"]] == [1, 2]
        start.unlink()
        pack.leave(changed.run_key)
        pack.join(changed, start)  # its own checkpoints go on
        run_all(pack)
    assert_same(alone, better)
    assert outcome(changed)[0] != outcome(alone)[0]


def test_a_pack_that_is_told_to_stop_goes_on_in_the_same_bits(smoke_line: SmokeLine, tmp_path: Path) -> None:
    alone, packed = jobs(smoke_line, tmp_path / "alone"), jobs(smoke_line, tmp_path / "packed")
    asked = itertools.count()
    with Pack(lambda: Wish.STOP if next(asked) == 5 else Wish.GO_ON) as pack:
        for job in packed:
            pack.join(job)
        with pytest.raises(Stopped):
            run_all(pack)
    with Pack() as pack:
        for job in packed:
            pack.join(job)
        run_all(pack)
    for one, other in zip(alone, packed, strict=True):
        run(one)
        assert_same(one, other)


def test_a_killed_pack_goes_on_in_the_same_bits(smoke_line: SmokeLine, tmp_path: Path, project: Path) -> None:
    alone, packed = (
        [smoke_line.job(tmp_path / name / str(seed), {"training.init_seed": seed}) for seed in (0, 1)] for name in "ap"
    )
    told = "\n".join(job.model_dump_json() for job in packed)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(told)
        child.stdin.close()
        assert child.stdout.readline() == "1\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    with Pack() as pack:
        for job in packed:
            pack.join(job)
        run_all(pack)
    for one, other in zip(alone, packed, strict=True):
        run(one)
        assert_same(one, other)


def test_students_on_cached_rows_train_alone_and_together_without_any_pixels(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    match = {"losses": {"match": {"kind": "similarity_matching"}}, "training.more_views": [{"kind": "shift"}]}
    designs = [{**match, "student": {"kind": kind}} for kind in ("projection", "bottleneck", "attention", "cbam")]
    alone, packed = (
        [smoke_line.job(tmp_path / folder / design["student"]["kind"], design) for design in designs]
        for folder in ("alone", "packed")
    )
    bare = tmp_path / "shards"
    shutil.copytree(alone[0].shards, bare, ignore=shutil.ignore_patterns("*.npy", "*.arrow"))
    packed = [job.model_copy(update={"shards": str(bare)}) for job in packed]
    run(packed[0].model_copy(update={"folder": str(tmp_path / "one"), "run_key": "one"}))
    with Pack() as pack:
        for job in packed:
            pack.join(job)
        assert all(one.error == "" for one in run_all(pack))
    for one, other in zip(alone, packed, strict=True):
        run(one)
        assert_same(one, other)
    assert outcome(packed[0])[0] == (tmp_path / "one" / STUDENT).read_bytes()


def test_many_are_trained_in_packs_of_those_that_draw_the_same_images(smoke_line: SmokeLine, tmp_path: Path) -> None:
    arms: list[dict[str, Any]] = [{"losses.text": None, "losses.image": None}, {}, {"text_sources": ["truth"]}]
    told = [{**arm, "training.data_seed": seed, "training.epochs": 2} for seed in (0, 1) for arm in arms]
    told[4]["training.optimizer.learning_rate"] = 1e30
    alone, packed = ([smoke_line.job(tmp_path / name / str(at), one) for at, one in enumerate(told)] for name in "ap")
    packed = [job.model_copy(update={"run_key": str(at)}) for at, job in enumerate(packed)]
    assert packs_of(packed, 1) == [[0], [1], [2], [3], [4], [5]]
    assert packs_of(packed, 2) == [[0], [1, 2], [3], [4, 5]]
    assert packs_of(packed, 4) == [[0, 1, 2], [3, 4, 5]]
    done: dict[int, str] = {}
    epochs: list[tuple[int, Any]] = []
    InProcessExecutor().train_many(
        packed, TrialSettings(trials_per_worker=4), lambda at, now: epochs.append((at, now.get("epoch"))),
        done.__setitem__,
    )  # fmt: skip
    assert [at for at, text in done.items() if text] == [4]
    assert epochs[:6] == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
    for at in (0, 1, 2, 3, 5):
        run(alone[at])
        assert_same(alone[at], packed[at])
