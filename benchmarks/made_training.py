"""Trainings of the product on made data: random pixels and teacher rows in memory-mapped files.

Writes those files into a folder that it is given. What is random teaches nothing and takes the time of real data.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.losses import LossSettings
from orchestrator.students import AdaptorSettings, TimmStudentSettings
from orchestrator.teachers.encoder import LOGITS
from orchestrator.training.assembly import build_model
from orchestrator.training.data import SplitData, TeacherData
from orchestrator.training.draws import image_keys
from orchestrator.training.loop import Trainer
from orchestrator.training.order import Place
from orchestrator.training.parallel import join
from orchestrator.training.run import TrainingJob
from orchestrator.training.settings import TrainingSettings

TEXT_DIM = 512
FEATURE_DIM = 512  # of the image teacher: a ResNet-34's


class MadeData:
    """`count` images of `side` pixels with labels, a text and an image teacher's rows each.

    Args:
        folder: where the files go.
        teacher_logits: [N, C] float32 class logits of an image teacher; None: random ones.
        pixels: [N, S, S, 3] uint8; None: random ones.
    """

    def __init__(
        self,
        folder: Path,
        *,
        count: int = 2048,
        side: int = 64,
        num_classes: int = 200,
        pixels: npt.NDArray[np.uint8] | None = None,
        teacher_logits: npt.NDArray[np.float32] | None = None,
    ) -> None:
        drawn = np.random.default_rng(0)
        self.folder, self.num_classes, self.side = folder, num_classes, side
        if pixels is None:
            pixels = drawn.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        self.labels = drawn.integers(0, num_classes, len(pixels)).astype(np.int64)
        ids = [f"image {number}" for number in range(len(pixels))]
        self.images = SplitData(partial(np.asarray, self._kept("pixels", pixels)), self.labels, ids, image_keys(ids))
        if teacher_logits is None:
            teacher_logits = drawn.standard_normal((len(pixels), num_classes), np.float32)
        self.teacher = TeacherData(
            text_vectors=self._kept("texts", _unit(drawn, len(pixels), TEXT_DIM)),
            text_ids=np.arange(len(pixels), dtype=np.int64)[:, None],
            image_vectors=self._kept("embedding", _unit(drawn, len(pixels), FEATURE_DIM)),
            class_vectors=None,
            logit_scale=0.0,
            image_outputs={LOGITS: self._kept("logits", teacher_logits)},
            num_classes=num_classes,
        )

    def _kept(self, name: str, array: npt.NDArray[Any]) -> Any:
        """The array as training reads it: mapped from a file."""
        path = self.folder / f"{name}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    def job(
        self,
        student: str | TimmStudentSettings,
        losses: Mapping[str, LossSettings],
        training: TrainingSettings,
        adaptor: AdaptorSettings,
    ) -> TrainingJob:
        """A job of these losses; its artifacts' folders are not read here."""
        folder = str(self.folder)
        return TrainingJob(
            run_key="benchmark", folder=folder, shards=folder, embeddings=folder, parents={},
            num_classes=self.num_classes, image_size=self.side, text_sources=("caption",),
            student=TimmStudentSettings(name=student) if isinstance(student, str) else student, adaptor=adaptor,
            losses=dict(losses), training=training,
        )  # fmt: skip

    def trainer(
        self,
        student: str | TimmStudentSettings,
        losses: Mapping[str, LossSettings],
        training: TrainingSettings,
        *,
        adaptor: AdaptorSettings = AdaptorSettings(),  # noqa: B008 - frozen
        parallel: bool = False,
    ) -> Trainer:
        """The product's loop over these images, with the teacher's rows that the losses read and no others.

        Args:
            parallel: this process is one of several in a torch process group.
        """
        job = self.job(student, losses, training, adaptor)
        counts = tuple(np.bincount(self.labels, minlength=self.num_classes).tolist())
        model = build_model(job, counts, self.teacher.dims, num_images=len(self.labels)).train()
        reads = model.objective.required_inputs()
        teacher: TeacherData | None = self.teacher.only(reads)
        if not any(name.startswith("teacher") for name in reads):
            teacher = self.teacher.texts_only() if "text" in reads else None
        device = torch.device("cpu")
        return Trainer(
            model, training, self.images, teacher, device=device, num_classes=self.num_classes,
            parallel=join(model, device) if parallel else None,
        )  # fmt: skip

    def rows(self, number: int, batch: int) -> npt.NDArray[np.int64]:
        """The images of step `number`: the same for every side."""
        return np.random.default_rng(number).permutation(len(self.labels))[:batch].astype(np.int64)


def product_step(trainer: Trainer, data: MadeData, number: int) -> dict[str, torch.Tensor]:
    """A batch and a step with it: all that the product does for it but the loop's own addition of the parts."""
    rows = data.rows(number, trainer.settings.batch_size)
    return trainer.step(trainer.make_batch(rows, Place(number, 0)), rows)


def _unit(drawn: np.random.Generator, count: int, width: int) -> npt.NDArray[np.float32]:
    vectors = drawn.standard_normal((count, width), np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
