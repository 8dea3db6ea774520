"""The objective: named losses, each with a weight, summed.

Holds the module that composes losses and its builder from settings. Reads and writes nothing. Knows nothing of the
student, the batch's source, or any single loss.
"""

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Final, Self, cast

import torch
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.loss import Loss
from orchestrator.losses.weight_schedule import WeightSchedule

if TYPE_CHECKING:
    from orchestrator.losses import LossSettings

VIEWS = "more views of an image (training.more_views) and a student that reads images alone"
# Which setting makes an input available; named in the error text when a loss asks for an input that is not there.
SUPPLIED_BY: Final[Mapping[str, str]] = {
    v.STUDENT_LOGITS: "student with a classifier (student.classifier)",
    v.STUDENT_FEATURE: "student that computes one (all but projection and bottleneck)",
    v.STUDENT_MAP: "student with a map: of images, or attention and cbam on the teacher's map (student.image_input)",
    v.STUDENT_EMBEDDING: "student with an embedding (student.embedding)",
    v.STUDENT_TEXT: "text_sources, and a student with a side for texts (student.text_side: true)",
    v.TEXT_PREDICTION: "text_sources, and a student with a feature, which the adaptor reads (adaptor)",
    v.VIEW_FEATURE: VIEWS,
    v.VIEW_LOGITS: f"{VIEWS}, with a classifier",
    v.KEY_FEATURE: VIEWS,
    v.LABEL: "dataset",
    v.TARGET: "training.mixing",
    v.MIX_ROW: "training.mixing",
    v.MIX_WEIGHT: "training.mixing",
    v.IMAGE_ROW: "dataset",
    v.TEXT: "text_sources",
    v.TEXT_ID: "text_sources",
    v.TEACHER_LOGITS: "image_teacher that encodes texts too, teacher_tuning, or logits among image_teacher.outputs",
    v.TEACHER_IMAGE: "image_teacher",
    v.TEACHER_FEATURE: "image_teacher.outputs: [embedding, feature]",
    v.TEACHER_MAP: "image_teacher.outputs: [embedding, tokens]",
    v.CLASS_TEXT: "image_teacher that encodes texts too, without teacher_tuning (class_text says which texts)",
    v.DOMAIN_TEXT: "domain_texts, and an image_teacher that encodes texts too",
}


class Objective(nn.Module):
    """Weighted sum of named losses; the weights may follow a schedule (`set_progress`).

    Attributes:
        keep_terms: keep the weighted terms of the next forward in `terms`, with their graph, for gradient reports.
    """

    def __init__(
        self,
        losses: Mapping[str, tuple[float, Loss]],
        schedules: Mapping[str, WeightSchedule] | None = None,
    ) -> None:
        super().__init__()
        if not losses:
            raise ConfigError("the objective has no loss", expected="at least one loss with a weight above 0")
        self.weights = {name: weight for name, (weight, _) in losses.items()}
        self.schedules = {name: one for name, one in (schedules or {}).items() if name in losses}
        self.factors = {name: one.factor(0.0) for name, one in self.schedules.items()}
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in losses.items()})
        self.keep_terms = False
        self.terms: dict[str, Tensor] = {}
        for name, loss in self.named():
            unknown = {*loss.inputs(), *loss.optional_inputs()} - v.BATCH_INPUTS
            assert not unknown, f"loss {name} declares inputs outside the vocabulary: {sorted(unknown)}"

    @classmethod
    def build(
        cls,
        settings: "Mapping[str, LossSettings]",
        context: LossContext,
        schedules: Mapping[str, WeightSchedule] | None = None,
    ) -> Self:
        """The objective of the settings' losses, by name; a loss of weight 0 is left out and needs no input.

        Raises:
            ConfigError: naming every loss that cannot be built, and why.
        """
        built: dict[str, tuple[float, Loss]] = {}
        refused: dict[str, ConfigError] = {}
        for name, one in settings.items():
            if one.weight > 0:
                try:
                    built[name] = (one.weight, one.build(context))
                except ConfigError as error:
                    refused[name] = error
        if refused:
            raise ConfigError(
                "; ".join(f"losses.{name}: {error.wrong}" for name, error in refused.items()),
                expected="; ".join(dict.fromkeys(error.expected for error in refused.values() if error.expected)),
                remedy="; ".join(dict.fromkeys(error.remedy for error in refused.values() if error.remedy)),
            )
        return cls(built, schedules)

    def named(self) -> list[tuple[str, Loss]]:
        """The losses by name."""
        return [(name, cast(Loss, module)) for name, module in self.losses.items()]

    def required_inputs(self) -> frozenset[str]:
        """Names of the batch inputs that some loss needs."""
        return frozenset(name for _, loss in self.named() for name in loss.inputs())

    def optional_inputs(self) -> frozenset[str]:
        """Names of the batch inputs that some loss also takes, where they are there."""
        return frozenset(name for _, loss in self.named() for name in loss.optional_inputs())

    def key_momentum(self) -> float | None:
        """Momentum of the student's copy that the losses ask for; None when none reads its output.

        Raises:
            ConfigError: two losses want different ones.
        """
        wanted = {name: loss.key_momentum for name, loss in self.named() if loss.key_momentum is not None}
        if len(set(wanted.values())) > 1:
            raise ConfigError(f"losses want momentum copies of different momenta: {wanted}", remedy="set them alike")
        return next(iter(wanted.values()), None)

    def check(self, supplied: Set[str]) -> None:
        """ConfigError naming each missing input, the loss that needs it and the setting that supplies it."""
        missing = [
            f"losses.{name} needs {wanted}, supplied by: {SUPPLIED_BY[wanted]}"
            for name, loss in self.named()
            for wanted in loss.inputs()
            if wanted not in supplied
        ]
        if missing:
            raise ConfigError("; ".join(missing), remedy="set what supplies it, or remove the loss")

    def set_progress(self, fraction: float) -> None:
        """Set the factors of scheduled weights for this share of the training that is over (0..1)."""
        self.factors = {name: one.factor(fraction) for name, one in self.schedules.items()}

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted total (scalar); and detached: each unweighted loss by name, what it observes as `name.what`."""
        parts: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        for name, loss in self.named():
            wanted = [*loss.inputs(), *(name for name in loss.optional_inputs() if name in batch)]
            value = loss(**{name: batch[name] for name in wanted})
            terms[name] = self.weights[name] * self.factors.get(name, 1.0) * value
            parts[name] = value.detach()
            parts.update({f"{name}.{what}": seen for what, seen in loss.observed().items()})
            if name in self.factors:
                parts[f"{name}.weight"] = value.new_tensor(self.weights[name] * self.factors[name])
        self.terms = terms if self.keep_terms else {}
        return torch.stack(list(terms.values())).sum(), parts
