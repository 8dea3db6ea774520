"""The training loop against a bare torch loop: same student, same batches in memory, steps interleaved, medians.

Prints images/s of both and their ratio. The bare loop does forward, backward and step on tensors that are ready; ours
also reads memory-mapped pixels, draws views, joins the teacher's rows, checks the loss and adapts the learning rate.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from orchestrator.losses import LogitAdjustedCrossEntropySettings, TextContrastiveSettings
from orchestrator.students import AdaptorSettings, TimmStudentSettings
from orchestrator.training.assembly import build_model
from orchestrator.training.data import SplitData, TeacherData
from orchestrator.training.draws import image_keys
from orchestrator.training.loop import Trainer
from orchestrator.training.model import IMAGE
from orchestrator.training.order import Place
from orchestrator.training.run import TrainingJob
from orchestrator.training.settings import TrainingSettings

NUM_IMAGES, NUM_CLASSES, TEXT_DIM, STEPS, WARMUP = 2048, 48, 128, 60, 5


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, NUM_CLASSES, NUM_IMAGES).astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.npy"
        np.save(path, generator.integers(0, 256, (NUM_IMAGES, 64, 64, 3), dtype=np.uint8))
        pixels = np.load(path, mmap_mode="r")
        ids = [f"image {index}" for index in range(NUM_IMAGES)]
        vectors = generator.standard_normal((NUM_IMAGES, TEXT_DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        teacher = TeacherData(vectors, np.arange(NUM_IMAGES, dtype=np.int64)[:, None], None, None, 0.0)
        settings = TrainingSettings(epochs=100, batch_size=64)
        job = TrainingJob(
            run_key="benchmark",
            folder=folder,
            shards=folder,
            embeddings=folder,
            parents={},
            num_classes=NUM_CLASSES,
            image_size=64,
            text_sources=("caption",),
            student=TimmStudentSettings(name="test_byobnet"),
            adaptor=AdaptorSettings(),
            losses={"classification": LogitAdjustedCrossEntropySettings(), "text": TextContrastiveSettings()},
            training=settings,
        )
        counts = tuple(np.bincount(labels, minlength=NUM_CLASSES).tolist())
        models = [build_model(job, counts, teacher.dims) for _ in range(2)]
        split = SplitData(pixels, labels, ids, image_keys(ids))
        trainer = Trainer(models[0], settings, split, teacher, device=torch.device("cpu"))
        bare = torch.optim.AdamW(models[1].parameters(), lr=1e-3)
        rows = np.arange(64)
        ready = trainer.make_batch(rows, Place(0, 0))
        ready[IMAGE] = ready[IMAGE].contiguous(memory_format=torch.channels_last)
        ours, theirs = [], []
        for step in range(STEPS + WARMUP):
            rows = generator.permutation(NUM_IMAGES)[:64]
            started = time.perf_counter()
            trainer.step(trainer.make_batch(rows, Place(step, 0)), rows)
            between = time.perf_counter()
            total, _ = models[1](ready)
            bare.zero_grad(set_to_none=True)
            total.backward()
            bare.step()
            ended = time.perf_counter()
            if step >= WARMUP:
                ours.append(between - started)
                theirs.append(ended - between)
    speed, bare_speed = 64 / statistics.median(ours), 64 / statistics.median(theirs)
    print(f"orchestrator loop {speed:.0f} images/s, bare torch loop {bare_speed:.0f} images/s")
    print(f"ratio {speed / bare_speed:.3f} (median of {STEPS} interleaved steps, one thread)")


if __name__ == "__main__":
    main()
