"""Tuning an image teacher into a classifier of the data set: what every driver (in process, a Ray task) calls.

Reads the images that an index addresses, or rows that an encoder has given; writes a checkpoint each epoch, the best
epoch's weights (`weights.safetensors`), history and result into the job's folder and metrics into the spool. Knows
nothing of Ray.
"""

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from orchestrator import vocabulary
from orchestrator.artifacts.storage import read_json, write_atomically, write_json
from orchestrator.errors import NonFiniteLossError
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.frozen import Frozen
from orchestrator.losses.formulas.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropy
from orchestrator.teachers.class_head import ClassHead
from orchestrator.teachers.tuned import OF_ENCODER, OF_HEAD, WEIGHTS, UntunedEncoderSettings
from orchestrator.tracking.spool import SpoolTracker
from orchestrator.tracking.tracker import NullTracker, Tracker
from orchestrator.training import order
from orchestrator.training.checkpoint import Checkpoints
from orchestrator.training.learning_rate import learning_rate_factor
from orchestrator.training.loop import Progress
from orchestrator.training.run import HISTORY, PROGRESS, RESULT
from orchestrator.training.schedules import CosineScheduleSettings
from orchestrator.training.tuning_data import KeptRows, Pictures, in_turn
from orchestrator.training.tuning_settings import TeacherTuningSettings
from orchestrator.training.view_settings import TeacherViews
from orchestrator.training.views import view_id

CHECKPOINTS, BEST = "checkpoints", "select/all"
COSINE = CosineScheduleSettings(warmup_fraction=0.0)


class TuningJob(Frozen):
    """Everything a worker needs to tune one image teacher; plain data, so any driver can send it anywhere.

    Attributes:
        run_key: identity of the run in tracking.
        identity: fingerprint of all that determines the result; checkpoints of another are refused.
        folder: where checkpoints and weights go.
        images: `images.parquet` of an index.
        rows: folder with the encoder's rows (`linear_probe`); None: the encoder looks at the images itself.
        class_vectors: `.npy` [C, e] of unit class-text embeddings that the head begins with; None: at random.
        logit_scale: of the head that begins with class texts.
        recipe: which views of the training images are drawn.
        num_views: views that are replayed; 0: each epoch shows a new one.
    """

    run_key: str
    identity: str
    folder: str
    images: str
    rows: str | None = None
    class_vectors: str | None = None
    logit_scale: float
    num_classes: int
    encoder: UntunedEncoderSettings
    tuning: TeacherTuningSettings
    recipe: TeacherViews
    num_views: int
    spool: str | None = None

    def tracker(self) -> Tracker:
        """Where metrics go."""
        return SpoolTracker(Path(self.spool)) if self.spool else NullTracker()


class _Tuner:
    """Data, encoder, head and optimiser of a job."""

    def __init__(self, job: TuningJob) -> None:
        self.job = job
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(job.tuning.init_seed)
        self.data = Pictures.open(job) if job.rows is None else KeptRows.open(job)
        labels = self.data.labels[vocabulary.SPLIT_TRAIN]
        self.counts = np.bincount(labels, minlength=job.num_classes)
        self.loss = LogitAdjustedCrossEntropy(tuple(int(n) for n in self.counts), tau=job.tuning.tau).to(self.device)
        self.head = ClassHead(job.num_classes, self.data.dim).to(self.device)
        if job.class_vectors is not None:
            vectors = np.load(job.class_vectors, allow_pickle=False).astype(np.float32)
            self.head.begin_with(torch.from_numpy(vectors), job.logit_scale)
        self.module = self.data.module
        groups: list[tuple[nn.Module, float]] = [(self.head, job.tuning.head_learning_rate)]
        groups += [(self.module, job.tuning.encoder_learning_rate)] if self.module is not None else []
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in module.parameters() if (p.ndim > 1) is decays], "lr": rate,
                 "weight_decay": job.tuning.weight_decay if decays else 0.0}
                for module, rate in groups
                for decays in (True, False)
            ]
        )  # fmt: skip
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.steps_per_epoch = order.num_batches(len(labels), job.tuning.batch_size)

    def _train(self, training: bool) -> None:
        self.head.train(training)
        if self.module is not None:
            self.module.train(training)

    def epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training images; the means of loss and accuracy."""
        self._train(True)
        tuning, split, started = self.job.tuning, vocabulary.SPLIT_TRAIN, time.perf_counter()
        labels, num_steps = self.data.labels[split], self.steps_per_epoch * tuning.epochs
        view = view_id(epoch, num_views=self.job.num_views)
        loss_sum, right, seen = torch.zeros((), device=self.device), torch.zeros((), device=self.device), 0
        batches = order.Order(labels, tuning.batch_size, tuning.data_seed).batches(epoch)
        read = ((rows, self.data.reader(split, rows, view)) for _, rows in batches)
        for at, (rows, inputs) in enumerate(in_turn(read)):
            step = epoch * self.steps_per_epoch + at
            for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
                factor = learning_rate_factor(step, num_steps, COSINE, num_epochs=tuning.epochs, peak=peak)
                group["lr"] = peak * factor
            label = torch.from_numpy(labels[rows]).to(self.device)
            logits = self.head(self.data.embed(inputs.to(self.device)))
            loss: Tensor = self.loss(logits, label)
            if not bool(torch.isfinite(loss)):
                ids = ", ".join(self.data.image_ids[row] for row in rows[:8])
                raise NonFiniteLossError(
                    f"tuning the image teacher: the loss is {float(loss.detach())} in epoch {epoch + 1}; "
                    f"images {ids}, ...",
                    expected="a finite loss",
                    remedy="lower teacher_tuning.encoder_learning_rate and teacher_tuning.head_learning_rate",
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.detach() * len(rows)
            right += (logits.argmax(1) == label).sum()
            seen += len(rows)
        seconds = time.perf_counter() - started
        told = {"train/loss": float(loss_sum) / seen, "train/accuracy": float(right) / seen}
        return {**told, "speed/images_per_s": seen / seconds}

    @torch.no_grad()  # not inference_mode: what a network caches in it could not be trained with afterwards
    def select(self) -> dict[str, float]:
        """Accuracies on the selection split's images of seen classes, as they are, by raw logits."""
        self._train(False)
        split, classes = vocabulary.SPLIT_SELECT, self.job.num_classes
        labels, size = self.data.labels[split], self.job.tuning.batch_size
        known, correct = np.flatnonzero(labels < classes), np.zeros(classes, np.int64)
        parts = (known[start : start + size] for start in range(0, len(known), size))
        for rows, inputs in in_turn((rows, self.data.reader(split, rows, None)) for rows in parts):
            predicted = self.head(self.data.embed(inputs.to(self.device))).argmax(1).cpu().numpy()
            correct += np.bincount(labels[rows][predicted == labels[rows]], minlength=classes)
        found = shot_accuracy(correct, np.bincount(labels[known], minlength=classes), self.counts)
        return {f"select/{name}": value for name, value in found.items()}

    def weights(self) -> dict[str, Tensor]:
        """What a tuned teacher is made of, by name."""
        parts: list[tuple[str, Any]] = [(OF_HEAD, self.head), (OF_ENCODER, self.module)]
        return {
            f"{prefix}{name}": value.detach().cpu().clone().contiguous()
            for prefix, module in parts
            if module is not None
            for name, value in module.state_dict().items()
        }

    def state(self, history: list[dict[str, float]]) -> dict[str, Any]:
        """Everything a resume needs; views and order are functions of the epoch."""
        generators = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        return {"weights": self.weights(), "optimizer": self.optimizer.state_dict(), "history": history,
                "torch_rng": torch.get_rng_state(), "cuda_rng": generators}  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> list[dict[str, float]]:
        """Continue from `state()`; returns the history."""
        for prefix, module in ((OF_HEAD, self.head), (OF_ENCODER, self.module)):
            if module is not None:
                named = state["weights"].items()
                module.load_state_dict({n.removeprefix(prefix): v for n, v in named if n.startswith(prefix)})
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        history: list[dict[str, float]] = state["history"]
        return history


