"""Random reads of a hot copy against a bare `numpy.memmap` of the same rows: batches of 256, interleaved, medians.

Prints rows/s of both and their ratio, and for context what the alternatives would be: the store's Parquet files read
once into memory, and its rows read by key. 512-d float16 rows, in the page cache, as training has them from its second
epoch on. The bare memmap is a plain file with nothing known of keys, stores or verification.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.artifacts.hot_copy import HotCopy
from orchestrator.artifacts.ledger import CommitRecord
from orchestrator.artifacts.store_arrays import read_rows, to_column
from orchestrator.artifacts.teacher_store import KEY, TeacherStore, row_key

NUM_ROWS, DIM, PART, BATCH, ROUNDS, WARMUP = 262_144, 512, 8192, 256, 400, 20


def seconds_of(call: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    generator = np.random.default_rng(0)
    keys = [row_key(kind="benchmark", row=row) for row in range(NUM_ROWS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = TeacherStore(folder / "store")
        bare = np.memmap(folder / "bare", np.float16, "w+", shape=(NUM_ROWS, DIM))
        for start in range(0, NUM_ROWS, PART):
            rows = generator.standard_normal((PART, DIM)).astype(np.float16)
            bare[start : start + PART] = rows
            table = pa.table({KEY: keys[start : start + PART], "embedding": to_column(rows)})
            store.commit(table, CommitRecord(id=str(start), run="benchmark"))
        bare.flush()
        build_s = seconds_of(lambda: HotCopy.build(store, keys, "embedding", folder / "hot", "float16"))
        bare = np.memmap(folder / "bare", np.float16, "r", shape=(NUM_ROWS, DIM))
        copy = HotCopy.open(folder / "hot")
        assert np.array_equal(copy.array, bare)
        ours, theirs = [], []
        for step in range(ROUNDS + WARMUP):
            chosen = generator.integers(0, NUM_ROWS, BATCH)
            # Each gets fresh rows first in turn, so that neither warms the other's cache lines.
            order = [(ours, copy.rows), (theirs, bare.__getitem__)]
            for times, read in order if step % 2 else reversed(order):
                taken = seconds_of(lambda read=read, chosen=chosen: read(chosen))  # type: ignore[misc]
                if step >= WARMUP:
                    times.append(taken)
        speed, bare_speed = BATCH / statistics.median(ours), BATCH / statistics.median(theirs)
        print(f"hot copy {speed:,.0f} rows/s, bare numpy.memmap {bare_speed:,.0f} rows/s")
        print(
            f"ratio {speed / bare_speed:.3f} (median of {ROUNDS} interleaved batches of {BATCH} of {NUM_ROWS:,} rows)"
        )
        print(f"built from {len(store.files())} Parquet files in {build_s:.1f} s, {NUM_ROWS / build_s:,.0f} rows/s")
        once_s = seconds_of(lambda: read_rows(store, keys, "embedding"))
        memory_mib = NUM_ROWS * DIM * 2 / 2**20
        print(f"for context: Parquet once into memory {once_s:.1f} s and {memory_mib:.0f} MiB in every worker")
        chosen_keys = [keys[row] for row in generator.integers(0, NUM_ROWS, BATCH)]
        by_key_s = seconds_of(lambda: store.read(chosen_keys, ["embedding"]))
        print(f"for context: {BATCH} rows by key from the store {by_key_s:.2f} s, {BATCH / by_key_s:,.0f} rows/s")


if __name__ == "__main__":
    main()
