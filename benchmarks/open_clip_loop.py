"""An embedding student with kept texts against open_clip's own training loop on its own synthetic data.

open_clip trains a ResNet-18 image tower at 64 pixels and a text tower of 4 layers by its `train_one_epoch`: its
synthetic data set (one black picture through its training transform, one sentence through its tokenizer), its loss, its
loop. Ours trains the same image tower and a projection of the same width by the same loss, InfoNCE with a learnt scale,
against text embeddings that were kept. Both have AdamW in one kernel. open_clip's side runs a text tower in every step,
forward and backward, because that is how it is used; the second line says what is left of the difference when that is
taken away: its loop with the text tower replaced by a table of kept embeddings. No ratio is claimed.
"""

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip_train.data import get_synthetic_dataset
from open_clip_train.train import train_one_epoch
from torch import Tensor, nn

from benchmarks.made_training import TEXT_DIM, MadeData, product_step
from benchmarks.pairs import arguments, take_turns, told
from orchestrator.losses import TextContrastiveSettings
from orchestrator.students import AdaptorSettings, TimmStudentSettings
from orchestrator.training.settings import AdamWSettings, TrainingSettings

STEPS, SIDE, STUDENT = 2, 64, "resnet18"  # steps of a turn
OURS, THEIRS, TABLE = "ours", "open_clip", "open_clip, kept texts"


class KeptTexts(nn.Module):
    """An open_clip model whose texts come from a table: the image tower is what it was."""

    def __init__(self, model: nn.Module, batch: int) -> None:
        super().__init__()
        self.model, self.logit_scale = model, model.logit_scale
        self.register_buffer("kept", nn.functional.normalize(torch.randn(batch, TEXT_DIM), dim=-1))

    def forward(self, images: Tensor, _texts: Tensor) -> dict[str, Tensor]:
        """What open_clip's loss takes."""
        own: Any = self.model
        features = own.encode_image(images, normalize=True)
        return {"image_features": features, "text_features": self.kept, "logit_scale": own.logit_scale.exp()}


def their_model() -> nn.Module:
    """ResNet-18 and a small text tower, of open_clip's own classes."""
    vision = {"timm_model_name": STUDENT, "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear",
              "image_size": SIDE}  # fmt: skip
    text = {"context_length": 32, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4}
    return open_clip.CLIP(embed_dim=TEXT_DIM, vision_cfg=vision, text_cfg=text, output_dict=True).train()


def their_turn(model: nn.Module, batch: int) -> Any:
    """A turn of open_clip's loop: an epoch of `STEPS` batches."""
    given = argparse.Namespace(
        device="cpu", precision="fp32", distill=False, accum_freq=1, skip_scheduler=True, horovod=False,
        grad_clip_norm=None, rank=0, local_rank=0, world_size=1, log_every_n_steps=1, batch_size=batch, wandb=False,
        save_logs=False, distributed=False, train_num_samples=STEPS * batch, workers=0, val_num_samples=0,
    )  # fmt: skip
    transform = open_clip.image_transform(SIDE, is_train=True)
    tokenizer = open_clip.SimpleTokenizer(context_length=32)
    data = {"train": get_synthetic_dataset(given, transform, is_train=True, tokenizer=tokenizer)}
    learnt = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-3, weight_decay=0.05, fused=True)
    loss = open_clip.ClipLoss()

    def turn(number: int) -> None:
        train_one_epoch(model, data, loss, number, optimizer, None, None, None, given)

    return turn


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=64, help="images of a step")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        data = MadeData(Path(folder), side=SIDE)
        settings = TrainingSettings(epochs=100, batch_size=given.batch, optimizer=AdamWSettings(learning_rate=1e-3))
        student, losses = TimmStudentSettings(name=STUDENT), {"text": TextContrastiveSettings()}
        trainer = data.trainer(student, losses, settings, adaptor=AdaptorSettings(depth=0))

        def ours(number: int) -> None:
            for step in range(STEPS):
                product_step(trainer, data, STEPS * number + step)

        whole, towers = their_turn(their_model(), given.batch), KeptTexts(their_model(), given.batch)
        for name in ("transformer", "token_embedding", "ln_final"):
            getattr(towers.model, name).requires_grad_(False)
        times = take_turns({OURS: ours, THEIRS: whole, TABLE: their_turn(towers, given.batch)}, given.seconds)
        print(f"{STUDENT}, {SIDE} pixels, batch {given.batch}, turns of {STEPS} steps, {given.threads} threads")
        for peer in (THEIRS, TABLE):
            print("\n".join(told(times, OURS, peer, images=STEPS * given.batch)))


if __name__ == "__main__":
    main()
