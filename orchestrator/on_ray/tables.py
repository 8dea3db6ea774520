"""Ray Data: the micro-batches of a plan mapped over a pool of actors, each holding a teacher.

What flows is numbers of micro-batches, then their rows with the images' compressed bytes; actors decode, compute and
commit, and only receipts come back, because Ray Data's own write commits per output file and loses what a crash cuts
off. The composition of a micro-batch is fixed in the plan, whatever Ray does. Knows nothing of captions or embeddings.
"""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data

from orchestrator.config.execution import ActorPoolSettings
from orchestrator.executors.micro_batches import MicroBatches
from orchestrator.executors.protocol import PLACEMENT, OnReceipt, OnStall, TableWorker
from orchestrator.on_ray.folders import Folders
from orchestrator.on_ray.stall import watch

PATH = "path"  # column of items that are images: the file that they lie in
_MAX_BLOCKS = 4096  # of numbers of micro-batches; more are handed to an actor some at a time


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


class _Reader:
    """A micro-batch's number -> its rows with what the worker fetches, packed.

    Readers of their own are actors as well: of a machine that is gone without a word Ray tells actors after half a
    minute, and the tasks that it ran after seven.
    """

    def __init__(self, plan: Path, worker: TableWorker, folders: Folders) -> None:
        folders.bring_file(plan)
        self._plan, self._worker, self._folders = MicroBatches(plan), worker, folders

    def __call__(self, batch: pa.Table) -> pa.Table:
        (number,) = batch["micro_batch"].to_pylist()
        rows = self._plan[number]
        if PATH in rows.column_names:
            self._folders.bring_artifacts(rows[PATH].unique().to_pylist())
        return pa.table({"rows": pa.array([_packed(self._worker.fetch(rows))], pa.large_binary())})


class _Actor:
    """What Ray Data runs: opens the worker once, then applies it to each micro-batch.

    Args:
        plan: where there are no readers, it reads itself.
    """

    def __init__(self, worker: TableWorker, plan: Path | None, folders: Folders) -> None:
        folders.bring_artifacts(worker.reads())
        self._read = None if plan is None else _Reader(plan, worker, folders)
        self._apply = worker.open(own_process=True)
        context = ray.get_runtime_context()
        devices = context.get_accelerator_ids().get("GPU", [])
        place = f"GPU {','.join(devices)}" if devices else "CPU"
        self._placement = f"{place} of node {context.get_node_id()[:6]}, process {os.getpid()}"

    def __call__(self, batch: pa.Table) -> pa.Table:
        packed = batch if self._read is None else self._read(batch)
        receipt = self._apply(pa.ipc.open_stream(packed["rows"][0].as_py()).read_all())
        return receipt.append_column(PLACEMENT, pa.array([self._placement] * receipt.num_rows))


def map_table(
    plan: Path,
    worker: TableWorker,
    pool: ActorPoolSettings,
    folders: Folders,
    on_receipt: OnReceipt,
    on_stall: OnStall,
) -> None:
    """Apply `worker` to every micro-batch of `plan`; receipts are passed on as they come."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    count = len(MicroBatches(plan))
    num_blocks = min(count, _MAX_BLOCKS)
    # Unlike from_arrow and range, from_items asks the cluster for nothing: no CPU must be free before the pool starts.
    numbers = [{"micro_batch": number} for number in range(count)]
    data = ray.data.from_items(numbers, override_num_blocks=num_blocks)
    options: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
    if pool.num_readers:
        readers = ray.data.ActorPoolStrategy(size=min(pool.num_readers, num_blocks))
        data = data.map_batches(
            _Reader, fn_constructor_args=(plan, worker, folders), num_cpus=0, compute=readers, **options
        )
    num_actors = min(pool.num_actors, num_blocks)
    receipts = data.map_batches(
        _Actor,
        fn_constructor_args=(worker, None if pool.num_readers else plan, folders),
        compute=ray.data.ActorPoolStrategy(
            min_size=num_actors, max_size=max(num_actors, min(pool.max_actors or 0, num_blocks))
        ),
        num_cpus=pool.num_cpus_per_actor,
        num_gpus=pool.num_gpus_per_actor or None,
        **options,
    )
    with watch(pool, on_stall) as seen:
        for receipt in receipts.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            seen()
            on_receipt(receipt)
