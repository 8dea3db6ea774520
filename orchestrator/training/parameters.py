"""Which parameters are trained, and how fast: freezing by name, factors by name and by depth.

Patterns are shell-style (`*`, `?`, `[123]`) over the names of the whole model's parameters, such as
`student.backbone.layer4.2.conv1.weight` or `objective.losses.text.log_scale`. Reads and writes nothing. Knows nothing
of optimisers.
"""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from orchestrator.errors import ConfigError

# Stands for a classifier outside the backbone: timm puts names that it does not know into the last layer.
_HEAD = "(head)"


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Take parameters out of training; a pattern with a leading `!` keeps them in, and later patterns win.

    BatchNorm's running statistics go on in any case: only parameters are frozen. What is not trained anyway, such as a
    momentum copy, is never put in.

    Raises:
        ConfigError: a pattern matches no parameter, or no parameter is left to train.
    """
    frozen: set[str] = set()
    for pattern in patterns:
        names = _matching(model, pattern.removeprefix("!"), "training.freeze")
        frozen = frozen - names if pattern.startswith("!") else frozen | names
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("training.freeze leaves no parameter to train", remedy="freeze less, or add a `!` pattern")


def learning_rate_scales(
    model: nn.Module, *, scales: Mapping[str, float], layer_decay: float | None
) -> dict[str, float]:
    """Factor of the learning rate by parameter name: the product of all patterns that match, and of the layer's.

    `layer_decay` d gives the layers of the student's backbone the factors 1 (head), d, d^2, ... down to the stem, where
    timm says what a layer is; everything else of the model has the head's. For ViTs this is BEiT's and MAE's rule.

    Raises:
        ConfigError: a pattern matches no parameter, or layer_decay is set and the backbone tells no layers.
    """
    factor = dict.fromkeys((name for name, _ in model.named_parameters()), 1.0)
    if layer_decay is not None:
        prefix, backbone = _backbone(model)
        if not hasattr(backbone, "group_matcher"):
            raise ConfigError(
                f"training.optimizer.layer_decay: {type(backbone).__name__} does not tell its layers",
                expected="a student of kind timm",
                remedy="set layer_decay: null, or learning_rate_scales by name",
            )
        from timm.models._manipulate import group_with_matcher

        names = [name for name, _ in backbone.named_parameters()]
        pairs = iter([(name, None) for name in (*names, _HEAD)])
        layer: Any = group_with_matcher(pairs, backbone.group_matcher(coarse=False), reverse=True)
        for name in names:
            factor[f"{prefix}{name}"] *= layer_decay ** (layer[_HEAD] - layer[name])
    for pattern, scale in scales.items():
        for name in _matching(model, pattern, "training.optimizer.learning_rate_scales"):
            factor[name] *= scale
    return factor


def never_decayed(model: nn.Module) -> set[str]:
    """Names that the student's backbone itself excludes from weight decay, such as ViT's position embedding."""
    prefix, backbone = _backbone(model)
    return {f"{prefix}{name}" for name in backbone.no_weight_decay()} if hasattr(backbone, "no_weight_decay") else set()


def _backbone(model: nn.Module) -> tuple[str, Any]:
    """The student's backbone and the prefix of its names; the model itself where it has no student."""
    student = getattr(model, "student", None)
    backbone = getattr(student, "backbone", None)
    return ("student.backbone.", backbone) if backbone is not None else ("", model)


def _matching(model: nn.Module, pattern: str, setting: str) -> set[str]:
    names = [name for name, _ in model.named_parameters()]
    found = {name for name in names if fnmatchcase(name, pattern)}
    if not found:
        near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4) or names[:3]
        raise ConfigError(
            f"{setting}: {pattern!r} matches no parameter",
            expected=f"a pattern over names such as {', '.join(near)}",
        )
    return found
