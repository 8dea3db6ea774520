"""Ray Data: a table mapped over a pool of actors, each holding a teacher.

The rows carry addresses of images, not images; the actors commit their own results and only receipts come back, because
Ray Data's own write commits per output file and loses what a crash cuts off. Knows nothing of captions or embeddings.
"""

import os

import pyarrow as pa
import ray
import ray.data

from orchestrator.config.execution import ActorPoolSettings
from orchestrator.executors.protocol import PLACEMENT, OnReceipt, TableWorker


class _Actor:
    """What Ray Data runs: opens the worker once, then applies it to each micro-batch."""

    def __init__(self, worker: TableWorker) -> None:
        self._apply = worker.open()
        context = ray.get_runtime_context()
        devices = context.get_accelerator_ids().get("GPU", [])
        place = f"GPU {','.join(devices)}" if devices else "CPU"
        self._placement = f"{place} of node {context.get_node_id()[:6]}, process {os.getpid()}"

    def __call__(self, batch: pa.Table) -> pa.Table:
        receipt = self._apply(batch)
        return receipt.append_column(PLACEMENT, pa.array([self._placement] * receipt.num_rows))


def map_table(table: pa.Table, worker: TableWorker, pool: ActorPoolSettings, on_receipt: OnReceipt) -> None:
    """Apply `worker` to micro-batches of `pool.batch_size` rows, composed by row order before Ray sees them."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # One block per micro-batch: its composition is fixed by the row order, whatever the pool's size.
    blocks = [
        table.slice(start, pool.batch_size).combine_chunks() for start in range(0, table.num_rows, pool.batch_size)
    ]
    num_actors = min(pool.num_actors, len(blocks))
    receipts = ray.data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(worker,),
        batch_size=pool.batch_size,  # a block's own size; Ray Data insists on a number where there are GPUs
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_cpus=pool.num_cpus_per_actor,
        num_gpus=pool.num_gpus_per_actor or None,
    )
    for receipt in receipts.iter_batches(batch_size=None, batch_format="pyarrow"):
        on_receipt(receipt)
