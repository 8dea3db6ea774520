"""Images that are decoded when they are read: the same bits as kept pixels, and a file that changed is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.config.load import with_overrides
from orchestrator.errors import DataError
from orchestrator.stages import line
from orchestrator.training.data import load_split
from orchestrator.training.encoded_pixels import EncodedPixels
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.run import train
from orchestrator.training.student_file import STUDENT
from orchestrator.vocabulary import SPLITS
from tests.smoke_line import SMOKE, SmokeLine, load_experiment, quiet_context
from tests.tiny_datasets import MAKERS

NO_TEACHER: dict[str, Any] = {
    "captioner": {"kind": "constant", "text": "an image"},
    "texts": {"truth": {"kind": "caption", "prompt": "general"}},
    "losses.image": None, "image_teacher": None, "text_sources": ["truth"],
    "image_size": 16, "student": {"kind": "tiny"},
    "training.batch_size": 4, "training.epochs": 2,
}  # fmt: skip


def line_of(root: Path, dataset: dict[str, Any], images: str) -> SmokeLine:
    """A tiny data set up to its shards, with an execution of this input."""
    experiment = with_overrides(load_experiment(SMOKE), {**NO_TEACHER, "dataset": dataset}, "test")
    context = quiet_context(experiment, root)
    loading = InputSettings.model_validate({"images": images})
    context.execution = context.execution.model_copy(update={"input": loading})
    return SmokeLine(context, line.run(context, "shard"))


@pytest.mark.parametrize("kind", ["image_folder", "parquet", "webdataset"])
def test_decoded_frames_are_the_kept_pixels_and_no_copy_is_made(kind: str, tmp_path: Path) -> None:
    dataset = MAKERS[kind](tmp_path / "data")
    encoded = line_of(tmp_path / "runs", dataset, "encoded")
    shards = encoded.plans["shard"].folder
    assert not list(shards.glob("*.npy"))
    before = encoded.plans["shard"].identity
    frames = {split: load_split(shards, split) for split in SPLITS}
    kept = line_of(tmp_path / "runs", dataset, "pixels")
    assert kept.plans["shard"].identity == before  # the same artifact, to which pixels were added
    for split in SPLITS:
        assert isinstance(frames[split].pixels, EncodedPixels)
        pixels = load_split(shards, split, "pixels").pixels
        assert isinstance(pixels, np.ndarray)
        assert frames[split].pixels.shape == pixels.shape
        rows = np.random.default_rng(0).permutation(len(pixels))
        assert np.array_equal(frames[split].pixels[rows], pixels[rows])
        assert np.array_equal(frames[split].pixels[1:3], pixels[1:3])


def test_a_training_that_decodes_in_loaders_ends_in_the_bits_of_one_that_reads_pixels(tmp_path: Path) -> None:
    dataset = MAKERS["image_folder"](tmp_path / "data")
    students = []
    for images, count in (("encoded", 2), ("pixels", 0)):
        made = line_of(tmp_path / "runs", dataset, images)
        job = made.job(tmp_path / images)
        loading = job.loading.model_copy(update={"num_loaders": count})
        list(train(job.model_copy(update={"loading": loading})))
        students.append((tmp_path / images / STUDENT).read_bytes())
    assert students[0] == students[1]


@pytest.mark.parametrize("num_loaders", [0, 1])
def test_an_image_that_changed_after_it_was_indexed_is_refused_by_its_id(num_loaders: int, tmp_path: Path) -> None:
    dataset = MAKERS["image_folder"](tmp_path / "data")
    made = line_of(tmp_path / "runs", dataset, "encoded")
    changed = load_split(made.plans["shard"].folder, "train").image_ids[3]
    Image.new("RGB", (8, 8), "red").save(tmp_path / "data" / changed, "PNG")
    job = made.job(tmp_path / "job")
    job = job.model_copy(update={"loading": job.loading.model_copy(update={"num_loaders": num_loaders})})
    with pytest.raises(DataError, match=rf"image {changed} cannot be used.*\n.*\n.*--rehash"):
        list(train(job))
