"""Trainings in processes of their own that take turns, a few steps at a time, so that ratios survive a busy machine.

Holds the worker's side, which waits for its turn, trains some steps and tells their seconds, and the driver's, which
gives the turns. They meet in a folder of small files. Knows nothing of who starts the workers.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from benchmarks.made_training import MadeData
from benchmarks.pairs import WARMUP, Times, timed
from orchestrator import distributed
from orchestrator.losses import LogitAdjustedCrossEntropySettings, TextContrastiveSettings
from orchestrator.training.loop import Trainer
from orchestrator.training.settings import TrainingSettings

POLL_S, STOP = 0.002, "stop"
LOSSES = {"classification": LogitAdjustedCrossEntropySettings(), "text": TextContrastiveSettings()}


def serve(folder: Path, name: str, student: str, batch: int, steps_per_turn: int) -> None:
    """A worker: trains `steps_per_turn` steps whenever it is `name`'s turn, until there are no more."""
    own = folder / f"{name}-{distributed.rank()}"
    own.mkdir(parents=True)
    settings = TrainingSettings(epochs=1000, batch_size=batch)
    data = MadeData(own)
    trainer = data.trainer(student, LOSSES, settings, parallel=distributed.world_size() > 1)
    steps = endless_steps(trainer)
    number = 0
    (own / "ready").touch()
    while _awaited(folder, f"{name}-turn-{number}"):
        wall, busy = timed(lambda: [next(steps) for _ in range(steps_per_turn)])
        if distributed.rank() == 0:
            _write(folder / f"{name}-done-{number}", [wall, busy])
        number += 1


def endless_steps(trainer: Trainer) -> Iterator[float]:
    """The product's steps one by one, as an epoch makes them: this worker's share of each global batch."""
    epoch = 0
    while True:
        share = trainer.order.batches(epoch, rank=distributed.rank(), num_workers=distributed.world_size())
        for place, rows in share:
            yield float(trainer.step(trainer.make_batch(rows, place), rows)["loss"])
        epoch += 1


def give_turns(
    folder: Path, names: list[str], num_workers: dict[str, int], seconds: float, alive: Callable[[], None]
) -> Times:
    """Turns in alternating order until each name has had `seconds`; (wall, processor) seconds of each turn.

    Args:
        alive: raises where a worker has ended, so that nobody waits for it.
    """
    for name in names:
        for rank in range(num_workers[name]):
            while not (folder / f"{name}-{rank}" / "ready").is_file():
                alive()
                time.sleep(POLL_S)
    times: Times = {name: [] for name in names}
    order, number = list(names), 0
    while number < WARMUP + 2 or min(sum(wall for wall, _ in rows[WARMUP:]) for rows in times.values()) < seconds:
        for name in order:
            _write(folder / f"{name}-turn-{number}", [])
            done = folder / f"{name}-done-{number}"
            while not done.is_file():
                alive()
                time.sleep(POLL_S)
            wall, busy = json.loads(done.read_text())
            times[name].append((wall, busy))
        order.reverse()
        number += 1
    (folder / STOP).touch()
    return {name: rows[WARMUP:] for name, rows in times.items()}


@contextmanager
def in_group(folder: Path, rank: int, num_workers: int) -> Iterator[None]:
    """As one of several gloo workers on this machine; they leave together, because gloo aborts where a peer is gone."""
    if num_workers == 1:
        yield
        return
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=num_workers)
    yield
    dist.barrier()
    dist.destroy_process_group()


def _awaited(folder: Path, name: str) -> bool:
    """Wait for the file; False when there are no more turns."""
    while not (folder / name).is_file():
        if (folder / STOP).is_file():
            return False
        time.sleep(POLL_S)
    return True


def _write(path: Path, content: list[float]) -> None:
    """In one piece: a reader sees all of it or nothing."""
    staged = path.with_suffix(".staged")
    staged.write_text(json.dumps(content))
    staged.rename(path)
