"""Ray Data makes the batches of a training on any node of the cluster and streams them to its workers, in order.

What is streamed are places and rows, which the data seed determines; each batch is made of them by the product's own
batch maker in an actor, with the same bits as in the worker itself. So the order of the data, views and a resume are
what they are without it. Reads shards and teacher rows where they lie: on storage that all nodes share.
"""

import itertools
from collections.abc import Generator, Iterable, Sequence
from io import BytesIO
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import ray.data
import torch

from orchestrator.errors import OrchestratorError
from orchestrator.training import mapped_arrays as mapped_arrays  # arrays then travel by the names of their files
from orchestrator.training.batches import BatchMaker
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.loaders import Share
from orchestrator.training.order import Indices, Place

BATCHES_OF_A_DATASET, BATCHES_OF_A_BLOCK = 1024, 4


def batches_by_ray_data(
    share: Share, make: BatchMaker, settings: InputSettings, *, pin: bool = False
) -> Generator[tuple[Place, Indices, dict[str, torch.Tensor]], None, None]:
    """See `orchestrator.training.loaders.batches_of`; made by `num_loaders` actors of one CPU each, wherever they fit.

    Raises:
        OrchestratorError: what making a batch raised, in whatever process.
    """
    maker = _packed(make)
    for places in _parts(share, BATCHES_OF_A_DATASET):
        made = _dataset(places, maker, settings).iter_rows()
        for (place, rows), row in zip(places, made, strict=True):
            batch = row["batch"]
            if isinstance(batch, OrchestratorError):
                raise batch
            yield place, rows, {name: tensor.pin_memory() for name, tensor in batch.items()} if pin else batch


def _dataset(places: Sequence[tuple[Place, Indices]], maker: bytes, settings: InputSettings) -> "ray.data.Dataset":
    items = [
        {"place": [place.pass_index, place.index, place.share], "rows": np.asarray(rows, np.int64).tobytes()}
        for place, rows in places
    ]
    blocks = -(-len(items) // BATCHES_OF_A_BLOCK)
    dataset = ray.data.from_items(items, override_num_blocks=blocks)
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    return dataset.map(
        _Make,
        fn_constructor_args=(maker, torch.get_num_threads()),
        compute=ray.data.ActorPoolStrategy(size=max(1, settings.num_loaders)),
        num_cpus=1,
    )


class _Make:
    """A row of place and rows -> a row with the batch."""

    def __init__(self, maker: bytes, num_threads: int) -> None:
        torch.set_num_threads(num_threads)  # as the training's: they may change the last bits of a sum
        self._make: BatchMaker = ForkingPickler.loads(maker)  # of `_packed`, by Ray from our own worker

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        place, rows = Place(*(int(number) for number in row["place"])), np.frombuffer(row["rows"], np.int64)
        try:
            return {"batch": self._make(rows, place)}
        except OrchestratorError as error:
            return {"batch": error}


def _packed(make: BatchMaker) -> bytes:
    """The maker for other processes: memory-mapped arrays by their files' names."""
    buffer = BytesIO()
    ForkingPickler(buffer, 5).dump(make)
    return buffer.getvalue()


def _parts(share: Share, size: int) -> Iterable[list[tuple[Place, Indices]]]:
    left = iter(share)
    while part := list(itertools.islice(left, size)):
        yield part
