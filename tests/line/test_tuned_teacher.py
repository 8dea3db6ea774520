"""The image teacher tuned on the data set: killed and resumed, better than it began, the one that students follow."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.errors import ConfigError
from orchestrator.stages import index, line, tune
from orchestrator.stages.verify import stores_below
from orchestrator.teachers import TunedEncoderSettings
from orchestrator.training.data import load_teacher
from orchestrator.training.run import train
from orchestrator.training.student_file import STUDENT
from orchestrator.vocabulary import TEACHER_IMAGE, TEACHER_LOGITS
from tests.line.command import Smoke
from tests.smoke_line import PROJECT, SMOKE, SmokeLine, make_smoke_line, quiet_context

CLIP = {"kind": "open_clip", "model": "embedded:tiny_clip", "logit_scale": 30}
TUNING = {"epochs": 3, "batch_size": 16, "encoder_learning_rate": 2e-5, "head_learning_rate": 3e-2}
WORLD: dict[str, Any] = {
    "dataset": {"kind": "shapes", "seed": 7, "num_classes": 8, "max_count": 24, "imbalance_ratio": 4,
                "num_select_per_class": 10, "num_report_per_class": 10},
    "image_size": 64, "image_teacher": CLIP, "text_encoder": CLIP, "teacher_tuning": TUNING,
}  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """The line up to the shards, with the embedded CLIP fine-tuned on the smoke experiment's images."""
    return make_smoke_line(tmp_path_factory.mktemp("tuned"), 2, WORLD)


def folder_of(made: SmokeLine) -> Path:
    return made.plans["tune"].folder


def test_the_tuned_teacher_is_better_than_the_class_texts_it_began_with(tuned: SmokeLine) -> None:
    manifest = read_manifest(folder_of(tuned))
    assert manifest is not None
    assert manifest.metrics["select/all"] > manifest.metrics["untuned/all"]
    history = read_json(folder_of(tuned) / "history.json")
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert max(row["select/all"] for row in history[1:]) == manifest.metrics["select/all"]
    assert history[3]["train/loss"] < history[1]["train/loss"]


