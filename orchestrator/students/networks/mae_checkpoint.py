"""A checkpoint of masked-autoencoder pre-training made into weights that `student.checkpoint` of a timm ViT reads.

Reads a torch file of the official MAE or LiVT code, with `weights_only`; writes a .safetensors file in timm's format.
Knows nothing of students. Sources: facebookresearch/mae `main_finetune.py` and LiVT's copy of it (methods 3.3, 11).
"""

import argparse
import difflib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from orchestrator.errors import ArtifactError, ConfigError

Pooling = Literal["avg", "token"]
OF_DECODER = ("decoder_", "mask_token")  # what pre-training has beside the encoder
CLASSIFIER = "head."  # of an official checkpoint that was fine-tuned already; a student takes it where its shape fits


@dataclass(frozen=True)
class Converted:
    """What a conversion did: the names that were written, left out, and begun afresh (`fc_norm` of an encoder)."""

    written: tuple[str, ...]
    left_out: tuple[str, ...]
    fresh: tuple[str, ...]


def convert_mae(
    source: Path, target: Path, *, model: str, pooling: Pooling = "avg", image_size: int | None = None,
    dry_run: bool = False,
) -> Converted:  # fmt: skip
    """Write the encoder of the checkpoint at `source` to `target` under timm's names.

    With average pooling timm, like the official fine-tuning, normalises after the pooling (`fc_norm`). A pre-trained
    encoder has no such norm: it begins at weight 1 and bias 0, and the encoder's own final norm is left out.

    Args:
        source: {"model": state_dict, ...}, or a state_dict alone; whatever else is in the file is not read.
        target: ends in .safetensors; is written whole or not at all.
        model: timm's name of the ViT, such as vit_base_patch16_224.
        image_size: side of the images of the pre-training, pixels; None: timm's own for the model.
        dry_run: read and check everything, and write nothing.

    Raises:
        ConfigError: no timm ViT of this name, or a target of another format.
        ArtifactError: a file that cannot be read without running code, or whose names or shapes are not the model's.
    """
    if target.suffix != ".safetensors":
        raise ConfigError(f"{target} does not end in .safetensors", remedy="give the output another name")
    expected = _expected(model, pooling, image_size)
    tensors = _state_dict(source)
    left_out = [name for name in tensors if name.startswith(OF_DECODER)]
    kept = {name: value for name, value in tensors.items() if name not in left_out}
    fresh: list[str] = []
    if pooling == "avg" and not any(name.startswith("fc_norm.") for name in kept):
        own_norm = [name for name in kept if name.startswith("norm.")]
        left_out += own_norm
        kept = {name: value for name, value in kept.items() if name not in own_norm}
        width = expected["fc_norm.weight"][0]
        kept |= {"fc_norm.weight": torch.ones(width), "fc_norm.bias": torch.zeros(width)}
        fresh = ["fc_norm.weight", "fc_norm.bias"]
    _check(source, kept, expected, model)
    done = Converted(tuple(sorted(kept)), tuple(sorted(left_out)), tuple(fresh))
    if dry_run:
        return done
    target.parent.mkdir(parents=True, exist_ok=True)
    written = {name: value.detach().float().contiguous() for name, value in sorted(kept.items())}
    making = target.with_name(f".{target.name}.tmp")
    save_file(written, making, metadata={"format": "pt", "model": model, "pooling": pooling})
    making.replace(target)
    return done


def _expected(model: str, pooling: Pooling, image_size: int | None) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the model's weights without a classifier."""
    if not timm.is_model(model) or "vit" not in model:
        near = difflib.get_close_matches(model, timm.list_models("*vit*"), n=3)
        raise ConfigError(
            f"model {model!r} is no ViT of timm",
            expected=f"a name from timm.list_models('vit*'){', such as ' + ', '.join(near) if near else ''}",
        )
    size = {} if image_size is None else {"img_size": image_size}
    with torch.device("meta"):
        network = timm.create_model(model, num_classes=0, global_pool=pooling, **size)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _state_dict(source: Path) -> dict[str, Tensor]:
    if not source.is_file():
        raise ArtifactError(f"{source} is not a file", remedy="correct the path of the checkpoint")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # the official codes keep their arguments beside
            found: Any = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        told = str(error).split("\n", 1)[0][:200]
        raise ArtifactError(
            f"{source} cannot be read as weights alone: {told}",
            expected="a file of torch.save with tensors and plain values; others could run code",
            remedy="download it again, or save its state_dict by itself where you trust it",
        ) from error
    inner = found.get("model", found) if isinstance(found, Mapping) else found
    if not isinstance(inner, Mapping) or not inner or not all(isinstance(value, Tensor) for value in inner.values()):
        keys = ", ".join(map(str, list(found)[:5])) if isinstance(found, Mapping) else type(found).__name__
        raise ArtifactError(
            f"{source} holds no state_dict (found: {keys})",
            expected='{"model": names and tensors}, as the MAE and LiVT codes save, or names and tensors alone',
        )
    return dict(inner)


def _check(source: Path, kept: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], model: str) -> None:
    wrong = [f"{name} is missing" for name in expected if name not in kept]
    for name, value in kept.items():
        if name not in expected and not name.startswith(CLASSIFIER):
            wrong.append(f"{name} is unknown")
        elif name in expected and tuple(value.shape) != expected[name]:
            wrong.append(f"{name} is {tuple(value.shape)}, not {expected[name]}")
    if wrong:
        more = "" if len(wrong) <= 8 else f"; {len(wrong)} in all"
        raise ArtifactError(
            f"{source} does not fit {model}: {'; '.join(wrong[:8])}{more}",
            expected="the encoder of a masked autoencoder: cls_token, pos_embed, patch_embed, blocks, norm",
            remedy="name the model whose width, depth, patch and image size the checkpoint has",
        )
