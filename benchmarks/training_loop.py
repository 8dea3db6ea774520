"""The product's training loop against a hand-written torch loop: same student, data and losses, steps taking turns.

The hand-written side is what one writes in an afternoon: a forward, cross-entropy and InfoNCE in five lines, AdamW with
fixed rates. It gets tensors that are ready, shuffled and normalised, so it reads, augments and joins nothing. Ours
reads memory-mapped pixels, draws a view of each image, joins the texts, checks the loss, sets the rates, and tells the
parts. Both begin with the same weights, and the first losses on one batch must agree. `--fused` gives the hand-written
side the fused AdamW that ours has; torch's default is another. What we claim: at least 0.95 of its images/s where a
step takes 0.2 s or more, as the default's does on one core.
"""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.made_training import MadeData, product_step
from benchmarks.pairs import arguments, take_turns, told
from orchestrator import vocabulary as v
from orchestrator.losses import LogitAdjustedCrossEntropySettings, TextContrastiveSettings
from orchestrator.training.loop import Trainer
from orchestrator.training.model import IMAGE
from orchestrator.training.order import Place
from orchestrator.training.settings import AdamWSettings, TrainingSettings

CLAIM, READY = 0.95, 8
LOSSES = {"classification": LogitAdjustedCrossEntropySettings(), "text": TextContrastiveSettings()}


def hand_written(
    trainer: Trainer, data: MadeData, *, fused: bool
) -> tuple[Callable[[int], Tensor], list[dict[str, Tensor]]]:
    """A plain loop over batches that lie ready; the step of batch `number % READY`, and the batches."""
    student, adaptor = copy.deepcopy(trainer.model.student), copy.deepcopy(trainer.model.adaptor)
    backbone: Any = student.backbone
    classifier: Any = student.classifier
    assert adaptor is not None
    log_scale = torch.nn.Parameter(torch.tensor(1 / 0.07).log())
    weights = [*student.parameters(), *adaptor.parameters(), log_scale]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.05, fused=fused)
    counts = torch.bincount(torch.from_numpy(data.labels), minlength=data.num_classes).double()
    log_prior = (counts / counts.sum()).log().float()
    batch_size = trainer.settings.batch_size
    batches = []
    for number in range(READY):
        batch = trainer.make_batch(data.rows(number, batch_size), Place(number, 0))
        batch[IMAGE] = batch[IMAGE].contiguous(memory_format=torch.channels_last)
        batches.append(batch)
    own = torch.arange(batch_size)

    def step(number: int) -> Tensor:
        batch = batches[number % READY]
        feature = backbone.forward_head(backbone.forward_features(batch[IMAGE]), pre_logits=True)
        classification = F.cross_entropy(classifier(feature) + log_prior, batch[v.LABEL])
        prediction = F.normalize(adaptor(feature), dim=1)
        text = F.cross_entropy(log_scale.exp() * prediction @ batch[v.TEXT][:, 0].T, own)
        total = classification + text
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return total.detach()

    return step, batches


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--student", default="resnet18", help="a timm model; one as small as test_byobnet shows the cost of views"
    )
    parser.add_argument("--batch", type=int, default=32, help="images of a step")
    parser.add_argument("--fused", action="store_true", help="the fused AdamW for the hand-written side too")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = MadeData(Path(folder))
        settings = TrainingSettings(epochs=100, batch_size=given.batch, optimizer=AdamWSettings(learning_rate=1e-3))
        trainer = data.trainer(given.student, LOSSES, settings)
        step, batches = hand_written(trainer, data, fused=given.fused)
        first = float(trainer.step(batches[0], data.rows(0, given.batch))["loss"])
        other = float(step(0))
        assert abs(first - other) < 1e-3 * abs(first), f"the sides must do the same work: {first} and {other}"
        sides = {"ours": lambda number: product_step(trainer, data, number), "hand-written": step}
        times = take_turns(sides, given.seconds)
        print(f"{given.student}, 64 pixels, batch {given.batch}, {given.threads} threads; first losses {first:.4f}")
        print("\n".join(told(times, "ours", "hand-written", images=given.batch, at_least=CLAIM)))


if __name__ == "__main__":
    main()
