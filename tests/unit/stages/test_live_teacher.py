"""The image teacher that looks in the step: it gives what was kept, and of mixed images what the mixture shows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.config.load import with_overrides
from orchestrator.errors import ConfigError
from orchestrator.students.networks.student import IMAGE
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.training.batches import BatchMaker
from orchestrator.training.data import load_split, load_teacher
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.mixing import mix, mix_pictures
from orchestrator.training.order import Place
from orchestrator.training.run import train
from orchestrator.training.view_settings import MixingSettings
from orchestrator.training.views import scale_pixels
from orchestrator.vocabulary import LABEL
from tests.smoke_line import SMOKE, SmokeLine, load_experiment, make_smoke_line

CLIP: dict[str, Any] = {
    "dataset.max_count": 12,
    "dataset.imbalance_ratio": 2,
    "image_teacher": {"kind": "open_clip", "model": "embedded:tiny_clip"},
    "text_encoder": {"kind": "hashed", "dim": 16},
    "image_size": 64,
    "training.views": {"pad": 8, "flip": True, "brightness": 0.2},
    "training.epochs": 3,
}


def line_of(root: Path, num_views: int, mode: str) -> SmokeLine:
    """The smoke world with the embedded CLIP as image teacher, in this mode."""
    return make_smoke_line(root, num_views, {**CLIP, "image_teacher_mode": mode})


def image_losses(made: SmokeLine, folder: Path, num_loaders: int = 0) -> list[float]:
    """What the loss on the image teacher was in each epoch of a training."""
    job = made.job(folder).model_copy(update={"loading": InputSettings(num_loaders=num_loaders)})
    return [progress.metrics["train/image"] for progress in train(job)]


def test_trainings_with_a_cached_a_live_and_a_hybrid_teacher_are_equal_and_one_without_views_is_not(
    tmp_path: Path,
) -> None:
    cached = image_losses(line_of(tmp_path / "cached", 3, "cached"), tmp_path / "a")
    live = image_losses(line_of(tmp_path / "live", 0, "live"), tmp_path / "b", num_loaders=2)
    hybrid_line = line_of(tmp_path / "hybrid", 2, "hybrid")  # it looks at the third epoch's view alone
    hybrid = image_losses(hybrid_line, tmp_path / "c")
    assert live == pytest.approx(cached, rel=1e-3)
    assert hybrid == pytest.approx(cached, rel=1e-3)
    without_views = image_losses(line_of(tmp_path / "naive", 0, "cached"), tmp_path / "d")
    assert without_views[0] != pytest.approx(cached[0], rel=1e-3)
    modes = [line_of(tmp_path / name, n, name).job(tmp_path / "e") for name, n in (("cached", 3), ("live", 0))]
    assert modes[0].identity() != modes[1].identity()
    assert "live_teacher" not in modes[0].settings()


def test_a_live_teacher_looks_at_the_mixture_that_the_student_sees() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in pixels]
    batch = {IMAGE: scale_pixels(pixels), LABEL: torch.arange(7)}
    for settings in (MixingSettings(cutmix_alpha=0), MixingSettings(mixup_alpha=0), MixingSettings(fraction=0.5)):
        drawn = {"data_seed": 3, "pass_index": 1, "batch_index": 2, "first_pair": 4}
        mixed = mix(batch, settings, 7, **drawn)[IMAGE]
        seen = scale_pixels(np.stack([np.asarray(one) for one in mix_pictures(pictures, settings, **drawn)]))
        assert float((mixed - seen).abs().max()) <= 0.5 / (255 * 0.25) + 1e-5  # 8-bit rounding
        assert not torch.equal(mixed[:6], batch[IMAGE][:6])
        assert torch.equal(seen[6], batch[IMAGE][6])  # the odd one out


def test_losses_on_features_of_the_image_teacher_may_be_mixed_with_a_live_one_only(tmp_path: Path) -> None:
    made = line_of(tmp_path / "runs", 0, "live")
    changes = {"training.mixing": {}, "losses.text": None}
    job = made.job(tmp_path / "job", changes)
    assert all(np.isfinite(progress.metrics["train/image"]) for progress in train(job))
    with pytest.raises(ConfigError, match="image_teacher_mode: live"):
        list(train(job.model_copy(update={"live_teacher": None, "folder": str(tmp_path / "other")})))


def test_the_teacher_stays_outside_of_what_is_trained_and_of_the_loaders(tmp_path: Path) -> None:
    made = line_of(tmp_path / "runs", 0, "live")
    job = made.job(tmp_path / "job")
    assert job.live_teacher is not None
    images = load_split(Path(job.shards), "train")
    teacher = job.live_teacher.open(Path(job.shards), job.training, job.image_size, images.keys)
    module = teacher.encode.module  # type: ignore[attr-defined]
    assert not module.training
    rows = np.array([4, 0, 9])
    assert not any(isinstance(value, torch.Tensor) and value.requires_grad for value in teacher(rows, 2).values())
    assert teacher(rows, 2)[EMBEDDING].dtype == np.float32
    assert teacher.__getstate__()["encode"] is None
    kept = load_teacher(Path(job.embeddings), job.text_sources, None, job.num_classes)
    make = BatchMaker(images, replace(kept, live=teacher), job.training, job.num_classes, job.image_size)
    batch = make(rows, Place(2, 0))
    assert len(batch["pictures"]) == 3
    assert "teacher_image" not in batch
    completed = make.complete(batch)
    assert np.allclose(completed["teacher_image"].numpy(), teacher(rows, 2)[EMBEDDING], atol=1e-6)
    assert "pictures" not in completed


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_teacher_mode": "live", "image_teacher_views": 4}, "reads none of the 4 views"),
        ({"image_teacher_mode": "hybrid", "image_teacher_views": 0}, "keeps no view"),
        ({"image_teacher_mode": "live", "image_teacher_views": 0, "image_teacher": None}, "without an image_teacher"),
    ],
)
def test_modes_that_cannot_be_are_told_with_what_to_set(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        with_overrides(load_experiment(SMOKE), changes, "test")
