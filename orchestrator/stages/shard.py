"""Stage `shard`: the images at the student's size, as memory-mapped pixels or as addresses of what will be decoded.

Reads the index and, where pixels are kept, the images; writes `{split}.parquet` (ids and labels), `{split}.arrow`
(where the images lie) and, where the execution's input is `pixels`, `{split}.npy` [N, S, S, 3] uint8, so that no trial
decodes anything. Both ways give the same bits, so the artifact is one and the same, and pixels are added when wanted.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.storage import write_atomically, write_table
from orchestrator.datasets.framing import Framing, square
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.stages import index
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.training.encoded_pixels import ADDRESS_COLUMNS, FRAMING, SIDE
from orchestrator.vocabulary import SPLITS

NUM_THREADS = 4
CHUNK = 512


def plan(context: Context, parent: Plan) -> Plan:
    """The shards depend on the index and the image size."""
    settings = {"image_size": context.experiment.stored_size, "framing": context.experiment.framing}
    return Plan("shard", context.folder / "shards", settings, {"index": parent.fingerprint}, is_view=True)


def make(context: Context, parent: Plan) -> Plan:
    """Make or reuse the shards, with what this execution's input reads."""
    planned = plan(context, parent)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        return _fill(context, folder), {}

    context.make(planned, build)
    if not all((planned.folder / name).is_file() for name in _wanted(context)):
        _fill(context, planned.folder)  # made for an execution of the other input
    return planned


def _wanted(context: Context) -> list[str]:
    endings = (".parquet", ".arrow", *((".npy",) if context.execution.input.images == "pixels" else ()))
    return [f"{split}{ending}" for split in SPLITS for ending in endings]


def _fill(context: Context, folder: Path) -> Counts:
    """Write what is wanted and not there; images by split."""
    data, wanted = index.load(context).images, _wanted(context)
    of_split = {split: data.filter(pc.equal(data["split"], split)) for split in SPLITS}
    for split, images in of_split.items():
        write_table(folder / f"{split}.parquet", images.select(["image_id", "label"]))
        _write_addresses(folder / f"{split}.arrow", images, context)
    missing = {s: rows for s, rows in of_split.items() if f"{s}.npy" in wanted and not (folder / f"{s}.npy").is_file()}
    if missing:
        _write_pixels(context, folder, missing)
    return {split: images.num_rows for split, images in of_split.items()}


def _write_addresses(path: Path, images: pa.Table, context: Context) -> None:
    metadata = {SIDE: str(context.experiment.stored_size), FRAMING: context.experiment.framing}
    table = images.select(ADDRESS_COLUMNS).replace_schema_metadata(metadata).combine_chunks()

    def write(temporary: Path) -> None:
        with pa.OSFile(str(temporary), "wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)

    write_atomically(path, write)


def _write_pixels(context: Context, folder: Path, of_split: Mapping[str, pa.Table]) -> None:
    side, framing = context.experiment.stored_size, context.experiment.framing
    total, done = sum(images.num_rows for images in of_split.values()), 0
    with context.feedback.bar("shard", total, "images") as advance, ThreadPoolExecutor(NUM_THREADS) as threads:
        for split, images in of_split.items():
            rows = images.to_pylist()

            def write(temporary: Path, rows: list[dict[str, Any]] = rows) -> None:
                nonlocal done
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


def fit(row: Mapping[str, Any], side: int, framing: Framing) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """One image as [side, side, 3] uint8: see `square`."""
    return square(decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"])), side, framing)
