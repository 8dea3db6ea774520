"""Distillation from kept teacher rows (logits, feature, text) against cross-entropy, both in the product's loop.

The rows lie in memory-mapped files, as the stage `embed` leaves them: class logits and a 512-dimensional embedding of
an image teacher and a text embedding for each image, joined by image. The steps take turns. What we claim, for a
ResNet-18 at 64 pixels and batch 32: at least 0.98 of cross-entropy's images/s.
"""

import tempfile
from pathlib import Path

import torch

from benchmarks.made_training import MadeData, product_step
from benchmarks.pairs import arguments, take_turns, told
from orchestrator.losses import ImageDistillationSettings, LogitAdjustedCrossEntropySettings, TextContrastiveSettings
from orchestrator.training.settings import SgdSettings, TrainingSettings

CLAIM = 0.98
CROSS_ENTROPY = {"classification": LogitAdjustedCrossEntropySettings(tau=0)}
DISTILLATION = {**CROSS_ENTROPY, "image": ImageDistillationSettings(), "text": TextContrastiveSettings()}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--student", default="resnet18", help="a timm model")
    parser.add_argument("--batch", type=int, default=32, help="images of a step")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = MadeData(Path(folder))
        settings = TrainingSettings(epochs=100, batch_size=given.batch, optimizer=SgdSettings(learning_rate=0.01))
        plain = data.trainer(given.student, CROSS_ENTROPY, settings)
        distilled = data.trainer(given.student, DISTILLATION, settings)
        sides = {
            "distillation": lambda number: product_step(distilled, data, number),
            "cross-entropy": lambda number: product_step(plain, data, number),
        }
        times = take_turns(sides, given.seconds)
    print(f"{given.student}, 64 pixels, batch {given.batch}, 200 classes, {given.threads} threads")
    print("\n".join(told(times, "distillation", "cross-entropy", images=given.batch, at_least=CLAIM)))


if __name__ == "__main__":
    main()
