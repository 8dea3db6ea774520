"""A pack: several trainings in one process, each as if it were alone, on batches that are made once for all.

Of its members those that stand at the lowest epoch are trained together: each image is read, decoded and drawn once,
the teacher's rows are fetched once, and each member steps on the batch in turn. Members whose batches cannot be the
same ones (other images, views, seeds of the data, batch sizes) take turns by epochs instead. A member writes what
`train` writes, and ends in the same bits. Reads and writes what its members do. Knows nothing of Ray.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.errors import OrchestratorError, Stopped
from orchestrator.training.loop import Progress
from orchestrator.training.member import Member, threads
from orchestrator.training.notice import Notice, Wish, settled, undisturbed
from orchestrator.training.run import TrainingJob
from orchestrator.training.stream import Key, Stream, drawn_by

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What a pack tells of a member.

    Attributes:
        progress: of the epoch that has ended; None: it ended with an error.
        finished: that was its last epoch; its student is on disk, and it has left.
        error: what ended it, in words; it has left.
    """

    run_key: str
    progress: Progress | None
    finished: bool = False
    error: str = ""


class Pack:
    """See the module. A context: all members are kept on disk when it is left.

    Args:
        notice: asked before each batch whether the process will soon be taken away.
        settle: see `Course`.
    """

    def __init__(self, notice: Notice = undisturbed, settle: Callable[[], None] = settled) -> None:
        self._notice, self._wish, self._settle = notice, Wish.GO_ON, settle
        self._members: dict[str, Member] = {}
        self._streams: dict[Key, Stream] = {}
        self._waiting: list[Told] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def run_keys(self) -> tuple[str, ...]:
        """Of the members."""
        return tuple(self._members)

    def join(self, job: TrainingJob, start: Path | None = None) -> None:
        """Take a training in; it goes on from its newest checkpoint.

        Args:
            job: one worker's, of a run key that no member has.
            start: a checkpoint of another training of the same student, `step-*.pt`, which it begins with: weights,
                moments and epoch are taken over, its own settings hold. Joined again with the same one, it goes on
                from its own checkpoints.

        Raises:
            OrchestratorError: this training cannot be; the others are as they were.
        """
        assert job.run_key not in self._members, f"{job.run_key} is in the pack already"
        member = Member(job, start, lambda: self._wish, self._settle)
        if member.ended is None:
            self._members[job.run_key] = member
        else:
            self._waiting.append(Told(job.run_key, member.ended, finished=True))
            member.close()

    def leave(self, run_key: str) -> None:
        """Let a member go; its state is in a checkpoint, from which it goes on when it joins again."""
        member = self._members.pop(run_key, None)
        self._waiting = [told for told in self._waiting if told.run_key != run_key]
        if member is not None:
            if not member.is_under_way:
                member.keep()
            member.close()
            self._close_idle_streams()

    def epoch(self, run_key: str) -> int:
        """How many epochs of a training are behind it; of one that had ended before it joined, all."""
        if run_key in self._members:
            return self._members[run_key].course.epoch
        return next(told.progress.epoch for told in self._waiting if told.run_key == run_key and told.progress)

    def keep(self, run_key: str) -> Path:
        """The checkpoint of a member's state after its last epoch, on disk; a `start` for others."""
        return self._members[run_key].keep()

    def step_epoch(self) -> list[Told]:
        """Train those at the lowest epoch for one; tell of each what came of it.

        Raises:
            Stopped: the notice said so; the state of all is in checkpoints.
        """
        if self._waiting:
            told, self._waiting = self._waiting, []
            return told
        if self._wish is Wish.STOP:
            self._stop()
        lowest = min((member.course.epoch for member in self._members.values()), default=0)
        groups: dict[Key, list[Member]] = {}
        for member in self._members.values():
            if member.course.epoch == lowest:
                groups.setdefault(member.images_key, []).append(member)
        told = [one for key, group in groups.items() for one in self._train(key, group)]
        self._close_idle_streams()
        return told

    def close(self) -> None:
        """Let all members go."""
        for run_key in self.run_keys:
            self.leave(run_key)

    def _train(self, key: Key, group: "Sequence[Member]") -> list[Told]:
        """One epoch of members that share a stream."""
        told: list[Told] = []
        active = list(group)
        for member in group:
            member.begin_epoch()
        with threads(group[0].num_threads):
            batches = self._stream(key, group).epoch()
            while active:
                try:
                    at = next(batches, None)
                except OrchestratorError as error:  # each of them would have met it alone
                    told += [self._ended(member, error) for member in active]
                    break
                if at is None:
                    break
                place, rows, parts = at
                self._wish = self._wish if self._wish is Wish.STOP else self._notice()
                stops = False
                for member in [one for one in active if place.index >= one.first_batch]:
                    batch = parts[member.teacher_key]
                    try:
                        member.step((place, rows, {name: batch[name] for name in member.reads if name in batch}))
                    except Stopped:
                        stops = True
                    except Exception as error:
                        told.append(self._ended(member, error))
                        active.remove(member)
                if stops:
                    self._stop()
            for member in active:
                try:
                    told.append(self._told(member, member.end_epoch()))
                except Exception as error:
                    told.append(self._ended(member, error))
        return told

    def _stream(self, key: Key, group: "Sequence[Member]") -> Stream:
        made, found = [member.made for member in group], self._streams.get(key)
        if found is not None and found.fits(made):
            return found
        if found is not None:
            found.close()
        self._streams[key] = Stream(made)
        return self._streams[key]

    def _told(self, member: "Member", progress: Progress) -> Told:
        is_over = member.course.is_over
        if is_over:
            self._members.pop(member.run_key)
            member.close()
        return Told(member.run_key, progress, finished=is_over)

    def _ended(self, member: "Member", error: Exception) -> Told:
        self._members.pop(member.run_key)
        with suppress(Exception):  # it has ended already, and there is one reason to tell
            member.close()
        return _with_error(member.run_key, error)

    def _stop(self) -> None:
        steps = [member.course.trainer.step_index for member in self._members.values()]
        self.close()
        raise Stopped(max(steps, default=0))

    def _close_idle_streams(self) -> None:
        wanted = {member.images_key for member in self._members.values()}
        for key in [key for key in self._streams if key not in wanted]:
            self._streams.pop(key).close()


def _with_error(run_key: str, error: Exception) -> Told:
    if isinstance(error, OrchestratorError):
        return Told(run_key, None, error=str(error))
    _log.error("%s ended with an error of its own", run_key, exc_info=error)
    return Told(run_key, None, error=f"{type(error).__name__}: {error}")


def packs_of(jobs: Sequence[TrainingJob], most: int) -> list[list[int]]:
    """The places of jobs that are to be trained together: those that draw the same images, evenly, `most` at a time."""
    alike: dict[str, list[int]] = {}
    for place, job in enumerate(jobs):
        alike.setdefault(drawn_by(job), []).append(place)
    packs = []
    for places in alike.values():
        count = -(-len(places) // most)
        packs += [places[len(places) * part // count : len(places) * (part + 1) // count] for part in range(count)]
    return packs


def train_together(
    jobs: Sequence[TrainingJob], notice: Notice = undisturbed, settle: Callable[[], None] = settled
) -> Iterator[Told]:
    """Train all of these to their ends; tells each epoch of each.

    Raises:
        Stopped: the notice said so; the state of all is in checkpoints.
    """
    with Pack(notice, settle) as pack:
        for job in jobs:
            try:
                pack.join(job)
            except Exception as error:
                yield _with_error(job.run_key, error)
        while told := pack.step_epoch():
            yield from told
