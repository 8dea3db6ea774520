"""A stream: the batches of one epoch after another, made once for several trainings that draw the same images.

Reads what its batches are made of. Knows nothing of models, losses or of what is done with a batch.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from orchestrator.training.assembly import Assembled, read_of
from orchestrator.training.batches import SharedMaker
from orchestrator.training.loaders import batches_of
from orchestrator.training.order import Indices, Place
from orchestrator.training.run import TrainingJob

Key = tuple[object, ...]
_UNKNOWN = -1
Parts = dict[Key, dict[str, Tensor]]  # a whole batch for each kind of teacher's rows that members read


def drawn_by(job: TrainingJob) -> str:
    """What a job says of the images it draws, as text: trainings that share a stream say the same."""
    training = job.training.model_dump(
        mode="json",
        include={
            "batch_size", "data_seed", "sampler", "passes_per_epoch", "accumulation_steps", "views", "more_views",
            "mixing", "num_threads",
        },
    )  # fmt: skip
    told = job.model_dump(mode="json", include={"shards", "num_classes", "num_seen_classes", "image_size", "loading"})
    return json.dumps([training, told], sort_keys=True)


def images_key(made: Assembled) -> Key:
    """Trainings whose keys are equal draw the same images into the same batches."""
    teacher = made.trainer.batch_maker.teacher
    num_kept = teacher.num_views if teacher is not None else 0  # kept views are shown again, others are new each time
    return id(made.trainer.images), num_kept, drawn_by(made.job)


def teacher_key(made: Assembled) -> Key:
    """Which teacher's rows a training reads, whatever part of them."""
    return id(made.teacher), None if made.job.live_teacher is None else made.job.live_teacher.model_dump_json()


class Stream:
    """The batches of trainings with the same `images_key`, from the epoch at which the earliest of them stands.

    Args:
        members: in whose order the teachers' parts are made; each part is what any of its readers reads.
    """

    def __init__(self, members: Sequence[Assembled]) -> None:
        first = members[0].trainer
        self._device, self._order = first.device, first.order
        self._kind = _kind(members)
        self._step, self._num_epochs = _step(members), _num_epochs(members)
        readers = [next(one for one in members if teacher_key(one) == key) for key in self._kind]
        makers = [
            replace(
                one.trainer.batch_maker,
                teacher=read_of(one.job, one.teacher, reads),
                draws_images=_draws_images(members),
            )
            for one, reads in zip(readers, self._kind.values(), strict=True)
        ]
        self._makers = SharedMaker(tuple(makers))
        shares = first.order.from_step(self._step, self._num_epochs)
        self._batches = batches_of(shares, self._makers, first.loading, pin=first.device.type == "cuda")

    def fits(self, members: Sequence[Assembled]) -> bool:
        """Whether the next epoch of these trainings is the next of this stream."""
        stands = _step(members) == self._step and _num_epochs(members) <= self._num_epochs
        draws = _draws_images(members) == self._makers.makers[0].draws_images
        return stands and draws and _kind(members) == self._kind

    def epoch(self) -> Iterator[tuple[Place, Indices, Parts]]:
        """To the end of the epoch under way, on the device."""
        step, self._step = self._step, _UNKNOWN  # until the epoch has ended: one that is left halfway fits nobody
        left = self._order.batches_per_epoch - step % self._order.batches_per_epoch
        for _ in range(left * self._order.num_micro_batches):
            place, rows, (images, parts) = next(self._batches)
            images = self._moved(images)
            completed = (maker.complete(part) for maker, part in zip(self._makers.makers, parts, strict=True))
            yield (
                place,
                rows,
                {key: {**images, **self._moved(part)} for key, part in zip(self._kind, completed, strict=True)},
            )
        self._step = step + left

    def _moved(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}

    def close(self) -> None:
        """End the processes that make batches ahead."""
        self._batches.close()


def _kind(members: Sequence[Assembled]) -> dict[Key, frozenset[str]]:
    """By the teacher's key all that is read of a batch."""
    found: dict[Key, frozenset[str]] = {}
    for one in members:
        found[teacher_key(one)] = found.get(teacher_key(one), frozenset()) | one.reads
    return found


def _draws_images(members: Sequence[Assembled]) -> bool:
    return any(one.trainer.batch_maker.draws_images for one in members)


def _step(members: Sequence[Assembled]) -> int:
    return min(one.trainer.step_index for one in members)


def _num_epochs(members: Sequence[Assembled]) -> int:
    return max(one.job.training.epochs for one in members)
