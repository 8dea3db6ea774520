"""Distillation with kept teacher rows against timm's distillation task and torchdistill's distillation box.

A ResNet-34 teaches a ResNet-18 at 64 pixels, batch 32: cross-entropy plus T^2 KL of logits at temperature 4. The peers
look at every image with the live teacher, as both of them are made; ours reads the teacher's logits, which were kept
before (with the same weights; the time of that is told). All three begin with the same student, get the same tensors
and have the same optimiser (SGD, momentum 0.9, weight decay); the first losses must agree. The peers' tensors lie
ready, ours makes its batch. What we claim: at least 1.4 x their images/s.
"""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from benchmarks.made_training import MadeData
from benchmarks.pairs import arguments, take_turns, told
from orchestrator import vocabulary as v
from orchestrator.losses import HintonKDSettings, LogitAdjustedCrossEntropySettings
from orchestrator.training.loop import Trainer
from orchestrator.training.model import IMAGE
from orchestrator.training.order import Place
from orchestrator.training.settings import SgdSettings, TrainingSettings
from orchestrator.training.view_settings import ShiftViews
from orchestrator.training.views import scale_pixels

CLAIM, CLASSES, TEMPERATURE, RATE, MOMENTUM, DECAY = 1.4, 200, 4.0, 0.01, 0.9, 5e-4
LOSSES = {
    "classification": LogitAdjustedCrossEntropySettings(tau=0),
    "teacher": HintonKDSettings(temperature=TEMPERATURE),
}
Ready = list[tuple[Tensor, Tensor]]  # images and labels


def student_of(trainer: Trainer, name: str) -> nn.Module:
    """The product's student as timm's own model, with the same weights."""
    model = timm.create_model(name, num_classes=CLASSES)
    own: Any = trainer.model.student
    names = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    weights = {key.removeprefix("backbone."): value for key, value in own.state_dict().items() if key in names}
    classifier = {f"fc.{key}": value for key, value in own.classifier.state_dict().items()}
    model.load_state_dict({**weights, **classifier})
    return model.train().to(memory_format=torch.channels_last)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all sides; vectors are not decayed, as in ours."""
    groups = [
        {"params": [p for p in model.parameters() if (p.ndim > 1) is decays], "weight_decay": DECAY if decays else 0.0}
        for decays in (True, False)
    ]
    return torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, fused=True)


def timm_task(student: nn.Module, teacher: nn.Module, ready: Ready) -> Callable[[int], Tensor]:
    """A step of timm's task, as timm's training script makes it."""
    from timm.task import LogitDistillationTask

    task = LogitDistillationTask(
        student, teacher, criterion=nn.CrossEntropyLoss(), task_loss_weight=1.0, distill_loss_weight=1.0,
        temperature=TEMPERATURE, device=torch.device("cpu"), verbose=False,
    )  # fmt: skip
    task.student_mean.copy_(task.teacher.mean_kd)  # both see the same tensors
    task.student_std.copy_(task.teacher.std_kd)
    optimizer = sgd(student)

    def step(number: int) -> Tensor:
        images, labels = ready[number % len(ready)]
        loss: Tensor = task(images, labels)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def torchdistill_box(student: nn.Module, teacher: nn.Module, ready: Ready) -> Callable[[int], Tensor]:
    """A step of torchdistill's box, as its examples make it."""
    from torchdistill.core.distillation import DistillationBox

    logging.getLogger("torchdistill").setLevel(logging.ERROR)
    label = {"is_from_teacher": False, "module_path": ".", "io": "output"}
    config = {
        "num_epochs": 1,
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False, "wrapper": None},
        "student": {"forward_proc": "forward_batch_only", "wrapper": None},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {
                    "ce": {
                        "criterion": {"key": "CrossEntropyLoss", "kwargs": {"reduction": "mean"}},
                        "criterion_wrapper": {
                            "key": "SimpleLossWrapper",
                            "kwargs": {"input": label, "target": {"uses_label": True}},
                        },
                        "weight": 1.0,
                    },
                    "kd": {
                        "criterion": {
                            "key": "KDLoss",
                            "kwargs": {
                                "student_module_path": ".", "student_module_io": "output",
                                "teacher_module_path": ".", "teacher_module_io": "output",
                                "temperature": TEMPERATURE, "alpha": 0.0,
                            },
                        },
                        "weight": TEMPERATURE**2,
                    },
                }
            },
        },
        "optimizer": {"key": "SGD", "kwargs": {"lr": RATE, "momentum": MOMENTUM, "weight_decay": DECAY, "fused": True}},
    }  # fmt: skip
    box: Any = DistillationBox(teacher, student, {}, config, torch.device("cpu"), None, False, 1.0)
    student.train()
    teacher.eval()

    def step(number: int) -> Tensor:
        images, labels = ready[number % len(ready)]
        loss: Tensor = box.forward_process(images, labels)
        box.post_forward_process(loss=loss)
        return loss.detach()

    return step


def kept_logits(teacher: nn.Module, pixels: np.ndarray, batch: int) -> tuple[np.ndarray, float]:
    """The teacher's logits of all images as they are, and the seconds that takes."""
    started = time.perf_counter()
    with torch.inference_mode():
        parts = [teacher(scale_pixels(pixels[at : at + batch])).numpy() for at in range(0, len(pixels), batch)]
    return np.concatenate(parts), time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--student", default="resnet18", help="a timm model whose classifier is called fc")
    parser.add_argument("--teacher", default="resnet34", help="a timm model")
    parser.add_argument("--batch", type=int, default=32, help="images of a step")
    parser.add_argument("--images", type=int, default=512, help="different images")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    teacher = timm.create_model(given.teacher, num_classes=CLASSES).eval().to(memory_format=torch.channels_last)
    pixels = np.random.default_rng(0).integers(0, 256, (given.images, 64, 64, 3), dtype=np.uint8)
    logits, kept_s = kept_logits(teacher, pixels, given.batch)
    with tempfile.TemporaryDirectory() as folder:
        data = MadeData(Path(folder), num_classes=CLASSES, pixels=pixels, teacher_logits=logits)
        optimizer = SgdSettings(learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY)
        settings = TrainingSettings(
            epochs=1000, batch_size=given.batch, optimizer=optimizer, views=ShiftViews(pad=0, flip=False)
        )
        trainer = data.trainer(given.student, LOSSES, settings)
        students = [student_of(trainer, given.student) for _ in range(2)]
        batches = [
            trainer.make_batch(data.rows(number, given.batch), Place(number, 0))
            for number in range(given.images // given.batch)
        ]
        ready = [(batch[IMAGE], batch[v.LABEL]) for batch in batches]

        def ours(number: int) -> Tensor:
            rows = data.rows(number % len(ready), given.batch)
            return trainer.step(trainer.make_batch(rows, Place(number, 0)), rows)["loss"]

        sides = {
            "ours": ours,
            "timm": timm_task(students[0], teacher, ready),
            "torchdistill": torchdistill_box(students[1], teacher, ready),
        }
        first = {name: float(step(0)) for name, step in sides.items()}
        assert max(first.values()) - min(first.values()) < 1e-3, f"the sides must do the same work: {first}"
        times = take_turns(sides, given.seconds)
    print(f"{given.teacher} -> {given.student}, 64 pixels, batch {given.batch}, {given.threads} threads")
    print(f"first losses {first}")
    print(f"keeping the teacher's logits: {kept_s:.1f} s for {given.images} images, once for all epochs and students")
    for peer in ("timm", "torchdistill"):
        print("\n".join(told(times, "ours", peer, images=given.batch, at_least=CLAIM)))


if __name__ == "__main__":
    main()
