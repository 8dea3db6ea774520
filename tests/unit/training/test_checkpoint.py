"""Checkpoints: the newest sound one is found, a damaged one passed over, another run's refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.errors import ArtifactError
from orchestrator.training.checkpoint import KEEP, Checkpoints


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((3,), float(step)), "history": [{"epoch": 1.0}]}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Four saves."""
    made = Checkpoints(tmp_path / "checkpoints", "identity")
    for step in (3, 6, 9, 12):
        made.save(step, state(step))
    return made


def step_of(found: dict[str, Any] | None) -> int:
    assert found is not None
    assert found["weights"].tolist() == [float(found["step"])] * 3
    return int(found["step"])


def test_the_newest_comes_back_and_only_a_few_are_kept(checkpoints: Checkpoints) -> None:
    assert step_of(checkpoints.latest()) == 12
    names = sorted(path.name for path in checkpoints.folder.iterdir())
    assert len(names) == 2 * KEEP
    assert names == ["step-000000009.json", "step-000000009.pt", "step-000000012.json", "step-000000012.pt"]


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "without header"])
def test_a_damaged_newest_one_is_passed_over(checkpoints: Checkpoints, damage: str) -> None:
    path = checkpoints.folder / "step-000000012.pt"
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


def test_when_every_one_is_damaged_training_starts_anew(checkpoints: Checkpoints) -> None:
    for path in checkpoints.folder.glob("*.pt"):
        path.write_bytes(b"")
    assert checkpoints.latest() is None


def test_without_a_folder_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "checkpoints", "identity").latest() is None


def test_checkpoints_of_another_identity_are_refused_with_the_way_out(checkpoints: Checkpoints) -> None:
    with pytest.raises(ArtifactError, match="other settings") as error:
        Checkpoints(checkpoints.folder, "another").latest()
    assert "--rebuild train" in str(error.value)


def test_a_half_written_file_of_a_killed_process_is_removed(checkpoints: Checkpoints) -> None:
    leftover = checkpoints.folder / ".step-000000015.pt.0123.tmp"
    leftover.write_bytes(b"half")
    assert step_of(checkpoints.latest()) == 12
    assert not leftover.exists()
