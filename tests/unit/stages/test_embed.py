"""The embed stage: every output as its own array, texts once, over-long texts counted, arrays that can be lost."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_table
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.errors import ArtifactError
from orchestrator.stages import index, line
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.verify import verify_folder
from orchestrator.teachers import HashedEncoderSettings
from orchestrator.training.data import load_teacher
from tests import tiny_encoders as tiny
from tests.smoke_line import SMOKE, quiet_context

MAPS = ["embedding", "feature", "tokens", "attention"]


def embedded(root: Path, **overrides: Any) -> tuple[Context, Plan]:
    """The smoke experiment with overrides (double underscores for dots), made up to its embeddings."""
    changes = {"image_teacher_views": 0} | {name.replace("__", "."): value for name, value in overrides.items()}
    context = quiet_context(with_overrides(load_experiment(SMOKE), changes, "test"), root)
    return context, line.run(context, "embed")["embed"]


def train_images(context: Context) -> list[Image.Image]:
    """The training images, decoded, in index order."""
    rows = [row for row in index.load(context).images.to_pylist() if row["split"] == "train"]
    return [decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"])) for row in rows]


def counts(plan: Plan) -> dict[str, int]:
    """What the manifest counts."""
    manifest = read_manifest(plan.folder)
    assert manifest is not None
    return manifest.counts


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_output_is_an_array_that_training_maps(dtype: str, tmp_path: Path) -> None:
    both = {"image_teacher__store_dtype": dtype, "text_encoder__store_dtype": dtype}
    context, plan = embedded(tmp_path, image_teacher__outputs=MAPS, **both)
    teacher = load_teacher(plan.folder, ["general", "targeted"])
    images = train_images(context)
    assert context.experiment.image_teacher is not None
    truth = context.experiment.image_teacher.build_image()(images)
    assert sorted(teacher.image_outputs) == sorted(MAPS)
    for name, rows in teacher.image_outputs.items():
        assert rows.dtype == dtype
        assert np.array_equal(rows, truth[name].astype(dtype))
    assert teacher.image_vectors is not None
    assert teacher.text_vectors.dtype == dtype
    texts = read_table(plan.folder / "texts.parquet")["text"].to_pylist()
    assert np.array_equal(teacher.text_vectors, context.experiment.text_encoder.build_text()(texts).astype(dtype))
    batch = teacher.inputs(np.array([4, 1]), 0)
    assert {tensor.dtype.is_floating_point and str(tensor.dtype) for tensor in batch.values()} <= {
        False,
        "torch.float32",
    }
    np.testing.assert_array_equal(batch["teacher_image"].numpy(), teacher.image_vectors[[4, 1]].astype(np.float32))
    header = Embeddings(plan.folder).header
    assert header.encoders["image_teacher"]["dims"]["tokens"] == [16, 16]
    assert header.encoders["image_teacher"]["preprocessing"]


def test_equal_texts_go_through_the_model_once_and_only_new_ones_on_the_next_run(tmp_path: Path) -> None:
    _, plan = embedded(tmp_path)
    first = counts(plan)
    texts = read_table(plan.folder / "texts.parquet")["text"].to_pylist()
    rows = read_table(plan.folder / "text_rows.parquet")
    classes = read_table(plan.folder / "classes.parquet")["text"].to_pylist()
    assert len(set(texts)) == len(texts) == first["texts"] < rows.num_rows * 3
    assert first["texts_embedded"] == len({*texts, *classes})  # one encoder for both: one pool embeds the classes too
    store = Embeddings(plan.folder).store("texts")
    assert store.totals()["model_rows"] == len(store.keys()) == first["texts_embedded"]
    more = {"kind": "class_name", "template": "an image of a {class}"}
    _, again = embedded(tmp_path, texts__named=more)
    num_new = counts(again)["texts"] - first["texts"]
    assert num_new > 0
    assert counts(again)["texts_embedded"] == num_new
    assert counts(again)["images_embedded"] == 0


def test_texts_over_the_context_length_are_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context, plan = embedded(tmp_path, text_encoder__context_length=13)
    texts = read_table(plan.folder / "texts.parquet")["text"].to_pylist()
    cut = sum(len(text.split()) > 13 for text in texts)
    assert 0 < cut < len(texts)
    assert counts(plan)["texts_over_length"] == cut
    context.feedback.quiet = False
    shutil.rmtree(plan.folder)
    line.run(context, "embed")
    assert f"{cut} of {len(texts)} texts exceed the 13 tokens of hashed-16" in " ".join(capsys.readouterr().out.split())
    assert counts(plan)["texts_embedded"] == 0  # all rows are in the store, and are counted still


def test_an_image_only_teacher_has_no_class_texts_and_its_classifier_gives_the_class_logits(tmp_path: Path) -> None:
    num_classes = 6
    model = tiny.made(tmp_path, tiny.timm_convnet)
    teacher = {"kind": "timm", "model": model, "outputs": ["embedding", "logits"]}
    context, plan = embedded(tmp_path, image_teacher=teacher)
    header = Embeddings(plan.folder).header
    assert "classes" not in header.arrays
    assert header.logit_scale == 0
    assert context.experiment.image_teacher is not None
    truth = context.experiment.image_teacher.build_image()(train_images(context)[:3])
    fits, other = (load_teacher(plan.folder, [], num_classes=number) for number in (5, num_classes))
    np.testing.assert_allclose(fits.inputs(np.arange(3), 0)["teacher_logits"].numpy(), truth["logits"], atol=1e-4)
    assert "teacher_logits" not in other.inputs(
        np.arange(3), 0
    )  # a classifier of other classes is no class distribution


def test_arrays_that_are_lost_are_built_again_by_whoever_reads_them_also_in_a_folder_of_the_node(
    tmp_path: Path,
) -> None:
    _, plan = embedded(tmp_path / "runs")
    before = load_teacher(plan.folder, ["general"])
    assert before.image_vectors is not None
    kept = [np.array(before.text_vectors), np.array(before.image_vectors)]
    shutil.rmtree(plan.folder / "hot")
    for node in (None, tmp_path / "node"):
        again = load_teacher(plan.folder, ["general"], node)
        assert again.image_vectors is not None
        assert np.array_equal(again.text_vectors, kept[0])
        assert np.array_equal(again.image_vectors, kept[1])
    assert (
        len(list((tmp_path / "node").glob("*/rows.bin"))) == 3
    )  # texts, classes, training images: what training reads


def test_verify_compares_the_arrays_with_their_stores_and_repair_removes_what_differs(tmp_path: Path) -> None:
    _, plan = embedded(tmp_path)
    assert verify_folder(str(tmp_path))[0] == []
    rows = plan.folder / "hot" / "images-train-embedding" / "rows.bin"
    damaged = bytearray(rows.read_bytes())
    damaged[-3] ^= 0xFF
    rows.write_bytes(damaged)
    problems, _ = verify_folder(str(tmp_path), repair=True)
    assert any("1 of" in problem and "rows differ" in problem for problem in problems)
    assert verify_folder(str(tmp_path))[0] == []
    assert load_teacher(plan.folder, []).image_vectors is not None
    assert verify_folder(str(tmp_path))[0] == []


def test_an_image_that_is_gone_costs_only_itself_and_the_rest_is_kept(tmp_path: Path) -> None:
    context, plan = embedded(tmp_path, image_teacher__outputs=MAPS)
    images = [row for row in index.load(context).images.to_pylist() if row["split"] == "train"]
    shutil.rmtree(plan.folder)
    shutil.rmtree(context.root / "store" / "image-embeddings")
    gone = Path(images[0]["path"])
    kept = gone.read_bytes()
    damaged = bytearray(kept)
    damaged[images[0]["offset"] + images[0]["size"] // 2] ^= 0xFF
    gone.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="1 images could not be embedded"):
        line.run(context, "embed")
    gone.write_bytes(kept)
    line.run(context, "embed")
    assert counts(plan)["images_embedded"] == 1
    truth = HashedEncoderSettings(dim=16, outputs=("embedding", "tokens")).build_image()(train_images(context))
    found = load_teacher(plan.folder, []).image_outputs
    assert np.array_equal(found["tokens"], truth["tokens"])
    assert np.array_equal(found["embedding"], truth["embedding"])
