"""The caption stage: a bad image costs its own rows only, equal images are paid once, and the counts add up."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_table
from orchestrator.captioners.constant import ConstantCaptionerSettings
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


def captioned(context: Context, planned: Plan) -> tuple[dict[str, int], dict[tuple[str, str], str]]:
    """The stage's counts and its captions by (image, prompt)."""
    made = caption.make(context, planned)
    manifest = read_manifest(made.folder)
    assert manifest is not None
    rows = read_table(made.folder / caption.CAPTIONS).to_pylist()
    counts = manifest.counts
    assert counts["asked"] == counts["captioned"] + counts["reused"] + counts["quarantined"]
    assert len(rows) == counts["captioned"] + counts["reused"]
    return counts, {(row["image_id"], row["prompt"]): row["caption"] for row in rows}


def test_equal_images_are_captioned_once_and_each_gets_its_caption(images: list[Path], tmp_path: Path) -> None:
    context = quiet_context(experiment_over(images), tmp_path / "runs")
    counts, found = captioned(context, index.make(context))
    assert counts == {"asked": 10, "captioned": 8, "reused": 2, "quarantined": 0}
    assert (
        found["dax/0.png", "general"]
        == found["dax/4.png", "general"]
        == ("8 by 8: Please describe the image in one sentence.")
    )
    assert found["wug/3.png", "targeted_1"] == "8 by 11: Describe the wug in the image in one sentence."
    assert caption.stores(context)[0].model_rows() == 8


def test_a_new_prompt_pays_only_for_itself_and_a_rerun_for_nothing(images: list[Path], tmp_path: Path) -> None:
    experiment = experiment_over(images)
    first = quiet_context(experiment.model_copy(update={"prompts": ("general",)}), tmp_path / "runs")
    captioned(first, index.make(first))
    assert caption.stores(first)[0].model_rows() == 4
    second = quiet_context(experiment, tmp_path / "runs")
    counts, _ = captioned(second, index.make(second))
    assert counts == {"asked": 10, "captioned": 4, "reused": 6, "quarantined": 0}
    (second.folder / "captions" / "manifest.json").unlink()
    counts, _ = captioned(second, index.make(second))
    assert counts == {"asked": 10, "captioned": 0, "reused": 10, "quarantined": 0}
    assert caption.stores(second)[0].model_rows() == 8


@pytest.mark.parametrize("damage", ["truncated", "removed", "no image"])
def test_an_image_that_went_bad_costs_its_own_rows_only_and_is_quarantined(
    images: list[Path], tmp_path: Path, damage: str
) -> None:
    context = quiet_context(experiment_over(images), tmp_path / "runs")
    planned = index.make(context)
    size = images[1].stat().st_size
    if damage == "truncated":
        images[1].write_bytes(images[1].read_bytes()[: size // 2])
    elif damage == "removed":
        images[1].unlink()
    else:
        images[1].write_bytes(b"x" * size)
    counts, found = captioned(context, planned)
    assert counts == {"asked": 10, "captioned": 6, "reused": 2, "quarantined": 2}
    assert {name for name, _ in found} == {"dax/0.png", "dax/2.png", "dax/4.png", "wug/3.png"}
    store, quarantine = caption.stores(context)
    rows = pa.concat_tables(read_table(part) for part in quarantine.parts()).to_pylist()
    assert len(rows) == 2
    assert {row["path"] for row in rows} == {str(images[1])}
    wanted = "FileNotFoundError" if damage == "removed" else "DataError"
    assert {row["error_class"] for row in rows} == {wanted}
    assert all(row["message"] for row in rows)
    assert store.keys().isdisjoint(quarantine.keys())
    assert store.model_rows() == 6


def test_an_empty_answer_is_quarantined_and_when_all_are_empty_the_stage_says_so(
    images: list[Path], tmp_path: Path
) -> None:
    context = quiet_context(experiment_over(images, text=""), tmp_path / "runs")
    with pytest.raises(ArtifactError, match="no caption was made"):
        caption.make(context, index.make(context))
    store, quarantine = caption.stores(context)
    assert store.keys() == set()
    rows = pa.concat_tables(read_table(part) for part in quarantine.parts()).to_pylist()
    assert [row["error_class"] for row in rows] == ["EmptyCaption"] * 8


def test_the_worker_answers_each_row_in_its_micro_batch_with_a_receipt(images: list[Path], tmp_path: Path) -> None:
    worker = caption.CaptionWorker(
        captioner=ConstantCaptionerSettings(), store=str(tmp_path / "store"), quarantine=str(tmp_path / "quarantine")
    )
    context = quiet_context(experiment_over(images), tmp_path / "runs")
    index.make(context)
    images[2].write_bytes(b"")
    rows = caption.wanted_rows(context).slice(2, 4)  # both prompts of images 1 and 2
    assert worker.open()(rows).to_pylist() == [{"done": 2, "quarantined": 2}]
