"""A batch with every input of the closed vocabulary, the context that fits it, and the losses' variants under contract.

`loss_variants/` holds one file per family with the settings that the contract runs besides each kind's defaults.
"""

import importlib
import pkgutil
import typing

import torch
from torch import Tensor

from orchestrator import vocabulary as v
from orchestrator.frozen import Frozen
from orchestrator.losses import LossSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.loss import Loss
from tests.contracts import loss_variants

ROWS, C, D_STUDENT, D_TEXT, Q, VIEWS, DOMAINS, NUM_IMAGES = 8, 5, 6, 7, 2, 3, 3, 20
MAP, TEACHER_MAP, D_TEACHER_FEATURE = (4, 3, 3), (6, 4, 4), 9
CONTEXT = LossContext(
    class_count=(200, 90, 30, 9, 2),
    feature_dim=D_STUDENT,
    text_dim=D_TEXT,
    teacher_dim=D_TEXT,  # one space of images and texts
    num_texts=Q,
    num_classes=C,
    map_dim=MAP[0],
    embedding_dim=D_TEXT,
    teacher_feature_dim=D_TEACHER_FEATURE,
    teacher_map_dim=TEACHER_MAP[0],
    num_images=NUM_IMAGES,
    batch_size=ROWS,
    num_views=VIEWS,
    num_domains=DOMAINS,
)
NOT_SUPPLIED = (v.TARGET, v.MIX_ROW, v.MIX_WEIGHT)  # of mixing, which is off unless a test says so
KINDS: tuple[type[Frozen], ...] = typing.get_args(typing.get_args(LossSettings)[0])


def variants() -> list[Frozen]:
    """Every kind with its default settings, and what the families name."""
    found: list[Frozen] = [kind() for kind in KINDS]
    for module in pkgutil.iter_modules(loss_variants.__path__):
        found += importlib.import_module(f"{loss_variants.__name__}.{module.name}").VARIANTS
    return found


def name_of(settings: Frozen) -> str:
    """A readable name of a variant."""
    changed = settings.model_dump(exclude_defaults=True)
    kind = type(settings).model_fields["kind"].default
    return "-".join([kind, *(f"{name}={value}" for name, value in changed.items() if name != "kind")])


def build(settings: Frozen) -> Loss:
    """The loss with the same start values each time."""
    torch.manual_seed(0)
    loss = settings.build(CONTEXT)  # type: ignore[attr-defined]
    assert isinstance(loss, Loss)
    return loss


def batch(num_rows: int, *, dtype: torch.dtype = torch.float64, factor: float = 1.0) -> dict[str, Tensor]:
    """Random inputs; `factor` scales what the student makes and the teacher's logits, features and maps."""
    random = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    def unit(tensor: Tensor) -> Tensor:
        return torch.nn.functional.normalize(tensor, dim=-1)

    text_id = torch.arange(num_rows * Q).reshape(num_rows, Q)
    if num_rows > 3:
        text_id[1, 0] = -1  # a missing text
        text_id[3, 1] = text_id[2, 1]  # a text shared by two images
    return {
        v.STUDENT_LOGITS: factor * normal(num_rows, C),
        v.STUDENT_FEATURE: factor * normal(num_rows, D_STUDENT),
        v.STUDENT_MAP: factor * normal(num_rows, *MAP),
        v.STUDENT_EMBEDDING: factor * normal(num_rows, D_TEXT),
        v.STUDENT_TEXT: factor * normal(num_rows, D_TEXT),
        v.TEXT_PREDICTION: factor * normal(num_rows, D_TEXT),
        v.VIEW_FEATURE: factor * normal(num_rows, VIEWS, D_STUDENT),
        v.VIEW_LOGITS: factor * normal(num_rows, VIEWS, C),
        v.KEY_FEATURE: factor * normal(num_rows, D_STUDENT),
        v.LABEL: torch.arange(num_rows) % C,
        v.IMAGE_ROW: torch.arange(num_rows) * 7 % NUM_IMAGES,
        v.TEXT: unit(normal(num_rows, Q, D_TEXT)) * (text_id >= 0)[..., None],
        v.TEXT_ID: text_id,
        v.TEACHER_LOGITS: factor * normal(num_rows, C),
        v.TEACHER_IMAGE: unit(normal(num_rows, D_TEXT)),
        v.TEACHER_FEATURE: factor * normal(num_rows, D_TEACHER_FEATURE),
        v.TEACHER_MAP: factor * normal(num_rows, *TEACHER_MAP),
        v.CLASS_TEXT: unit(normal(C, D_TEXT)),
        v.DOMAIN_TEXT: normal(C, DOMAINS, D_TEXT),
    }


def evaluate(loss: Loss, inputs: dict[str, Tensor]) -> Tensor:
    """The loss of what it reads of a batch."""
    names = [*loss.inputs(), *(name for name in loss.optional_inputs() if name in inputs)]
    value = loss(**{name: inputs[name] for name in names})
    assert isinstance(value, Tensor)
    return value


def trained(loss: Loss) -> list[str]:
    """The inputs of a loss that have a gradient."""
    return [name for name in loss.inputs() if name in v.FROM_STUDENT]
