"""A worker that tells where it runs: which process, which GPU, with what resources, on which rows.

Imported by Ray's actors. Waits until as many processes are at work as the pool has actors, so that all are seen.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from orchestrator.executors.protocol import TableFunction

PATIENCE_S = 60


@dataclass(frozen=True)
class PlacementWorker:
    """Opens a function that answers each micro-batch with one receipt about itself."""

    folder: str
    num_actors: int

    def fetch(self, rows: pa.Table) -> pa.Table:
        """See `TableWorker`."""
        return rows

    def reads(self) -> tuple[str, ...]:
        """See `TableWorker`."""
        return ()

    def open(self, *, own_process: bool) -> TableFunction:
        """See `TableWorker`."""
        import ray

        runtime = ray.get_runtime_context()
        gpus, resources = runtime.get_accelerator_ids()["GPU"], runtime.get_assigned_resources()
        folder = Path(self.folder)

        def apply(rows: pa.Table) -> pa.Table:
            (folder / str(os.getpid())).touch()
            deadline = time.monotonic() + PATIENCE_S
            while len(list(folder.iterdir())) < self.num_actors and time.monotonic() < deadline:
                time.sleep(0.05)
            receipt = {"pid": os.getpid(), "gpus": gpus, "gpu_share": resources.get("GPU", 0.0)}
            return pa.Table.from_pylist([{**receipt, "rows": rows["row"].to_pylist()}])

        return apply
