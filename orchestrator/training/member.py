"""One training of a pack, advanced batch by batch from outside, with random numbers of its own.

Reads and writes what any training does. Knows nothing of the other members.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from orchestrator.training.assembly import assemble
from orchestrator.training.batches import Made
from orchestrator.training.course import Course
from orchestrator.training.loop import Progress
from orchestrator.training.notice import Notice
from orchestrator.training.precision import set_gpu_products
from orchestrator.training.run import TrainingJob
from orchestrator.training.stream import images_key, teacher_key


class Member:
    """One training of a pack.

    Args:
        job: what is trained.
        start: a checkpoint to begin with (see `Pack.join`).
        notice: asked after each step.
        settle: see `Course`.

    Attributes:
        ended: it had ended before it joined: the progress of its last epoch.
        first_batch: of the epoch under way; it stands within one where it resumed from a checkpoint there.
    """

    def __init__(self, job: TrainingJob, start: Path | None, notice: Notice, settle: Callable[[], None]) -> None:
        self.run_key, self._settings, self.num_threads = job.run_key, job.training, job.training.num_threads
        self._random = _random_state()
        self._steps: Generator[None, None, Progress] | None = None
        self._feed = _Feed()
        self.first_batch = 0
        with ExitStack() as opened:
            with threads(self.num_threads), self._own():
                self.made = assemble(job, parallel=False)
                self.course = opened.enter_context(Course(self.made, job.open_checkpoints(start), notice, settle))
                self.ended = self.course.resume(start)
                if self.ended is not None:
                    self.course.finish()
            self._opened = opened.pop_all()
        self.images_key, self.teacher_key = images_key(self.made), teacher_key(self.made)
        self.reads = self.made.supplied

    @contextmanager
    def _own(self) -> Iterator[None]:
        """With the random numbers of this training, and a GPU's products as it wants them."""
        others = _random_state()
        _set_random_state(self._random)
        set_gpu_products(self._settings)
        try:
            yield
        finally:
            self._random = _random_state()
            _set_random_state(others)

    @property
    def is_under_way(self) -> bool:
        """Whether an epoch was begun and not ended: told to stop, it has kept its state; cut off, it cannot."""
        return self._steps is not None

    def begin_epoch(self) -> None:
        """Before the first batch."""
        trainer = self.course.trainer
        self.first_batch = trainer.step_index % trainer.batches_per_epoch
        self._steps = trainer.epoch(self._feed, self.course.saving)

    def step(self, made: Made) -> None:
        """Learn from the next batch."""
        assert self._steps is not None
        self._feed.at = made
        with self._own():
            next(self._steps)

    def end_epoch(self) -> Progress:
        """After the last batch; after the last epoch too, the student is on disk."""
        assert self._steps is not None
        with self._own():
            try:
                next(self._steps)
            except StopIteration as end:
                progress = self.course.after_epoch(end.value)
            else:
                raise AssertionError("an epoch has more batches than its stream")
            self._steps = None
            if self.course.is_over:
                self.course.finish()
        return progress

    def keep(self) -> Path:
        """The checkpoint of the state as it is, on disk."""
        with self._own():
            return self.course.saving.keep()

    def close(self) -> None:
        """Return when what was saved is on disk."""
        self._opened.close()


class _Feed(Iterator[Made]):
    """Gives a training the batch that it has been handed."""

    at: Made

    def __next__(self) -> Made:
        return self.at


def _random_state() -> tuple[torch.Tensor, ...]:
    on_gpu = (torch.cuda.get_rng_state(),) if torch.cuda.is_available() else ()
    return (torch.get_rng_state(), *on_gpu)


def _set_random_state(state: tuple[torch.Tensor, ...]) -> None:
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1])


@contextmanager
def threads(number: int) -> Iterator[None]:
    """With so many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
