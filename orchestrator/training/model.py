"""Student, text adaptor and losses as one module: one DDP wrap, one state_dict.

Reads and writes nothing. Knows nothing of data or of drivers.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from orchestrator import vocabulary
from orchestrator.losses.objective import Objective

IMAGE = "image"  # [N, 3, S, S] float32: the view, the model's own input rather than a loss's


class DistillationModel(nn.Module):
    """Student, adaptor (only when a loss reads its output) and objective.

    Args:
        student: images [N, 3, S, S] -> (logits [N, C], feature [N, d]).
        adaptor: feature [N, d] -> text prediction [N, e]; dropped after training (VLM-KD, section 2.3).
        objective: the composed losses.
    """

    def __init__(self, student: nn.Module, adaptor: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        self.adaptor = adaptor if vocabulary.TEXT_PREDICTION in objective.required_inputs() else None

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss (scalar) and its detached parts by name."""
        logits, feature = self.student(batch[IMAGE])
        inputs = {**batch, vocabulary.STUDENT_LOGITS: logits, vocabulary.STUDENT_FEATURE: feature}
        if self.adaptor is not None:
            inputs[vocabulary.TEXT_PREDICTION] = self.adaptor(feature)
        total, parts = self.objective(inputs)
        return total, {**parts, "accuracy": (logits.argmax(1) == batch[vocabulary.LABEL]).float().mean().detach()}

    def after_step(self) -> None:
        """Let losses clamp what they learn (a temperature's scale) after an optimiser step."""
        for loss in self.objective.losses.values():
            loss.after_step()  # type: ignore[operator]
