"""Batches made ahead of the training by processes of their own, in the order of the training.

torch's DataLoader hands places and rows to the processes and gives their batches back in order. A batch is a function
of its rows and its place (see batches.py), so it has the same bits whatever process makes it, and nothing of a process
need be kept for a resume. Reads and writes nothing itself. Knows nothing of models.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from orchestrator.errors import DataError, OrchestratorError
from orchestrator.training import mapped_arrays as mapped_arrays  # arrays then travel by the names of their files
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.order import Indices, Place

Batch = TypeVar("Batch")  # of one training, or of several that share a stream
Share = Iterable[tuple[Place, Indices]]


class _Batches(Dataset[Batch | OrchestratorError], Generic[Batch]):
    """Place and rows -> their batch; an error of the user's is given back, because raising it would lose its words."""

    def __init__(self, make: Callable[[Indices, Place], Batch]) -> None:
        self._make = make

    def __getitem__(self, at: tuple[Place, Indices]) -> Batch | OrchestratorError:
        place, rows = at
        try:
            return self._make(rows, place)
        except OrchestratorError as error:
            return error


class _Told:
    """A share that remembers what it has told, because a DataLoader gives back the batches alone."""

    def __init__(self, share: Share) -> None:
        self._share, self.waiting = share, list[tuple[Place, Indices]]()

    def __iter__(self) -> Iterator[tuple[Place, Indices]]:
        for at in self._share:
            self.waiting.append(at)
            yield at


def batches_of(
    share: Share, make: Callable[[Indices, Place], Batch], settings: InputSettings, *, pin: bool = False
) -> Generator[tuple[Place, Indices, Batch], None, None]:
    """The batches of these places and rows, in their order, on the CPU; made ahead by `num_loaders` processes.

    The processes end with the iterator, and with this process however it ends. The share is read ahead too.

    Args:
        make: a `BatchMaker`, or a `SharedMaker`.
        pin: put the batches into page-locked memory, from which a GPU copies on its own.

    Raises:
        OrchestratorError: what making a batch raised, in whatever process.
        DataError: a process was killed.
    """
    told, count = _Told(share), settings.num_loaders
    loader: DataLoader[Any] = DataLoader(
        _Batches(make),
        sampler=told,
        batch_size=None,
        num_workers=count,
        prefetch_factor=settings.batches_ahead if count else None,
        # Forked from a server process that has loaded torch and started no thread: the training process has threads
        # (torch's, Ray's), which a fork of itself would not survive, and a fresh process would load torch again.
        multiprocessing_context=_fork_server() if count else None,
        worker_init_fn=_Begin(torch.get_num_threads()),
        collate_fn=_as_it_is,
        pin_memory=pin,
        generator=torch.Generator(),  # its seeds are not used, and the training's own generator is left alone
    )
    try:
        for batch in loader:
            if isinstance(batch, OrchestratorError):
                raise batch
            place, rows = told.waiting.pop(0)
            yield place, rows, batch
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a loader process ended: {(str(error) or type(error).__name__).splitlines()[0]}",
            remedy="the same command resumes; where memory ran out, lower execution.input.num_loaders or batches_ahead",
        ) from error


class _Begin:
    """What a loader process does first.

    Args:
        num_threads: of torch; as many as the training has, because they may change the last bits of a sum.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads

    def __call__(self, number: int) -> None:
        torch.set_num_threads(self._num_threads)
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that wanted it is gone.

    torch's own watch looks at the parent's id, which is here that of the fork server, and that lives as long as any
    loader does: killed trainings left their loaders behind.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def start_fork_server(settings: InputSettings) -> None:
    """Start, without waiting for it, what the loader processes are forked from, where there are to be any."""
    if settings.num_loaders:
        _fork_server()
        forkserver.ensure_running()


def _fork_server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["orchestrator.training.loaders", "orchestrator.training.batches"])
    return context


def _as_it_is(batch: Any) -> Any:
    return batch
