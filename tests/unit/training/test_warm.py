"""What stays open between trainings is never that of an artifact that was made again."""

import json
import shutil
from pathlib import Path

import numpy as np

from orchestrator.artifacts.manifest import MANIFEST_NAME
from orchestrator.artifacts.storage import write_json
from orchestrator.training import warm
from tests.smoke_line import SmokeLine


def test_an_artifact_stays_open_while_its_files_are_the_same_and_is_opened_again_when_made_again(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    shards, embeddings = (
        shutil.copytree(smoke_line.plans[name].folder, tmp_path / name) for name in ("shard", "embed")
    )
    split, teacher = warm.split(shards, "train", None), warm.teacher(embeddings, ("truth",))
    assert warm.split(shards, "train", None) is split
    assert warm.teacher(embeddings, ("truth",)) is teacher
    assert warm.teacher(embeddings, ("targeted",)) is not teacher
    opened = warm.embeddings(embeddings)
    assert opened.open("texts") is warm.embeddings(embeddings).open("texts")

    before = np.array(split.pixels)
    staged = shards / "train.new.npy"
    np.save(staged, 255 - before)
    staged.rename(shards / "train.npy")
    assert np.array_equal(warm.split(shards, "train", None).pixels, 255 - before)
    assert np.array_equal(split.pixels, before)  # who has it open keeps it

    manifest = json.loads((embeddings / MANIFEST_NAME).read_text())
    write_json(embeddings / MANIFEST_NAME, {**manifest, "fingerprint": "of another making"})
    assert warm.teacher(embeddings, ("truth",)) is not teacher

    (shards / MANIFEST_NAME).unlink()
    assert warm.split(shards, "train", None) is not warm.split(shards, "train", None)


def test_the_least_recently_used_are_let_go(smoke_line: SmokeLine, tmp_path: Path) -> None:
    folders = [
        shutil.copytree(smoke_line.plans["shard"].folder, tmp_path / str(number), copy_function=shutil.copy2)
        for number in range(warm.MOST_OPEN + 1)
    ]
    first, second = (warm.split(folder, "select", None) for folder in folders[:2])
    for folder in folders[2:]:
        assert warm.split(folders[0], "select", None) is first
        warm.split(folder, "select", None)
    assert warm.split(folders[1], "select", None) is not second
