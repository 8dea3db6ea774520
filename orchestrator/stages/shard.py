"""Stage `shard`: the images as memory-mapped pixels at the student's size, so that no trial decodes anything.

Reads the index and the images; writes `{split}.npy` [N, S, S, 3] uint8 and `{split}.parquet`.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from orchestrator.artifacts.storage import write_atomically, write_table
from orchestrator.datasets.framing import Framing, square
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.stages import index
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.vocabulary import SPLITS

NUM_THREADS = 4
CHUNK = 512


def plan(context: Context, parent: Plan) -> Plan:
    """The shards depend on the index and the image size."""
    settings = {"image_size": context.experiment.stored_size, "framing": context.experiment.framing}
    return Plan("shard", context.folder / "shards", settings, {"index": parent.fingerprint}, is_view=True)


def make(context: Context, parent: Plan) -> Plan:
    """Make or reuse the shards."""
    planned = plan(context, parent)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        data = index.load(context)
        counts = {}
        with (
            context.feedback.bar("shard", data.images.num_rows, "images") as advance,
            ThreadPoolExecutor(NUM_THREADS) as threads,
        ):
            done = 0
            for split in SPLITS:
                images = data.images.filter(pc.equal(data.images["split"], split))
                rows = images.to_pylist()
                counts[split] = len(rows)

                def write(temporary: Path, rows: list[dict[str, Any]] = rows) -> None:
                    nonlocal done
                    side, framing = context.experiment.stored_size, context.experiment.framing
                    shape = (len(rows), side, side, 3)
                    if not rows:
                        with temporary.open("wb") as stream:
                            np.save(stream, np.zeros(shape, np.uint8))
                        return
                    pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
                    for start in range(0, len(rows), CHUNK):
                        part = rows[start : start + CHUNK]
                        for offset, image in enumerate(threads.map(lambda row: fit(row, side, framing), part)):
                            pixels[start + offset] = image
                        done += len(part)
                        advance(done)
                    pixels.flush()

                write_atomically(folder / f"{split}.npy", write)
                write_table(folder / f"{split}.parquet", images.select(["image_id", "label"]))
        return counts, {}

    context.make(planned, build)
    return planned


def fit(row: Mapping[str, Any], side: int, framing: Framing) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """One image as [side, side, 3] uint8: see `square`."""
    return square(decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"])), side, framing)
