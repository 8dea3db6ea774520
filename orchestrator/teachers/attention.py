"""Attention maps of a tower's last block, by a hook on what the library computes anyway.

Knows the attention modules of torch (open_clip's own towers) and of timm. Imported by `build` functions only, because
it imports torch.
"""

from typing import Any

from torch import Tensor, nn

from orchestrator.errors import ConfigError
from orchestrator.teachers.torch_encoders import Kept


def keep_attention(name: str, tower: Any) -> Kept:
    """Make the last attention module of `tower` leave its softmax [n, heads, T, T] in the returned place at each pass.

    Raises:
        ConfigError: the tower has no attention module of a known kind (a convolutional network, or a rotary one).
    """
    kept = Kept()
    modules = list(tower.modules())
    if natives := [module for module in modules if isinstance(module, nn.MultiheadAttention)]:
        natives[-1].register_forward_pre_hook(_ask_for_weights, with_kwargs=True)
        natives[-1].register_forward_hook(lambda module, inputs, result: kept.keep(result[1]))
        return kept
    # timm: the plain path passes the softmax through a dropout module, which in evaluation is the identity.
    if timm := [
        m for m in modules if hasattr(m, "fused_attn") and isinstance(getattr(m, "attn_drop", None), nn.Dropout)
    ]:
        timm[-1].fused_attn = False

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
            kept.keep(result)

        timm[-1].attn_drop.register_forward_hook(keep)
        return kept
    raise ConfigError(
        f"model {name}: {type(tower).__name__} has no attention maps that can be read",
        expected="a vision transformer, or outputs without attention",
    )


def _ask_for_weights(
    module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return inputs, {**options, "need_weights": True, "average_attn_weights": False}
