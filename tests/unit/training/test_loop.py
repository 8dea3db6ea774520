"""The loop: what it tells when a loss is not finite, when an input is missing, and that it learns."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError, NonFiniteLossError
from orchestrator.training.data import load_split
from orchestrator.training.loop import Trainer
from orchestrator.training.order import Order, Place
from orchestrator.training.run import train
from tests.smoke_line import SmokeLine, drop_arrays, trainer_of


def trainer_with_a_bad_row(smoke_line: SmokeLine, folder: Path, bad_row: int) -> Trainer:
    """See `trainer_of`; batches of 8."""
    return trainer_of(smoke_line.job(folder, {"training.batch_size": 8}), bad_row=bad_row)


def test_a_loss_that_is_not_finite_names_step_parts_and_images_and_leaves_the_parameters(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    images = load_split(smoke_line.plans["shard"].folder, "train")
    batches = [rows for _, rows in Order(images.labels, 8, 0).batches(0)]
    bad_row = int(batches[4][5])  # first met in the fifth step
    trainer = trainer_with_a_bad_row(smoke_line, tmp_path / "job", bad_row)
    trainer.model.train()
    for rows in batches[:4]:
        trainer.step(trainer.make_batch(rows, Place(0, 0)), rows)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    with pytest.raises(NonFiniteLossError) as error:
        trainer.step(trainer.make_batch(batches[4], Place(0, 0)), batches[4])
    told = str(error.value)
    assert "the loss is nan at step 4" in told
    assert "image nan" in told
    assert "classification " in told
    assert "classification nan" not in told
    assert images.image_ids[bad_row] in told
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())


def test_a_text_loss_without_texts_and_an_image_loss_without_a_teacher_name_what_supplies_them(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    embeddings = tmp_path / "embeddings"
    shutil.copytree(smoke_line.plans["embed"].folder, embeddings)
    drop_arrays(embeddings, "images/", "classes")
    job = smoke_line.job(tmp_path / "job", {"losses.image.feature_weight": 0})
    job = job.model_copy(update={"embeddings": str(embeddings), "text_sources": ()})
    with pytest.raises(ConfigError) as error:
        next(train(job))
    told = str(error.value)
    assert "losses.text needs text, supplied by: text_sources" in told
    assert "losses.image needs teacher_logits, supplied by: image_teacher" in told


def test_a_feature_term_without_a_teacher_says_what_to_set(smoke_line: SmokeLine, tmp_path: Path) -> None:
    embeddings = tmp_path / "embeddings"
    shutil.copytree(smoke_line.plans["embed"].folder, embeddings)
    drop_arrays(embeddings, "images/")
    job = smoke_line.job(tmp_path / "job").model_copy(update={"embeddings": str(embeddings)})
    with pytest.raises(ConfigError, match="set an image teacher"):
        next(train(job))


def test_teacher_rows_are_those_of_the_images_in_the_batch(smoke_line: SmokeLine, tmp_path: Path) -> None:
    trainer = trainer_with_a_bad_row(smoke_line, tmp_path / "job", 0)
    rows = np.array([40, 7, 12])
    batch = trainer.make_batch(rows, Place(3, 0))
    assert trainer.batch_maker.teacher is not None
    assert trainer.batch_maker.teacher.image_vectors is not None
    assert batch["label"].tolist() == trainer.images.labels[rows].tolist()
    for position, row in enumerate(rows):
        alone = trainer.make_batch(np.array([row]), Place(3, 0))
        assert torch.equal(batch["image"][position], alone["image"][0])
        assert np.array_equal(batch["teacher_image"][position].numpy(), trainer.batch_maker.teacher.image_vectors[row])
        for source, text_id in enumerate(trainer.batch_maker.teacher.text_ids[row]):
            vector = trainer.batch_maker.teacher.text_vectors[text_id].astype(np.float32)
            assert np.array_equal(batch["text"][position, source].numpy(), vector)


def test_the_training_images_are_learnt(smoke_line: SmokeLine, tmp_path: Path) -> None:
    overrides = {
        "training.epochs": 60, "training.evaluate_every_epochs": 60, "training.checkpoint_every_epochs": 60,
        "training.views.pad": 0, "training.views.flip": False, "training.optimizer.learning_rate": 0.02,
        "student.width": 16, "losses.text": None, "losses.image": None,
    }  # fmt: skip
    history = [progress.metrics for progress in train(smoke_line.job(tmp_path / "job", overrides))]
    assert history[-1]["train/loss"] < 0.5 * history[0]["train/loss"]
    assert history[-1]["train/accuracy"] > 0.9
    assert "select/all" in history[-1]
    assert "select/all" not in history[0]
