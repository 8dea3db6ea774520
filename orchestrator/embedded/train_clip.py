"""Second step of the tiny CLIP: the text tower and both projections, against the tower's frozen features (as in LiT).

After Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning", CVPR 2022. A text counts as right for
every image that it is true of, so that equal or incomplete texts are no false negatives. Reads scene features; writes
an open_clip folder (open_clip_config.json, open_clip_model.safetensors in float16, tokenizer). Knows nothing of class
lists or data sets.
"""

import json
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.datasets.shapes_grammar import Scene
from orchestrator.embedded import teacher_texts
from orchestrator.embedded.tokenizer import EOS, PAD, VOCABULARY_SIZE, save_tokenizer
from orchestrator.embedded.train_tower import MEAN, STD, to_input

EMBED_DIM = 128
CONTEXT_LENGTH = 40


def clip_config(tower: str, width: int = 128, layers: int = 2) -> dict[str, Any]:
    """The contents of open_clip_config.json: timm image tower at 64 px, a text tower of this width and depth."""
    return {
        "model_cfg": {
            "embed_dim": EMBED_DIM,
            "custom_text": True,
            "vision_cfg": {
                "timm_model_name": tower,
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "image_size": 64,
            },
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": VOCABULARY_SIZE,
                "hf_tokenizer_name": "local",
                "width": width,
                "heads": width // 32,
                "layers": layers,
                "pad_id": PAD,
                "eos_id": EOS,
                "pool_type": "eos",
            },
        },
        "preprocess_cfg": {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic", "resize_mode": "squash"},
    }


def prepare_folder(folder: Path, config: dict[str, Any]) -> None:
    """Write the configuration and the tokenizer."""
    save_tokenizer(folder, framed=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def pooled_features(trunk: nn.Module, pixels: Any, *, flip: bool, progress: Callable[[int, int, str], None]) -> Tensor:
    """Pooled features [N, d] of all scenes, mirrored or not."""
    trunk.eval()
    parts = []
    for start in range(0, len(pixels), 256):
        images = to_input(pixels[start : start + 256])
        parts.append(trunk(images.flip(3) if flip else images))
        progress(start + len(images), len(pixels), "features")
    return torch.cat(parts)


def true_of(told: Sequence[frozenset[int]], values: Tensor) -> Tensor:
    """Bool [N, N]: is text j (of scene j, telling told[j]) true of image i? `values` is int64 [N, 8]."""
    tells = torch.zeros(len(told), values.shape[1], dtype=torch.bool)
    for j, positions in enumerate(told):
        tells[j, list(positions)] = True
    same = values[:, None, :] == values[None, :, :]
    return (same | ~tells[None]).all(-1)


def contrastive_loss(image: Tensor, text: Tensor, right: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE; the target mass of a row (a column) is shared by all right pairs. Unit embeddings [N, e]."""
    logits = scale * image @ text.T
    share = right.float()
    to_text = -(share / share.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    to_image = -(share / share.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (to_text + to_image) / 2


def train_clip(
    folder: Path,
    tower: str,
    trunk: nn.Module,
    features: Sequence[Tensor],
    scenes: Sequence[Scene],
    values: Tensor,
    *,
    steps: int,
    width: int = 128,
    layers: int = 2,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: Callable[[int, int, str], None],
) -> None:
    """Train on features ([N, d] plain and mirrored) of the scenes; write the whole model into the folder.

    `width` (a multiple of 32) and `layers` are the text tower's.
    """
    import open_clip
    from safetensors.torch import save_file

    config = clip_config(tower, width, layers)
    prepare_folder(folder, config)
    torch.manual_seed(seed)
    model: Any = open_clip.model.CustomTextCLIP(**{k: v for k, v in config["model_cfg"].items() if k != "custom_text"})
    model.visual.trunk.load_state_dict(trunk.state_dict())
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    trained = [*model.visual.head.parameters(), *model.text.parameters(), model.logit_scale]
    decay, plain = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    rng = random.Random(seed)
    forms = (teacher_texts.full_text, teacher_texts.class_text, teacher_texts.partial_text)
    model.eval()  # the image tower is locked; nothing else here has a training mode
    causal = model.text.attn_mask
    for step in range(steps):
        rows = rng.sample(range(len(scenes)), batch_size)
        form = rng.choices(forms, (0.4, 0.25, 0.35))[0]
        texts = [form(scenes[row], rng) for row in rows]
        tokens = tokenize([t.text for t in texts])
        length = int((tokens != PAD).sum(1).max())
        model.text.attn_mask = causal[:length, :length]  # most texts take half of the context: 1.7 times as fast
        at = torch.tensor(rows)
        image = nn.functional.normalize(model.visual.head(features[rng.randrange(len(features))][at]), dim=-1)
        text = nn.functional.normalize(model.text(tokens[:, :length]), dim=-1)
        loss = contrastive_loss(image, text, true_of([t.told for t in texts], values[at]), model.logit_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6052)  # exp gives at most 100, as in CLIP
        if step % 20 == 0 or step + 1 == steps:
            progress(step + 1, steps, f"contrastive {loss:.3f}, scale {model.logit_scale.exp():.0f}")
    model.text.attn_mask = causal
    state = {k: v.half() if v.dtype == torch.float32 else v for k, v in deepcopy(model.state_dict()).items()}
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "open_clip_model.safetensors")
