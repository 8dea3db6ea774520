"""Images per second of one core that makes batches: several kinds of views, with and without teacher rows, decoding.

Prints images per second of processor time (so that other jobs on the machine count less), median and best over batches
of 64; and how long a first and a second loader process take until their first batch.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from orchestrator.datasets.framing import square
from orchestrator.datasets.index import decode_rgb
from orchestrator.teachers.encoder import FEATURE, LOGITS
from orchestrator.training.batches import BatchMaker
from orchestrator.training.data import SplitData, TeacherData
from orchestrator.training.draws import image_keys
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.loaders import batches_of
from orchestrator.training.order import Order
from orchestrator.training.settings import TrainingSettings

NUM_IMAGES, NUM_CLASSES, WIDTH, BATCH, STEPS = 1024, 1000, 512, 64, 24
VIEWS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "shift, 64 px": (64, 64, {}),
    "randcls, 64 px": (64, 64, {"recipe": "randcls"}),
    "ood_resnet, 224 px of 256": (256, 224, {"recipe": "ood_resnet"}),
}


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    for name, (stored, side, views) in VIEWS.items():
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingSettings.model_validate({"batch_size": BATCH, "views": views})
            images = split_of(Path(folder), stored)
            for teacher, told in ((None, ""), (teacher_of(), ", with logits, features and a text")):
                make = BatchMaker(images, teacher, settings, NUM_CLASSES, side)
                batches = iter([at for epoch in range(3) for at in Order(images.labels, BATCH, 0).batches(epoch)])
                tell(f"{name}{told}", lambda make=make, batches=batches: made(make, *next(batches)))
    tell("decode a 500 x 375 JPEG and frame it at 256 px", decoding())
    with tempfile.TemporaryDirectory() as folder:
        images = split_of(Path(folder), 64)
        make = BatchMaker(images, None, TrainingSettings(), NUM_CLASSES, 64)
        for which in ("first", "second"):
            started = time.perf_counter()
            batches = batches_of(Order(images.labels, BATCH, 0).batches(0), make, InputSettings(num_loaders=1))
            next(batches)
            print(f"{which} start of a loader: {time.perf_counter() - started:.2f} s until its first batch", flush=True)
            batches.close()


def made(make: BatchMaker, place: Any, rows: Any) -> int:
    """Make one batch; how many images it has."""
    return len(make(rows, place)["label"])


def tell(name: str, work: Callable[[], int]) -> None:
    """Print images per second of processor time of repeated work."""
    rates = []
    for _ in range(STEPS):
        started = time.process_time()
        count = work()
        rates.append(count / (time.process_time() - started))
    print(f"{name}: {statistics.median(rates):,.0f} images/s (best {max(rates):,.0f})", flush=True)


def split_of(folder: Path, side: int) -> SplitData:
    """Memory-mapped pixels of noise."""
    generator = np.random.default_rng(0)
    pixels = np.lib.format.open_memmap(folder / f"{side}.npy", "w+", np.uint8, (NUM_IMAGES, side, side, 3))
    for row in range(NUM_IMAGES):
        pixels[row] = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels.flush()
    ids = [f"image {row}" for row in range(NUM_IMAGES)]
    labels = generator.integers(0, NUM_CLASSES, NUM_IMAGES).astype(np.int64)
    return SplitData(partial(np.load, folder / f"{side}.npy", mmap_mode="r"), labels, ids, image_keys(ids))


def teacher_of() -> TeacherData:
    """Kept rows of logits, features and one text for each image."""
    generator = np.random.default_rng(1)
    text, logits, features = (
        generator.standard_normal((NUM_IMAGES, width)).astype(np.float32) for width in (WIDTH, NUM_CLASSES, WIDTH)
    )
    outputs = {LOGITS: logits, FEATURE: features}
    ids = np.arange(NUM_IMAGES, dtype=np.int64)[:, None]
    return TeacherData(text, ids, None, None, 0.0, image_outputs=outputs, num_classes=NUM_CLASSES)


def decoding() -> Callable[[], int]:
    """What an execution with encoded images does besides."""
    smooth = np.random.default_rng(2).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(smooth).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()

    def work() -> int:
        for _ in range(8):
            square(decode_rgb(data), 256)
        return 8

    return work


if __name__ == "__main__":
    main()
