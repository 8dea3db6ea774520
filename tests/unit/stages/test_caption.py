"""The caption stage: a bad image costs its own rows only, equal images are paid once, and the counts add up."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_table
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment
from orchestrator.errors import ArtifactError
from orchestrator.stages import caption, index
from orchestrator.stages.context import Context, Plan
from tests.smoke_line import SMOKE, quiet_context

NUM_IMAGES = 5  # 0 and 4 have the same bytes


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Four different images, and one of them again under another name in the other class."""
    paths = [tmp_path / "data" / name for name in ("dax/0.png", "dax/1.png", "dax/2.png", "wug/3.png", "dax/4.png")]
    for number, path in enumerate(paths[:4]):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8 + number, 8, 3), np.uint8)).save(path)
    paths[4].write_bytes(paths[0].read_bytes())
    return paths


def experiment_over(images: list[Path], text: str = "{width} by {height}: {prompt}") -> Experiment:
    root = images[0].parents[1]
    overrides = [f"dataset={{kind: image_folder, root: '{root}'}}", f"captioner.text='{text}'", "sweep=null"]
    return load_experiment(SMOKE, [*overrides, "texts={general: {kind: caption, prompt: general}}",
                                   "text_sources=[general]"])  # fmt: skip


def told(asked: int, done: int, reused: int, quarantined: int) -> dict[str, int]:
    return {"asked": asked, "done": done, "reused": reused, "quarantined": quarantined, "skipped": 0}


def captioned(context: Context, planned: Plan) -> tuple[dict[str, int], dict[tuple[str, str], str]]:
    """The stage's counts and its captions by (image, prompt)."""
    made = caption.make(context, planned)
    manifest = read_manifest(made.folder)
    assert manifest is not None
    rows = read_table(made.folder / caption.CAPTIONS).to_pylist()
    counts = manifest.counts
    assert counts["asked"] == sum(counts[name] for name in ("done", "reused", "quarantined", "skipped"))
    assert len(rows) == counts["done"] + counts["reused"]
    return counts, {(row["image_id"], row["prompt"]): row["caption"] for row in rows}


def test_equal_images_are_captioned_once_and_each_gets_its_caption(images: list[Path], tmp_path: Path) -> None:
    context = quiet_context(experiment_over(images), tmp_path / "runs")
    counts, found = captioned(context, index.make(context))
    assert counts == told(10, 8, 2, 0)
    assert (
        found["dax/0.png", "general"]
        == found["dax/4.png", "general"]
        == ("8 by 8: Please describe the image in one sentence.")
    )
    assert found["wug/3.png", "targeted_1"] == "8 by 11: Describe the wug in the image in one sentence."
    assert caption.caption_store(context).totals()["model_rows"] == 8


def test_a_new_prompt_pays_only_for_itself_and_a_rerun_for_nothing(images: list[Path], tmp_path: Path) -> None:
    experiment = experiment_over(images)
    first = quiet_context(experiment.model_copy(update={"prompts": ("general",)}), tmp_path / "runs")
    captioned(first, index.make(first))
    assert caption.caption_store(first).totals()["model_rows"] == 4
    second = quiet_context(experiment, tmp_path / "runs")
    counts, _ = captioned(second, index.make(second))
    assert counts == told(10, 4, 6, 0)
    (second.folder / "captions" / "manifest.json").unlink()
    counts, _ = captioned(second, index.make(second))
    assert counts == told(10, 0, 10, 0)
    assert caption.caption_store(second).totals()["model_rows"] == 8