def test_a_tuning_begins_as_zero_shot_classification_by_the_class_texts(tuned: SmokeLine) -> None:
    data = index.load(tuned.context)
    classes = np.load(folder_of(tuned) / tune.CLASS_VECTORS)
    rows = [row for row in data.images.to_pylist() if row["split"] == "select"]
    pictures = [decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"])) for row in rows]
    teacher = tuned.context.experiment.image_teacher
    assert teacher is not None
    predicted = (np.asarray(teacher.build_image()(pictures)["embedding"]) @ classes.T).argmax(1)
    right = np.mean(predicted == np.array([row["label"] for row in rows]))
    assert right == pytest.approx(read_json(folder_of(tuned) / "history.json")[0]["select/all"])


def test_what_students_follow_is_the_tuned_encoder_and_its_own_classifier(tuned: SmokeLine, tmp_path: Path) -> None:
    teacher = load_teacher(tuned.plans["embed"].folder, ("truth",), num_classes=8)
    assert teacher.class_vectors is None
    batch = teacher.inputs(np.arange(5), 1)
    weights = load_file(folder_of(tuned) / "weights.safetensors")
    by_hand = batch[TEACHER_IMAGE] @ weights["head.weight"].T + weights["head.bias"]
    np.testing.assert_allclose(batch[TEACHER_LOGITS], by_hand, atol=1e-4)

    data = index.load(tuned.context)
    row = next(row for row in data.images.to_pylist() if row["split"] == "select")
    picture = decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"]))
    settings = TunedEncoderSettings(model=str(folder_of(tuned)))
    began = tuned.context.experiment.image_teacher
    assert began is not None
    moved = settings.build_image()([picture])["embedding"] @ began.build_image()([picture])["embedding"].T
    assert 0.2 < moved.item() < 0.99999  # the encoder has learnt, and is still the one it began as

    job = tuned.job(tmp_path / "student", {"losses.text": None, "training.epochs": 1})
    (progress,) = list(train(job))
    assert progress.metrics["train/image"] > 0
    assert (tmp_path / "student" / STUDENT).is_file()


def test_rows_are_kept_under_the_content_of_the_weights(tuned: SmokeLine, tmp_path: Path) -> None:
    names = [str(store.folder) for store in stores_below(str(tuned.context.root))]
    assert sum("tiny_clip-tuned-" in name for name in names) == 1
    settings = TunedEncoderSettings(model=str(folder_of(tuned)))
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("weights.safetensors", "encoder.json"):
        (copy / name).write_bytes((folder_of(tuned) / name).read_bytes())
    assert TunedEncoderSettings(model=str(copy)).identity() == settings.identity()
    other = bytearray((copy / "weights.safetensors").read_bytes())
    other[-3] ^= 1
    (copy / "weights.safetensors").write_bytes(other)
    assert TunedEncoderSettings(model=str(copy)).identity() != settings.identity()


def test_the_line_to_its_report_tells_the_teacher_on_the_report_split_and_is_reused(tuned: SmokeLine) -> None:
    before = {stage: done for stage, _, done in line.forecast(tuned.context, "embed")}
    assert before == {"index": "reuse", "caption": "reuse", "tune": "reuse", "embed": "reuse"}
    small = with_overrides(tuned.context.experiment, {"sweep": None, "training.epochs": 1}, "test")
    context = quiet_context(small, tuned.context.root)
    plans = line.run(context, "report")
    told = read_json(plans["evaluate-teacher"].folder / "evaluation.json")
    assert sum(told["total"]) == 80
    assert told["metrics"]["all"] > 0.5
    assert plans["tune"].identity == tuned.plans["tune"].identity


def test_a_linear_probe_learns_from_kept_rows_and_leaves_the_encoder_as_it_is(tmp_path: Path) -> None:
    probe = {**TUNING, "mode": "linear_probe", "head": "random", "epochs": 20, "head_learning_rate": 0.3}
    made = make_smoke_line(tmp_path, 2, {**WORLD, "teacher_tuning": probe})
    weights = load_file(folder_of(made) / "weights.safetensors")
    assert sorted(weights) == ["head.bias", "head.weight"]
    manifest = read_manifest(folder_of(made))
    assert manifest is not None
    assert manifest.metrics["untuned/all"] < 0.5 < 0.7 < manifest.metrics["select/all"]
    assert not (folder_of(made) / tune.ROWS).exists()
    batch = load_teacher(made.plans["embed"].folder, (), num_classes=8).inputs(np.arange(3), 0)
    np.testing.assert_allclose(
        batch[TEACHER_LOGITS], batch[TEACHER_IMAGE] @ weights["head.weight"].T + weights["head.bias"], atol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_teacher": None}, "no image_teacher"),
        ({"image_teacher": {"kind": "hashed"}}, "no weights to fine-tune"),
        ({"image_teacher": {"kind": "timm", "model": "x"}}, "timm has none"),
        ({"image_teacher": {"kind": "tuned", "model": "x"}}, "tuned one already"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_the_experiment(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        with_overrides(load_experiment(SMOKE), {"teacher_tuning": TUNING, **changes}, "test")


def test_a_tuning_killed_after_each_epoch_ends_in_the_same_bytes(tuned: SmokeLine, tmp_path: Path) -> None:
    smoke = Smoke(tmp_path)
    overrides = [f"{name}={json.dumps(value)}" for name, value in {**WORLD, "image_teacher_views": 2}.items()]
    sheets = smoke.arguments(*overrides, "--set", "tracking.kind=none")[2:]
    command = [sys.executable, "-m", "jobs.tune", *sheets]
    folder = smoke.folder / tune.FOLDER
    for step in (1, 2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PROJECT) as child:
            deadline = time.monotonic() + 120
            while child.poll() is None and len(list(folder.glob("checkpoints/step-*.json"))) < step:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        assert not (folder / "manifest.json").exists()
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=PROJECT)
    assert ended.returncode == 0, ended.stderr
    for name in ("weights.safetensors", "history.json", "result.json"):
        assert (folder / name).read_bytes() == (folder_of(tuned) / name).read_bytes()
    assert not (folder / "checkpoints").exists()
