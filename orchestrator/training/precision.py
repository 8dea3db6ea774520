"""The precision of a training: which number format products have, how gradients in half precision keep from vanishing.

Reads and writes nothing but torch's process-wide switches of GPU products. Knows nothing of models or losses.
"""

from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.training.settings import Precision, TrainingSettings

AUTOCAST_DTYPE: dict[Precision, torch.dtype | None] = {
    "fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16
}  # fmt: skip


def set_gpu_products(settings: TrainingSettings) -> None:
    """Say how a GPU multiplies float32 and which algorithms it takes; nothing changes on a CPU.

    torch's own default lets convolutions use TensorFloat-32 (10 bits of mantissa); here only `precision: tf32` does.
    """
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = settings.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = settings.precision == "tf32"
        torch.backends.cudnn.benchmark = settings.cudnn_benchmark
        torch.backends.cudnn.deterministic = not settings.cudnn_benchmark


class Stepper:
    """Backward passes and optimiser steps in one precision: gradients are accumulated, unscaled, clipped and applied.

    Args:
        optimizer: over `model`'s parameters.
        clip_norm: largest norm of the whole gradient, over all its micro-batches; None: not clipped.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        precision: Precision,
        device: torch.device,
        clip_norm: float | None,
    ) -> None:
        self._optimizer, self._model, self._clip_norm = optimizer, model, clip_norm
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def begin(self) -> None:
        """Forget the last step's gradient."""
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a micro-batch's share of the loss."""
        self._scaler.scale(loss).backward()

    def step(self) -> dict[str, Tensor]:
        """Apply the gradient; under fp16 one that overflowed is left out, and what that did is told.

        Returns:
            fp16 only: `loss_scale` that was used, and `skipped_steps`, 1 where the step was left out (its mean over an
            epoch is the share of such steps).
        """
        if self._clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        self._scaler.step(self._optimizer)
        if not self._scaler.is_enabled():
            return {}
        before = self._scaler.get_scale()
        self._scaler.update()
        skipped = self._scaler.get_scale() < before
        return {"loss_scale": torch.tensor(before), "skipped_steps": torch.tensor(float(skipped))}

    def state(self) -> dict[str, Any]:
        """The scaler's state; empty without one."""
        return self._scaler.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state)
