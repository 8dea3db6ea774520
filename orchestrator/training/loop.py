"""The training loop: steppable over given batches, with a generator around it that yields Progress each epoch.

Pure torch; pytest, torchrun, Ray Train and a Tune trial drive it with the same `for`. Early stopping is ceasing to
iterate. Reads and writes nothing; knows nothing of files, drivers or tracking.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from orchestrator import distributed
from orchestrator.errors import NonFiniteLossError
from orchestrator.students.networks.student import IMAGE, Student
from orchestrator.training import order
from orchestrator.training.average import StudentAverage
from orchestrator.training.batches import BatchMaker, Made, MakeBatches
from orchestrator.training.data import SplitData, TeacherData
from orchestrator.training.gradients import gradient_report
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.loaders import batches_of
from orchestrator.training.memory import is_out_of_memory, num_images_that_fit, out_of_memory
from orchestrator.training.mixing import check_mixing
from orchestrator.training.model import DistillationModel
from orchestrator.training.moments import FIRST_STEP, Moments
from orchestrator.training.optimizer import build_optimizer, set_rates
from orchestrator.training.precision import AUTOCAST_DTYPE, Stepper
from orchestrator.training.settings import TrainingSettings


@dataclass(frozen=True)
class Progress:
    """The state of a training after one epoch.

    Attributes:
        epoch: finished epochs, 1-based.
        step: finished optimiser steps.
        metrics: means over the epoch of each loss part, plus speed and the share of time spent on data.
    """

    epoch: int
    num_epochs: int
    step: int
    metrics: dict[str, float] = field(default_factory=dict)


class Trainer:
    """One student's training, one step at a time.

    Args:
        model: student, adaptor and losses.
        settings: schedule, optimiser, views, seeds.
        images: the training split.
        teacher: the teacher's rows for it, or None when no loss reads any.
        image_size: side of the student's views, pixels; None: that of the stored images.
        num_classes: of the classifier and of mixed targets; None: one more than the largest label.
        num_seen_classes: labels from here on are those of unseen classes, the support of few-shot training.
        parallel: the DDP wrapper around `model`, or None in one process.
        loading: how many processes make batches ahead of the steps.
        moments: the clock of the way to the first step; None: it begins now.
    """

    def __init__(
        self,
        model: DistillationModel,
        settings: TrainingSettings,
        images: SplitData,
        teacher: TeacherData | None,
        *,
        device: torch.device,
        image_size: int | None = None,
        num_classes: int | None = None,
        num_seen_classes: int | None = None,
        parallel: DistributedDataParallel | None = None,
        loading: InputSettings | None = None,
        moments: Moments | None = None,
    ) -> None:
        self.model, self.settings, self.images, self._moments = model, settings, images, moments or Moments()
        self.device, self._parallel, self._forward = device, parallel, parallel or model
        self.loading = loading or InputSettings()
        num_classes = num_classes or int(images.labels.max()) + 1
        draws_images = IMAGE in model.student.reads or settings.mixing is not None
        self.batch_maker = BatchMaker(images, teacher, settings, num_classes, image_size, draws_images)
        self.optimizer = build_optimizer(settings.optimizer, model)
        self.stepper = Stepper(self.optimizer, model, settings.precision, device, settings.gradient_clip_norm)
        model.autocast_dtype = AUTOCAST_DTYPE[settings.precision]
        self.average = None if settings.ema is None else StudentAverage(model.student, settings.ema)
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.order = order.Order(
            images.labels, settings.batch_size, settings.data_seed, settings.sampler, settings.passes_per_epoch,
            num_seen_classes, settings.accumulation_steps,
        )  # fmt: skip
        self.batches_per_epoch = self.order.batches_per_epoch
        self.num_steps = self.batches_per_epoch * settings.epochs
        self._sums: dict[str, Tensor] = {}  # of the parts of the loss over the epoch that is under way
        self._counted: Counter[str] = Counter()
        self.step_index, self._num_seen = 0, 0  # the latter: micro-batches since the optimiser's last step
        constants = {} if teacher is None else teacher.constants(int(images.labels.max()) + 1)
        self._constants = {name: tensor.to(device) for name, tensor in constants.items()}
        check_mixing(model, settings, live=teacher is not None and teacher.live is not None and not teacher.hybrid)

    def make_batch(self, rows: order.Indices, place: order.Place) -> dict[str, Tensor]:
        """The batch of these images on the device, with what the run supplies whatever the images are."""
        return self._on_device(self.batch_maker(rows, place))

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        complete = self.batch_maker.complete(batch).items()
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in complete}
        return {**moved, **self._constants}

    def step(self, batch: dict[str, Tensor], rows: order.Indices) -> dict[str, Tensor]:
        """Learn from one micro-batch; with the last of an optimiser step's micro-batches the optimiser steps.

        Returns:
            The detached parts of the loss, `loss` being the total; means over the micro-batch.

        Raises:
            NonFiniteLossError: naming step, parts and image ids; on all workers where one has met it. The parameters
                are left as they were.
            OutOfMemoryError: naming how many images a worker held at once, and how many fit.
        """
        try:
            return self._learn(batch, rows)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            said = str(error)
        # outside the handler: what the error's traceback held is free again
        num_images, alone = len(rows), distributed.world_size() == 1
        fitting = num_images_that_fit(num_images, self.device, partial(self._attempt, batch) if alone else None)
        raise out_of_memory(
            said, self.settings, step=self.step_index, num_images=num_images, num_workers=distributed.world_size(),
            num_fitting=fitting, tried=alone,
        )  # fmt: skip

    def _attempt(self, batch: dict[str, Tensor], num_images: int) -> None:
        """A step on the first images of a batch, for what it takes of memory; the training ends with it."""
        self.stepper.begin()
        total, _ = self._forward({k: of if k in self._constants else of[:num_images] for k, of in batch.items()})
        self.stepper.backward(total)
        self.optimizer.step()

    def _learn(self, batch: dict[str, Tensor], rows: order.Indices) -> dict[str, Tensor]:
        num_parts = self.settings.accumulation_steps
        is_first, is_last = self._num_seen == 0, self._num_seen == num_parts - 1
        if is_first:
            self._begin_step()
        self.model.begins_step = is_first
        self.model.shuffled_by = (self.settings.data_seed, self.step_index * num_parts + self._num_seen)
        objective, every = self.model.objective, self.settings.gradient_report_every_steps
        objective.keep_terms = is_first and every is not None and self.step_index % every == 0
        with nullcontext() if is_last or self._parallel is None else self._parallel.no_sync():
            total, parts = self._forward(batch)
            self._refuse_non_finite(total, parts, rows)
            if objective.keep_terms:
                parts |= gradient_report(objective.terms, self.model.student)
            self.stepper.backward(total / num_parts)
        self._num_seen += 1
        if is_last:
            parts |= self._finish_step()
        return {"loss": total.detach(), **parts}

    def _begin_step(self) -> None:
        num_epochs = self.settings.length_at(self.step_index // self.batches_per_epoch)
        num_steps = num_epochs * self.batches_per_epoch
        set_rates(
            self.optimizer, self._peaks, self.settings.schedule, step=self.step_index, num_steps=num_steps,
            num_epochs=num_epochs, peak=self.settings.optimizer.learning_rate,
        )  # fmt: skip
        self.model.objective.set_progress(self.step_index / num_steps)
        self.stepper.begin()

    def _finish_step(self) -> dict[str, Tensor]:
        told = self.stepper.step()
        self.model.after_step()
        self.step_index, self._num_seen = self.step_index + 1, 0
        if self.average is not None:
            self.average.update(self.model.student, self.step_index)
        return told

    def _refuse_non_finite(self, total: Tensor, parts: Mapping[str, Tensor], rows: order.Indices) -> None:
        """Raise on every worker what the first of them has to say, so that none waits for one that is gone."""
        met = ~torch.isfinite(total.detach())
        if not bool(distributed.sum_over_workers(met.float())):
            return
        shown = ", ".join(f"{name} {float(value):.4g}" for name, value in parts.items())
        ids = ", ".join(self.images.image_ids[row] for row in rows[:8])
        told = f"the loss is {float(total.detach())} at step {self.step_index} ({shown}); images {ids}, ..."
        said = distributed.texts_of_workers(told if bool(met) else "")
        raise NonFiniteLossError(
            next(one for one in said if one),
            expected="a finite loss",
            remedy="lower training.optimizer.learning_rate, or set training.gradient_clip_norm",
        )

    @property
    def student(self) -> Student:
        """What is evaluated and saved: the student, or its moving average where the settings say so."""
        ema = self.settings.ema
        return self.average.student if self.average is not None and ema and ema.is_the_student else self.model.student

    def epochs(
        self, after_step: Callable[[], None] = lambda: None, make_batches: MakeBatches = batches_of
    ) -> Iterator[Progress]:
        """Train from where the state stands to the last epoch, yielding after each.

        Args:
            after_step: called after each optimiser step; within an epoch `state` can then be kept and gone on from.
            make_batches: makes the batches ahead of the steps.
        """
        pin, place = self.device.type == "cuda", {"rank": distributed.rank(), "num_workers": distributed.world_size()}
        shares = self.order.from_step(self.step_index, self.settings.epochs, **place)
        with closing(make_batches(shares, self.batch_maker, self.loading, pin=pin)) as made:
            while self.step_index < self.num_steps:
                yield _end_of(self.epoch(made, after_step))

    def epoch(self, made: Iterator[Made], after_step: Callable[[], None]) -> Generator[None, None, Progress]:
        """Train to the end of the epoch under way, on the next of these batches each time it is advanced."""
        epoch, first = divmod(self.step_index, self.batches_per_epoch)
        self.model.train()
        if first == 0:
            self.model.start_epoch(epoch)
        waited, started, num_images = 0.0, time.perf_counter(), 0
        for _ in range((self.batches_per_epoch - first) * self.settings.accumulation_steps):
            before = time.perf_counter()
            _, rows, batch = next(made)
            batch = self._on_device(batch)
            waited += time.perf_counter() - before
            self._moments.reached("first_batch")
            for name, value in self.step(batch, rows).items():
                self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
                self._counted[name] += 1
            num_images += len(rows)
            if self._num_seen == 0:
                self._moments.reached(FIRST_STEP)
                after_step()
            yield
        seconds = time.perf_counter() - started
        metrics = {f"train/{name}": float(value) / self._counted[name] for name, value in self._sums.items()}
        self._sums, self._counted = {}, Counter()
        per_s = num_images * distributed.world_size() / seconds
        speed = {"speed/epoch_s": seconds, "speed/images_per_s": per_s, "speed/data_wait_fraction": waited / seconds}
        return Progress(epoch + 1, self.settings.epochs, self.step_index, metrics | speed | self._moments.told_once())

    def state(self) -> dict[str, Any]:
        """Everything a resume needs; views and order are functions of the step, so no other random state matters."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.stepper.state(),
            **({"average": self.average.state()} if self.average is not None else {}),
            "step": self.step_index,
            "epoch_sums": dict(self._sums),
            "epoch_counts": dict(self._counted),
            "torch_rng": torch.get_rng_state(),
            **({"cuda_rng": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {}),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()` of a training with the same settings."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.stepper.load_state(state["scaler"])
        if self.average is not None:
            self.average.load_state(state["average"])
        self.step_index = state["step"]
        self._sums = {name: value.to(self.device) for name, value in state["epoch_sums"].items()}
        self._counted = Counter(state["epoch_counts"])
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda" and "cuda_rng" in state:  # drop path draws there
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    def take_over(self, state: dict[str, Any], *, num_epochs: int) -> None:
        """Begin with weights, moments and epoch of a training of the same student with other settings; these hold.

        Args:
            num_epochs: that the other training had finished.
        """
        groups = self.optimizer.param_groups
        own = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        self.load_state(state)
        for group, settings in zip(self.optimizer.param_groups, own, strict=True):  # other ones than before
            group.update(settings)
        self.step_index, self._sums, self._counted = num_epochs * self.batches_per_epoch, {}, Counter()


def _end_of(steps: Generator[None, None, Progress]) -> Progress:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            progress: Progress = end.value
            return progress
