"""Checkpoints: the newest sound one is found, a damaged one passed over, another run's refused, the best one kept."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.artifacts.fingerprint import digest_bytes
from orchestrator.artifacts.folder import Folder
from orchestrator.errors import ArtifactError
from orchestrator.training.checkpoint import BEST, LATEST, Checkpoints
from orchestrator.training.checkpoint_settings import CheckpointSettings

CONTENT = {"settings": {"training": {"epochs": 5, "optimizer": {"learning_rate": 0.1}}}, "parents": {"shard": "a"}}
LONGER = {"settings": {"training": {"epochs": 9, "optimizer": {"learning_rate": 0.1}}}, "parents": {"shard": "a"}}
SAVES_FOR_EVER = """
import sys
import torch
from orchestrator.training.checkpoint import Checkpoints

checkpoints = Checkpoints(sys.argv[1], {"a": 1})
checkpoints.claim()
for step in range(1, 100000):
    state = {"step": step, "weights": torch.full((1 << 20,), float(step))}
    checkpoints.save(step, state, {"select/all": float(step % 5)})
    print(step, flush=True)
"""


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((3,), float(step)), "history": [{"epoch": 1.0}]}


def saved(folder: Path | str, steps: dict[int, float | None], **settings: Any) -> Checkpoints:
    """Saves with these scores, all of them finished."""
    with Checkpoints(folder, CONTENT, settings=CheckpointSettings(**settings)) as made:
        made.claim()
        for step, score in steps.items():
            made.save(step, state(step), None if score is None else {"select/all": score})
    return Checkpoints(folder, CONTENT, settings=CheckpointSettings(**settings))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Four saves without a score."""
    return saved(tmp_path / "checkpoints", dict.fromkeys((3, 6, 9, 12)))


def step_of(found: dict[str, Any] | None) -> int:
    assert found is not None
    assert found["weights"].tolist() == [float(found["step"])] * 3
    return int(found["step"])


def steps_in(checkpoints: Checkpoints) -> list[int]:
    names = checkpoints.folder.names()
    states = [int(name[5:14]) for name in names if name.endswith(".pt")]
    assert states == [int(name[5:14]) for name in names if name.startswith("step-") and name.endswith(".json")]
    return states


def pointer(checkpoints: Checkpoints, name: str) -> Any:
    return json.loads(checkpoints.folder.read(name))


def test_the_newest_comes_back_and_only_a_few_are_kept(checkpoints: Checkpoints) -> None:
    assert step_of(checkpoints.latest()) == 12
    assert steps_in(checkpoints) == [9, 12]
    assert pointer(checkpoints, LATEST) == {"checkpoint": "step-000000012", "step": 12}


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "without header"])
def test_a_damaged_newest_one_is_passed_over(checkpoints: Checkpoints, damage: str) -> None:
    assert checkpoints.folder.local is not None
    path = checkpoints.folder.local / "step-000000012.pt"
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "missing":
        path.unlink()
    else:
        path.with_suffix(".json").unlink()
    assert step_of(checkpoints.latest()) == 9
    with pytest.raises(ArtifactError, match="no sound checkpoint of step 12"):
        checkpoints.at(12)


def test_when_every_one_is_damaged_training_starts_anew(checkpoints: Checkpoints) -> None:
    assert checkpoints.folder.local is not None
    for path in checkpoints.folder.local.glob("*.pt"):
        path.write_bytes(b"")
    assert checkpoints.latest() is None


def test_without_a_folder_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "checkpoints", CONTENT).latest() is None


@pytest.mark.parametrize(
    ("mode", "scores", "best", "kept"),
    [
        ("max", {1: 0.5, 2: 0.9, 3: 0.9, 4: 0.1, 5: None, 6: 0.3}, 2, [2, 5, 6]),
        ("min", {1: 0.5, 2: 0.9, 3: 0.1, 4: 0.1, 5: 0.2, 6: float("nan")}, 3, [3, 5, 6]),
    ],
)
def test_the_best_is_kept_whatever_its_age_and_of_equal_ones_the_first(
    tmp_path: Path, mode: str, scores: dict[int, float | None], best: int, kept: list[int]
) -> None:
    made = saved(tmp_path, scores, best_mode=mode)
    assert steps_in(made) == kept
    assert pointer(made, BEST)["checkpoint"] == f"step-{best:09d}"
    assert step_of(made.best()) == best
    assert step_of(made.latest()) == 6


def test_several_best_ones_are_kept_and_with_none_the_pointers_still_hold(tmp_path: Path) -> None:
    scores: dict[int, float | None] = {1: 0.7, 2: 0.9, 3: 0.8, 4: 0.1, 5: 0.2, 6: 0.3}
    assert steps_in(saved(tmp_path / "three", scores, keep=1, keep_best=3)) == [1, 2, 3, 6]
    none = saved(tmp_path / "none", scores, keep=1, keep_best=0)
    assert steps_in(none) == [2, 6]
    assert step_of(none.best()) == 2


