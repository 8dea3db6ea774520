"""An export computes what the student computes, and needs none of our code for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import load_checkpoint

from orchestrator import vocabulary as v
from orchestrator.datasets.framing import square as framed
from orchestrator.datasets.index import decode_rgb
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.predict import images_of
from orchestrator.exporting.bundle import BACKBONE, HEAD, prove, read_config
from orchestrator.exporting.network import open_network
from orchestrator.exporting.use_student import Student, normalised, rgb, square
from orchestrator.students import (
    CbamStudentSettings,
    DensenetEmbeddingStudentSettings,
    ResnetEmbeddingStudentSettings,
    TimmStudentSettings,
    TinyStudentSettings,
)
from orchestrator.training.views import scale_pixels
from tests.exports import CLASSES, export_student

HEADS: dict[str, dict[str, Any]] = {
    "linear": {},
    "cosine": {"classifier": {"kind": "cosine", "scale": 16.0}},
    "classifier on the embedding": {"embedding": {}, "classifier": {"kind": "linear", "reads": "embedding"}},
    "classifier on the adaptor": {"classifier": {"kind": "linear", "reads": "adaptor"}},
    "embedding": {"classifier": None, "embedding": {}},
    "embedding without class texts": {"classifier": None, "embedding": {"dim": 3}},
    "own pixels": {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)},
}
BACKBONES: dict[str, tuple[dict[str, Any], int]] = {
    "resnet18": ({"name": "resnet18"}, 32),
    "mobilenetv3": ({"name": "mobilenetv3_small_050"}, 32),
    "convnext": ({"name": "convnext_atto"}, 32),
    "vit": ({"name": "test_vit", "image_size": 32}, 32),
    "vit with mean pooling": ({"name": "test_vit", "image_size": 32, "global_pool": "avg", "drop_path": 0.1}, 32),
    "max pooling": ({"name": "test_byobnet", "global_pool": "max"}, 32),
    "two classifiers": ({"name": "deit_tiny_distilled_patch16_224", "image_size": 32}, 32),
    "norm before the classifier": ({"name": "levit_128s", "image_size": 64}, 64),
}
OUTPUT = {"linear": "logits", "embedding": "cosines", "embedding without class texts": "embedding"}


@pytest.mark.parametrize("kind", ["tiny", "timm"])
@pytest.mark.parametrize("heads", HEADS)
def test_every_head_gives_the_trained_outputs_bit_for_bit(heads: str, kind: str, tmp_path: Path) -> None:
    own: Any = TinyStudentSettings if kind == "tiny" else TimmStudentSettings
    named = {"width": 4} if kind == "tiny" else {"name": "test_byobnet"}
    export, student = export_student(own.model_validate({**named, **HEADS[heads]}), tmp_path)
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    config = prove(export, student, images, "random images")
    assert config.max_abs_difference == 0.0
    assert config.output == OUTPUT.get(heads, "logits")


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_is_timms_own_file_and_gives_the_trained_outputs(name: str, tmp_path: Path) -> None:
    settings, side = BACKBONES[name]
    export, student = export_student(TimmStudentSettings.model_validate(settings), tmp_path, image_size=side)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    assert prove(export, student, images, "random images").max_abs_difference == 0.0
    described = read_config(export).backbone
    backbone: Any = timm.create_model(described["name"], num_classes=0, **described["options"])
    load_checkpoint(backbone, str(export / BACKBONE), strict=True)
    with torch.no_grad():
        assert torch.equal(backbone.eval()(images), student(images)[v.STUDENT_FEATURE])


def test_a_model_with_other_channels_is_built_again(tmp_path: Path) -> None:
    from orchestrator.exporting.bundle import backbone_of
    from orchestrator.students.context import StudentContext

    settings = TimmStudentSettings(name="test_byobnet", in_chans=1)
    student = settings.build(StudentContext(num_classes=3, image_size=32))
    described = backbone_of(student, settings)
    backbone: Any = timm.create_model(described["name"], num_classes=0, **described["options"])
    backbone.load_state_dict(student.backbone.state_dict(), strict=True)


@pytest.mark.parametrize(
    "settings", [ResnetEmbeddingStudentSettings(), DensenetEmbeddingStudentSettings(bottleneck_dim=None)]
)
def test_students_with_a_text_side_keep_it_and_their_class_texts(settings: Any, tmp_path: Path) -> None:
    export, student = export_student(settings, tmp_path, text_dim=6)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    assert prove(export, student, images, "random images").max_abs_difference == 0.0
    made = open_network(export, read_config(export))(images)
    text = torch.nn.functional.normalize(torch.randn(7, 6, generator=torch.Generator().manual_seed(2)), dim=1)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(student(images)[v.STUDENT_EMBEDDING], dim=1)
        torch.testing.assert_close(made["cosines"], expected @ student.class_embeddings(text).T)


def test_students_of_a_teachers_rows_run_by_their_own_snippet(tmp_path: Path, project: Path) -> None:
    export, student = export_student(CbamStudentSettings(embedding_dim=8, reduction=4), tmp_path, text_dim=6)
    rows = torch.randn(4, 16, generator=torch.Generator().manual_seed(3))
    np.save(tmp_path / "rows.npy", rows.numpy())
    done = subprocess.run(
        [sys.executable, str(export / "use_rows.py"), str(tmp_path / "rows.npy")],
        env={"PYTHONPATH": str(project)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        cosines = open_network(export, read_config(export))(rows)["cosines"]
        assert torch.equal(open_network(export, read_config(export))(rows)["embedding"],
                           student(rows)[v.STUDENT_EMBEDDING])  # fmt: skip
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [CLASSES[one] for one in cosines.argmax(1)]


def test_the_snippet_alone_gives_the_trained_logits_in_a_process_that_cannot_import_this_project(
    tmp_path: Path,
) -> None:
    settings = TimmStudentSettings.model_validate({"name": "test_byobnet", **HEADS["own pixels"]})
    export, student = export_student(settings, tmp_path, frame_size=40)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    code = (
        "import sys, json; sys.modules['orchestrator'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from use_student import Student; from PIL import Image; import torch; torch.set_num_threads(1)\n"
        "student = Student(sys.argv[1]); image = Image.open(sys.argv[2])\n"
        "with torch.inference_mode(): made = student.network(student.pixels([image]))\n"
        "print(json.dumps([made['logits'][0].tolist(), student.predict([image])[0]]))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(export), str(tmp_path / "image.png")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    logits, (name, score) = json.loads(done.stdout)
    given = images_of(framed(Image.fromarray(pixels), 40)[None], 32)(np.array([0]))
    with torch.inference_mode():
        expected = student(given["image"])[v.STUDENT_LOGITS][0]
    assert torch.equal(torch.tensor(logits), expected)
    assert name == CLASSES[int(expected.argmax())]
    assert score == pytest.approx(float(expected.softmax(0).max()), rel=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA", "I;16", "1", "CMYK"])
def test_the_snippet_reads_images_of_every_mode_as_the_index_does(mode: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    if mode == "I;16":
        Image.fromarray(random.integers(0, 65536, (20, 30)).astype(np.uint16)).save(path)
    else:
        Image.fromarray(random.integers(0, 256, (20, 30, 4), np.uint8), "RGBA").convert(mode).save(path)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(rgb(image)), np.asarray(decode_rgb(path.read_bytes())))


@pytest.mark.parametrize("framing", ["crop", "stretch"])
def test_the_snippets_pixels_are_those_of_shards(framing: Any) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8))
    told = {"image_size": 24, "frame_size": 30, "framing": framing, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    stored = framed(image, 30, framing)[None]
    assert np.array_equal(square(image, told), stored[0, 3:27, 3:27])
    made = normalised(square(image, told)[None], {"preprocessing": told})
    assert torch.equal(made, images_of(stored, 24)(np.array([0]))["image"])
    assert torch.equal(made, scale_pixels(stored[:, 3:27, 3:27]))


def test_weights_that_are_not_the_students_are_found_out(tmp_path: Path) -> None:
    export, student = export_student(TinyStudentSettings(width=4), tmp_path)
    tensors = load_file(export / HEAD)
    save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, export / HEAD)
    with pytest.raises(ArtifactError, match="differ from the trained one's"):
        prove(export, student, torch.randn(2, 3, 32, 32), "random images")


def test_a_student_without_scores_says_so_instead_of_a_class(tmp_path: Path) -> None:
    settings = TinyStudentSettings.model_validate({"width": 4, **HEADS["embedding without class texts"]})
    export, _ = export_student(settings, tmp_path)
    with pytest.raises(ValueError, match="embeddings only"):
        Student(export).predict([Image.new("RGB", (40, 40))])
