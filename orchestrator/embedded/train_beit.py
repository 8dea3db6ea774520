"""A small BEiT: masked image modelling, then supervised fine-tuning on the attributes of scenes.

After Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022. The visual tokens are the nearest of 256
means of patches (k-means), where the paper has a discrete VAE. Writes a transformers folder (`BeitModel` with its
pooler, the normalised mean of the patches). Knows nothing of texts or class lists.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.datasets.shapes_render import SIZE
from orchestrator.embedded.optimizing import Progress, optimise
from orchestrator.embedded.train_dino import save_processor
from orchestrator.embedded.train_tower import ATTRIBUTES, HEAD_WEIGHTS, to_input

PATCH, CODES, MASKED_FRACTION = 8, 256, 0.4
NUM_PATCHES = (SIZE // PATCH) ** 2


def patches_of(images: Tensor) -> Tensor:
    """[n, 3, 64, 64] -> [n, 64, 192], patches in row order."""
    return nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2)


def codebook(pixels: Any, seed: int) -> Tensor:
    """[256, 192]: means of patches of up to 500 images."""
    from sklearn.cluster import MiniBatchKMeans

    chosen = np.sort(np.random.default_rng(seed).permutation(len(pixels))[:500])
    patches = patches_of(to_input(pixels[chosen]).contiguous()).reshape(-1, 3 * PATCH**2).numpy()
    found = MiniBatchKMeans(CODES, random_state=seed, n_init=1, batch_size=2048).fit(patches)
    return torch.from_numpy(found.cluster_centers_.astype(np.float32))


def visual_tokens(images: Tensor, codes: Tensor) -> Tensor:
    """[n, 64] int64: the nearest code of each patch."""
    return torch.cdist(patches_of(images), codes).argmin(-1)


def masks(count: int, generator: torch.Generator) -> Tensor:
    """[n, 64] bool, the same number of hidden patches in each image."""
    order = torch.rand(count, NUM_PATCHES, generator=generator).argsort(1)
    return order < round(MASKED_FRACTION * NUM_PATCHES)


def beit_config(width: int, layers: int) -> Any:
    """64 pixels in patches of 8, relative positions."""
    from transformers import BeitConfig

    return BeitConfig(
        vocab_size=CODES, image_size=SIZE, patch_size=PATCH, hidden_size=width, intermediate_size=3 * width,
        num_hidden_layers=layers, num_attention_heads=width // 32, use_mask_token=True, use_mean_pooling=True,
        use_relative_position_bias=True, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, drop_path_rate=0.0,
    )  # fmt: skip


def train_beit(
    folder: Path,
    pixels: Any,
    values: Tensor,
    *,
    steps: int,
    tuning_steps: int,
    width: int = 128,
    layers: int = 4,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress,
) -> None:
    """Both steps on pixels uint8 [N, 64, 64, 3] and attribute values [N, 8]; writes the folder."""
    from transformers import BeitForMaskedImageModeling, BeitModel

    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    codes = codebook(pixels, seed)
    modelling = BeitForMaskedImageModeling(beit_config(width, layers))

    def seen(rows: Tensor) -> Tensor:
        images = to_input(pixels[rows.numpy()]).contiguous()
        return images.flip(3) if torch.rand((), generator=generator) < 0.5 else images

    def masked_loss(rows: Tensor, step: int) -> Tensor:
        images = seen(rows)
        hidden = masks(len(rows), generator)
        scores = modelling(pixel_values=images, bool_masked_pos=hidden).logits
        return nn.functional.cross_entropy(scores[hidden], visual_tokens(images, codes)[hidden])

    shared = {"num_scenes": len(pixels), "batch_size": batch_size, "seed": seed}
    both = steps + tuning_steps
    optimise(modelling.parameters(), masked_loss, steps=steps, learning_rate=1.5e-3,
             progress=lambda done, _, note: progress(done, both, f"masked patches: {note}"), **shared)  # type: ignore[arg-type]  # fmt: skip

    model = BeitModel(beit_config(width, layers), add_pooling_layer=True)
    model.load_state_dict(modelling.beit.state_dict(), strict=False)  # all but the pooler's norm, which begins at one
    sizes = [len(known) for known in ATTRIBUTES.values()]
    head = nn.Linear(width, sum(sizes))

    def attribute_loss(rows: Tensor, step: int) -> Tensor:
        parts = head(model(pixel_values=seen(rows)).pooler_output).split(sizes, 1)
        target = values[rows]
        losses = [weight * nn.functional.cross_entropy(part, target[:, at])
                  for at, (weight, part) in enumerate(zip(HEAD_WEIGHTS, parts, strict=True))]  # fmt: skip
        return torch.stack(losses).sum()

    optimise([*model.parameters(), *head.parameters()], attribute_loss, steps=tuning_steps, learning_rate=1e-3,
             progress=lambda done, _, note: progress(steps + done, both, f"attributes: {note}"), **shared)  # type: ignore[arg-type]  # fmt: skip
    model.eval().save_pretrained(folder)
    save_processor(folder)