def best_epoch(history: list[dict[str, float]]) -> dict[str, float]:
    """The first of the epochs with the highest accuracy on the selection split; before training (epoch 0) not counted.

    Without selection images (NaN) it is the last one.
    """
    trained = history[1:]
    if all(math.isnan(row[BEST]) for row in trained):
        return trained[-1]
    return max(trained, key=lambda row: (row[BEST], -row["epoch"]))


def tune(job: TuningJob) -> Iterator[Progress]:
    """Tune to the end, resuming from the newest checkpoint; yields after each epoch. A finished job yields its last."""
    torch.set_num_threads(job.tuning.num_threads)
    folder, num_epochs = Path(job.folder), job.tuning.epochs
    if (folder / RESULT).is_file():
        yield Progress(num_epochs, num_epochs, 0, read_json(folder / RESULT)["metrics"])
        return
    tuner, tracker = _Tuner(job), job.tracker()
    with Checkpoints(folder / CHECKPOINTS, {"tuning": job.identity}) as checkpoints:
        checkpoints.claim()
        state = checkpoints.latest()
        history = [{"epoch": 0.0, **tuner.select()}] if state is None else tuner.load_state(state)
        if state is None:
            tracker.log_metrics(job.run_key, tuner_metrics(history[0]), 0)
        for epoch in range(len(history) - 1, num_epochs):
            history.append({"epoch": float(epoch + 1), **tuner.epoch(epoch), **tuner.select()})
            if best_epoch(history) is history[-1]:
                write_atomically(folder / WEIGHTS, lambda temporary: save_file(tuner.weights(), temporary))
            checkpoints.save((epoch + 1) * tuner.steps_per_epoch, tuner.state(history), history[-1])
            metrics = tuner_metrics(history[-1])
            tracker.log_metrics(job.run_key, metrics, epoch + 1)
            write_json(folder / PROGRESS, {"epoch": epoch + 1, "num_epochs": num_epochs, **metrics})
            yield Progress(epoch + 1, num_epochs, (epoch + 1) * tuner.steps_per_epoch, metrics)
    best, timed = best_epoch(history), ("speed/images_per_s",)
    write_json(folder / HISTORY, [{k: v for k, v in row.items() if k not in timed} for row in history])
    metrics = {name: value for name, value in tuner_metrics(best).items() if name not in timed}
    untuned = {name.replace("select/", "untuned/"): value for name, value in tuner_metrics(history[0]).items()}
    write_json(folder / RESULT, {"best_epoch": int(best["epoch"]), "metrics": {**metrics, **untuned}})
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def tuner_metrics(row: Mapping[str, float]) -> dict[str, float]:
    """A row of the history without its epoch."""
    return {name: value for name, value in row.items() if name != "epoch"}
