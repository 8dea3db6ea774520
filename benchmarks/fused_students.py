"""K tiny students stepped one after another on a batch, against the same students as one (torch.func: stacked weights,
`vmap`, so that K convolutions become one grouped convolution), on the CPU.

Forward, cross-entropy and backward alone, in alternating turns, by processor time. Prints the median ratio and how far
the gradients are apart. Packed trials run one after another because of what this prints: see docs/sweeps.md.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.networks.tiny import TinyStudent
from orchestrator.students.tiny import TinyStudentSettings
from orchestrator.vocabulary import STUDENT_LOGITS

NUM_CLASSES, SIDE = 48, 64


class Logits(nn.Module):
    """A student's logits alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        context = StudentContext(num_classes=NUM_CLASSES, image_size=SIDE)
        self.student = TinyStudent(TinyStudentSettings(width=width), context, AdaptorSettings())

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, C]."""
        logits: Tensor = self.student(images)[STUDENT_LOGITS]
        return logits


def compare(count: int, width: int, batch: int, turns: int) -> None:
    """Measure one size and print."""
    torch.manual_seed(0)
    students = [Logits(width).to(memory_format=torch.channels_last).train() for _ in range(count)]
    images = torch.randn(batch, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    label = torch.randint(NUM_CLASSES, (batch,))
    weights, buffers = stack_module_state(students)  # type: ignore[arg-type]
    skeleton = Logits(width).to("meta").train()

    def logits_of(own: dict[str, Tensor], kept: dict[str, Tensor]) -> Tensor:
        made: Tensor = functional_call(skeleton, (own, kept), (images,))
        return made

    def one_by_one() -> None:
        for student in students:
            student.zero_grad(set_to_none=True)
            F.cross_entropy(student(images), label).backward()

    def fused() -> None:
        for weight in weights.values():
            weight.grad = None
        logits = torch.vmap(logits_of)(weights, buffers)
        losses = F.cross_entropy(logits.flatten(0, 1), label.repeat(count), reduction="sum") / batch
        losses.backward()

    ways: dict[str, Callable[[], None]] = {"one by one": one_by_one, "fused": fused}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, step in list(ways.items())[:: 1 if turn % 2 else -1]:
            started = time.process_time()
            step()
            if turn:
                times[name].append(time.process_time() - started)
    apart = 0.0
    for name, weight in weights.items():
        assert weight.grad is not None
        for own, student in zip(weight.grad, students, strict=True):
            alone = student.get_parameter(name).grad
            assert alone is not None
            apart = max(apart, float((own - alone).norm() / alone.norm().clamp_min(1e-12)))
    ratios = [alone / together for alone, together in zip(times["one by one"], times["fused"], strict=True)]
    medians = {name: 1000 * statistics.median(found) for name, found in times.items()}
    print(
        f"{count} students of width {width}, batch {batch}: one by one {medians['one by one']:.1f} ms, fused "
        f"{medians['fused']:.1f} ms, {statistics.median(ratios):.2f} x; gradients apart by {apart:.1e} (relative)",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    told = parser.parse_args()
    torch.set_num_threads(1)
    for count, width, batch in ((4, 8, 64), (8, 8, 64), (8, 4, 16)):
        compare(count, width, batch, told.turns)


if __name__ == "__main__":
    main()
