"""Manifests: no manifest, not finished; the same settings, reused; other settings, named."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts.manifest import (
    MANIFEST_NAME,
    Status,
    artifact_fingerprint,
    discard,
    read_manifest,
    refuse_changed,
    status_of,
    verify_files,
    write_manifest,
)
from orchestrator.errors import ArtifactError

SETTINGS: dict[str, Any] = {"training": {"epochs": 3, "optimizer": {"learning_rate": 0.1}}}
PARENTS = {"shard": "a" * 32}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished artifact of two files."""
    (tmp_path / "student.bin").write_bytes(b"weights")
    (tmp_path / "result.json").write_text("{}")
    write_manifest(
        tmp_path, stage="train", settings=SETTINGS, parents=PARENTS, counts={"epochs": 3}, seconds=1.23456,
        metrics={"all": 0.5},
    )  # fmt: skip
    return tmp_path


def test_a_finished_artifact_is_reused_for_the_same_settings_and_parents_only(folder: Path) -> None:
    assert status_of(folder, artifact_fingerprint("train", SETTINGS, PARENTS)) is Status.REUSE
    others = [
        artifact_fingerprint("evaluate", SETTINGS, PARENTS),
        artifact_fingerprint("train", {"training": {"epochs": 4}}, PARENTS),
        artifact_fingerprint("train", SETTINGS, {"shard": "b" * 32}),
    ]
    assert [status_of(folder, other) for other in others] == [Status.CHANGED] * 3


def test_without_its_manifest_an_artifact_is_not_finished(folder: Path) -> None:
    (folder / MANIFEST_NAME).unlink()
    assert status_of(folder, artifact_fingerprint("train", SETTINGS, PARENTS)) is Status.MISSING
    assert verify_files(folder) == [f"{folder}: no manifest, so it was never finished"]


def test_the_manifest_says_what_it_was_made_of_and_what_it_holds(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest.stage, manifest.settings, manifest.parents) == ("train", SETTINGS, PARENTS)
    assert (manifest.counts, manifest.metrics, manifest.seconds) == ({"epochs": 3}, {"all": 0.5}, 1.235)
    assert sorted(manifest.files) == ["result.json", "student.bin"]
    assert manifest.version.count(".") == 2


def test_what_another_command_is_writing_is_none_of_it(folder: Path) -> None:
    for name in (".result.json.0123.tmp", ".plan-0123-1-cafe.arrow"):
        (folder / name).write_text("half")
    found = write_manifest(folder, stage="train", settings=SETTINGS, parents=PARENTS, counts={}, seconds=1.0)
    assert sorted(found.files) == ["result.json", "student.bin"]
    for name in (".result.json.0123.tmp", ".plan-0123-1-cafe.arrow"):
        (folder / name).unlink()
    assert verify_files(folder) == []


def test_a_refusal_names_each_field_and_both_ways_out(folder: Path) -> None:
    new = {"training": {"epochs": 5, "optimizer": {"learning_rate": 0.2}}}
    with pytest.raises(ArtifactError) as error:
        refuse_changed(folder, "train", SETTINGS, new, "a finished")
    told = str(error.value)
    assert "training.epochs: 3 -> 5" in told
    assert "training.optimizer.learning_rate: 0.1 -> 0.2" in told
    assert "--rebuild train" in told
    assert "another name" in told
    assert len(told.splitlines()) <= 3


def test_a_missing_and_a_changed_file_are_found(folder: Path) -> None:
    assert verify_files(folder) == []
    (folder / "student.bin").write_bytes(b"weighty")
    (folder / "result.json").unlink()
    assert verify_files(folder) == [
        f"{folder / 'result.json'}: missing",
        f"{folder / 'student.bin'}: checksum differs from the manifest",
    ]


def test_a_discarded_artifact_is_gone_and_discarding_twice_is_fine(folder: Path) -> None:
    discard(folder)
    discard(folder)
    assert not folder.exists()