def test_another_run_is_refused_with_its_fields_both_values_and_the_ways_out(tmp_path: Path) -> None:
    saved(tmp_path, {3: None})
    other = {**CONTENT, "settings": {"training": {"epochs": 5, "optimizer": {"learning_rate": 0.2}}}}
    with pytest.raises(ArtifactError) as error:
        Checkpoints(tmp_path, other).claim()
    assert "settings.training.optimizer.learning_rate: 0.1 -> 0.2" in str(error.value)
    for way in ("another name", "--rebuild train", "extended_from"):
        assert way in str(error.value)
    assert Checkpoints(tmp_path, other).latest() is None
    assert step_of(Checkpoints(tmp_path, CONTENT).latest()) == 3


def test_a_run_goes_on_from_an_earlier_one_that_it_names_and_the_folder_is_then_its_own(tmp_path: Path) -> None:
    saved(tmp_path, {3: None})
    with pytest.raises(ArtifactError, match=r"epochs: 5 -> 9"):
        Checkpoints(tmp_path, LONGER).claim()
    with Checkpoints(tmp_path, LONGER, earlier=[CONTENT]) as longer:
        longer.claim()
        assert step_of(longer.latest()) == 3
        longer.save(8, state(8))
    assert step_of(longer.latest()) == 8
    with pytest.raises(ArtifactError, match=r"epochs: 9 -> 5"):
        Checkpoints(tmp_path, CONTENT).claim()


def test_a_half_written_file_of_a_killed_process_is_removed(checkpoints: Checkpoints) -> None:
    assert checkpoints.folder.local is not None
    leftover = checkpoints.folder.local / ".step-000000015.pt.0123.tmp"
    leftover.write_bytes(b"half")
    assert step_of(checkpoints.latest()) == 12
    assert not leftover.exists()


def test_the_state_may_change_as_soon_as_a_save_returns(tmp_path: Path) -> None:
    changing = state(1)
    with Checkpoints(tmp_path, CONTENT) as made:
        made.save(1, changing)
        changing["weights"].fill_(7.0)
    assert step_of(made.latest()) == 1


def test_a_save_that_cannot_be_written_is_told_by_the_next_one_and_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    made = Checkpoints(tmp_path / "file" / "checkpoints", CONTENT)
    made.save(1, state(1))
    with pytest.raises(OSError, match="file"):
        made.save(2, state(2))
    with pytest.raises(OSError, match="file"), made:
        made.save(3, state(3))


def test_a_process_killed_while_it_saves_leaves_sound_checkpoints_and_pointers(tmp_path: Path, project: Path) -> None:
    for number, kill_after in enumerate((1, 3, 8)):
        folder = tmp_path / str(number)
        command = [sys.executable, "-c", SAVES_FOR_EVER, str(folder)]
        with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:  # the save of this step is on its way to the folder
                if int(line) == kill_after:
                    os.kill(child.pid, signal.SIGKILL)
                    break
        found = Checkpoints(folder, {"a": 1})
        found.claim()
        latest = found.latest()
        if kill_after > 1:
            assert latest is not None
        if latest is not None:
            assert latest["step"] >= kill_after - 1
            assert torch.equal(latest["weights"], torch.full((1 << 20,), float(latest["step"])))
            assert found.at(pointer(found, LATEST)["step"])["step"] <= latest["step"]
        if kill_after == 8:
            best = found.best()
            assert best is not None
            assert best["step"] == 4


def test_an_object_store_keeps_and_finds_them_like_a_disk(s3_uri: str) -> None:
    made = saved(s3_uri, {1: 0.2, 2: 0.9, 3: 0.1, 4: 0.3, 5: 0.4})
    assert steps_in(made) == [2, 4, 5]
    assert step_of(made.latest()) == 5
    assert step_of(made.best()) == 2
    Folder(s3_uri).write("step-000000005.pt", b"damaged")
    assert step_of(made.latest()) == 4
    with pytest.raises(ArtifactError, match="epochs: 5 -> 9"):
        Checkpoints(s3_uri, LONGER).claim()


class _RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def test_a_pickle_that_would_run_code_is_refused_as_a_checkpoint(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = checkpoints.folder.local
    assert folder is not None
    torch.save({"step": 12, "weights": _RunsCode()}, folder / "step-000000012.pt")
    header = folder / "step-000000012.json"
    told = json.loads(header.read_text())
    told["checksum"] = digest_bytes((folder / "step-000000012.pt").read_bytes())
    header.write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="would run code"):
        checkpoints.latest()
    assert not (tmp_path / "pwned").exists()
