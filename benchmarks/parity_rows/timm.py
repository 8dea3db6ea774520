"""timm's losses, and its distillation tasks with a student and a teacher whose outputs are the row's tensors."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.parity_rows.row import Row, draws, integers, normal
from orchestrator.losses.formulas.binary_cross_entropy import BinaryCrossEntropy, binary_cross_entropy
from orchestrator.losses.formulas.fitnet import FitNet
from orchestrator.losses.formulas.hinton_kd import kd_with_cross_entropy
from orchestrator.losses.formulas.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropy
from orchestrator.losses.formulas.multi_label_asymmetric import asymmetric_loss

PACKAGE = "timm"
N, C, D, D_TEACHER = 16, 11, 13, 19


class Fixed(nn.Module):
    """A network whose logits and pooled feature are given."""

    in_chans, num_classes = 3, C
    pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # noqa: RUF012  (read by timm)

    def __init__(self, feature: Tensor, head: Tensor | None = None) -> None:
        super().__init__()
        self.feature, self.head, self.num_features = feature, head, feature.shape[1]

    def forward_features(self, images: Tensor) -> Tensor:
        return self.feature

    def forward_head(self, feature: Tensor, pre_logits: bool = False) -> Tensor:
        return feature if pre_logits or self.head is None else feature @ self.head

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.feature)


def task_of(name: str, student: Fixed, teacher: Fixed, **options: Any) -> Any:
    """One of its tasks in float64."""
    import timm.task

    return getattr(timm.task, name)(
        student, teacher, nn.CrossEntropyLoss(), dtype=torch.float64, verbose=False, **options
    )


def parts_of(task: Any, label: Tensor) -> dict[str, Tensor]:
    """What a task returns for images that its networks do not look at."""
    found: dict[str, Tensor] = task(torch.zeros(len(label), 3, 2, 2, dtype=torch.float64), label)
    return found


def their_kd(student: Tensor, teacher: Tensor, label: Tensor) -> Tensor:
    """Both parts of its task on logits, weighed to a sum of 1."""
    task = task_of("LogitDistillationTask", Fixed(student), Fixed(teacher), task_loss_weight=0.3, temperature=3.0)
    return parts_of(task, label)["loss"]


def our_fitnet() -> FitNet:
    """Ours, with the same regressor each time."""
    torch.manual_seed(0)
    return FitNet(output="feature", student_dim=D, teacher_dim=D_TEACHER).double()


def their_hint(student: Tensor, teacher: Tensor, head: Tensor, label: Tensor) -> Tensor:
    """The distillation part of its task on features, with our regressor."""
    task = task_of("FeatureDistillationTask", Fixed(student, head), Fixed(teacher))
    task.trainable_module.projection.load_state_dict(our_fitnet().regressor.state_dict())
    return parts_of(task, label)["kd_loss"]


def their_loss(name: str, **options: Any) -> Any:
    """One of its losses of logits and a target."""

    def call(student: Tensor, target: Tensor) -> Tensor:
        import timm.loss

        value: Tensor = getattr(timm.loss, name)(**options)(student, target)
        return value

    return call


def soft_targets(generator: torch.Generator) -> Tensor:
    """Label distributions, as mixing makes them."""
    return torch.softmax(2 * normal(N, C)(generator), dim=1)


def our_soft_cross_entropy(student: Tensor, target: Tensor) -> Tensor:
    """Without a prior; the label gives way to the target."""
    return LogitAdjustedCrossEntropy((1,) * C, tau=0)(student, target.argmax(dim=1), target)


def their_asymmetric(student: Tensor, target: Tensor) -> Tensor:
    """Its loss without gradient through the focal weight."""
    from timm.loss import AsymmetricLossMultiLabel

    loss = AsymmetricLossMultiLabel(gamma_pos=1, gamma_neg=2, clip=0.05, disable_torch_grad_focal_loss=True)
    value: Tensor = loss(student, target)
    return value


HARD, SOFT = draws(student=normal(N, C), target=integers(C, N)), draws(student=normal(N, C), target=soft_targets)
ROWS = [
    Row(
        "kd_with_cross_entropy",
        "LogitDistillationTask",
        PACKAGE,
        draws(student=normal(N, C), teacher=normal(N, C), label=integers(C, N)),
        lambda student, teacher, label: kd_with_cross_entropy(
            student, teacher, label, hard_label_weight=0.3, temperature=3.0
        ),
        their_kd,
    ),
    Row(
        "fitnet, output: feature",
        "FeatureDistillationTask",
        PACKAGE,
        draws(student=normal(N, D), teacher=normal(N, D_TEACHER), head=normal(D, C), label=integers(C, N)),
        lambda student, teacher, head, label: our_fitnet()(student_feature=student, teacher_feature=teacher),
        their_hint,
    ),
    Row(
        "logit_adjusted_cross_entropy, tau: 0, label_smoothing: 0.1",
        "LabelSmoothingCrossEntropy",
        PACKAGE,
        HARD,
        lambda student, target: LogitAdjustedCrossEntropy((1,) * C, tau=0, label_smoothing=0.1)(student, target),
        their_loss("LabelSmoothingCrossEntropy", smoothing=0.1),
    ),
    Row(
        "logit_adjusted_cross_entropy of target, tau: 0",
        "SoftTargetCrossEntropy",
        PACKAGE,
        SOFT,
        our_soft_cross_entropy,
        their_loss("SoftTargetCrossEntropy"),
    ),
    Row(
        "binary_cross_entropy, label_smoothing: 0.1",
        "BinaryCrossEntropy, sum_classes",
        PACKAGE,
        HARD,
        lambda student, target: BinaryCrossEntropy((1,) * C, label_smoothing=0.1)(student, target),
        their_loss("BinaryCrossEntropy", smoothing=0.1, sum_classes=True),
    ),
    Row(
        "binary_cross_entropy of target, target_threshold: 0.2",
        "BinaryCrossEntropy, sum_classes, threshold",
        PACKAGE,
        SOFT,
        lambda student, target: binary_cross_entropy(student, target, target_threshold=0.2),
        their_loss("BinaryCrossEntropy", target_threshold=0.2, sum_classes=True),
    ),
    Row(
        "multi_label_asymmetric, learn_bias: false",
        "AsymmetricLossMultiLabel, detached weight",
        PACKAGE,
        draws(student=normal(N, C), target=integers(2, N, C)),
        lambda student, target: asymmetric_loss(torch.sigmoid(student), target),
        their_asymmetric,
        tolerance=1e-5,  # it computes in float32 whatever it is given
    ),
]