@pytest.mark.parametrize("damage", ["truncated", "removed", "other bytes"])
def test_an_image_that_went_bad_costs_its_own_rows_only_and_is_tried_again_when_it_is_back(
    images: list[Path], tmp_path: Path, damage: str
) -> None:
    context = quiet_context(experiment_over(images), tmp_path / "runs", max_error_fraction=0.2)
    planned = index.make(context)
    before = images[1].read_bytes()
    if damage == "removed":
        images[1].unlink()
    else:
        images[1].write_bytes(before[: len(before) // 2] if damage == "truncated" else b"x" * len(before))
    counts, found = captioned(context, planned)
    assert counts == {**told(10, 6, 2, 2), "to_try_again": 2}
    assert {name for name, _ in found} == {"dax/0.png", "dax/2.png", "dax/4.png", "wug/3.png"}
    store = caption.caption_store(context)
    rows = read_table(context.folder / "captions" / caption.QUARANTINE).to_pylist()
    assert {(row["image_id"], row["path"]) for row in rows} == {("dax/1.png", str(images[1]))}
    assert [row["prompt"] for row in rows] == ["general", "targeted_1"]
    wanted = "FileNotFoundError" if damage == "removed" else "ChangedImageError"
    assert {row["error_class"] for row in rows} == {wanted}
    assert all(row["error_message"] for row in rows)
    assert store.totals()["model_rows"] == 6

    incomplete = caption.plan(context, planned).identity
    counts, _ = captioned(context, planned)  # the same command tries again, in vain
    assert counts == {**told(10, 0, 8, 2), "to_try_again": 2}
    assert caption.plan(context, planned).identity == incomplete

    images[1].write_bytes(before)
    counts, found = captioned(context, planned)
    assert counts == told(10, 2, 8, 0)
    assert caption.plan(context, planned).identity != incomplete  # what was made of the incomplete view is made anew
    assert store.totals()["model_rows"] == 8
    assert store.refused().num_rows == 0


def test_above_the_allowed_share_of_failures_the_stage_fails_and_keeps_what_was_made(
    images: list[Path], tmp_path: Path
) -> None:
    context = quiet_context(experiment_over(images), tmp_path / "runs", max_error_fraction=0.1)
    planned = index.make(context)
    images[1].unlink()
    with pytest.raises(ArtifactError, match=r"2 of 10 captions have no result: 2 FileNotFoundError"):
        caption.make(context, planned)
    assert read_manifest(context.folder / "captions") is None
    assert caption.caption_store(context).totals()["done"] == 6
    assert list((context.folder / "captions").glob(".plan*")) == []


def test_an_empty_answer_is_refused_for_good(images: list[Path], tmp_path: Path) -> None:
    context = quiet_context(experiment_over(images, text=""), tmp_path / "runs")
    planned = index.make(context)
    for _ in range(2):  # the second time nothing is asked again
        with pytest.raises(ArtifactError, match="10 of 10 captions have no result: 8 EmptyCaption"):
            caption.make(context, planned)
        store = caption.caption_store(context)
        assert store.keys() == set()
        assert store.totals()["model_rows"] == 8


def test_images_in_other_chunks_are_asked_once_and_follow_the_index(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = quiet_context(experiment_over(images), tmp_path / "runs")
    planned = index.make(context)
    whole = pa.concat_tables(caption.wanted_rows(context, planned.folder))
    monkeypatch.setattr(caption, "CHUNK_IMAGES", 2)
    chunks = list(caption.wanted_rows(context, planned.folder))
    assert [chunk.num_rows for chunk in chunks] == [4, 4, 2]
    assert pa.concat_tables(chunks).equals(whole)
    counts, found = captioned(context, planned)
    assert counts == told(10, 8, 2, 0)
    assert list(found) == list(zip(whole["image_id"].to_pylist(), whole["prompt"].to_pylist(), strict=True))


def test_other_bytes_under_the_same_stamp_are_found_by_a_rehash_only(images: list[Path], tmp_path: Path) -> None:
    context = quiet_context(experiment_over(images), tmp_path / "runs")
    planned = index.make(context)
    captioned(context, planned)
    times = images[1].stat()
    data = bytearray(images[1].read_bytes())
    pixels = np.random.default_rng(99).integers(0, 256, (9, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "other.png")
    other = (tmp_path / "other.png").read_bytes()
    images[1].write_bytes(other[: len(data)].ljust(len(data), b"\0"))
    os.utime(images[1], ns=(times.st_atime_ns, times.st_mtime_ns))

    assert index.make(context).fingerprint == planned.fingerprint
    context.rehash = True
    found = index.make(context)
    assert found.fingerprint != planned.fingerprint
    context.rehash = False
    assert index.make(context).fingerprint == found.fingerprint
    assert caption.plan(context, found).fingerprint != caption.plan(context, planned).fingerprint
