"""What every loss of the union must keep, run on each kind with its default settings and on named variants.

A new loss is tested here as soon as it stands in the union; inputs come from the closed vocabulary.
"""

import typing

import pytest
import torch
from torch import Tensor

from orchestrator.frozen import Frozen
from orchestrator.losses import LossSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.loss import Loss
from orchestrator.losses.image_distillation import ImageDistillationSettings
from orchestrator.losses.logit_adjusted_cross_entropy import LogitAdjustedCrossEntropySettings
from orchestrator.losses.text_contrastive import TextContrastiveSettings
from orchestrator.vocabulary import (
    BATCH_INPUTS,
    LABEL,
    STUDENT_FEATURE,
    STUDENT_LOGITS,
    TEACHER_IMAGE,
    TEACHER_LOGITS,
    TEXT,
    TEXT_ID,
    TEXT_PREDICTION,
)

C, D_STUDENT, D_TEXT, D_TEACHER, Q = 5, 6, 7, 4, 2
CONTEXT = LossContext((200, 90, 30, 9, 2), D_STUDENT, D_TEXT, D_TEACHER, Q, C)
TRAINED = (STUDENT_LOGITS, STUDENT_FEATURE, TEXT_PREDICTION)
CONSTANT = (TEXT, TEACHER_LOGITS, TEACHER_IMAGE)

KINDS: tuple[type[Frozen], ...] = typing.get_args(typing.get_args(LossSettings)[0])
VARIANTS: list[Frozen] = [
    *(kind() for kind in KINDS),
    LogitAdjustedCrossEntropySettings(tau=0.5),
    TextContrastiveSettings(symmetric=True, merge_duplicates=True),
    TextContrastiveSettings(reduction="sum", learnable=False, negatives="per_worker"),
    ImageDistillationSettings(direction="student_to_teacher", raw=True, mean_dims=True),
    ImageDistillationSettings(feature_weight=0),
    ImageDistillationSettings(logit_weight=0),
]
every_loss = pytest.mark.parametrize(
    "settings", VARIANTS, ids=lambda s: "-".join(str(v) for v in s.model_dump(exclude_defaults=True).values()) or s.kind
)


def build(settings: Frozen) -> Loss:
    torch.manual_seed(0)
    loss = settings.build(CONTEXT)  # type: ignore[attr-defined]
    assert isinstance(loss, Loss)
    return loss


def batch(num_rows: int, *, dtype: torch.dtype = torch.float64, factor: float = 1.0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    text_id = torch.arange(num_rows * Q).reshape(num_rows, Q)
    if num_rows > 3:
        text_id[1, 0] = -1  # a missing text
        text_id[3, 1] = text_id[2, 1]  # a text shared by two images
    return {
        STUDENT_LOGITS: factor * normal(num_rows, C),
        STUDENT_FEATURE: factor * normal(num_rows, D_STUDENT),
        TEXT_PREDICTION: factor * normal(num_rows, D_TEXT),
        LABEL: torch.arange(num_rows) % C,
        TEXT: torch.nn.functional.normalize(normal(num_rows, Q, D_TEXT), dim=-1) * (text_id >= 0)[..., None],
        TEXT_ID: text_id,
        TEACHER_LOGITS: factor * normal(num_rows, C),
        TEACHER_IMAGE: torch.nn.functional.normalize(normal(num_rows, D_TEACHER), dim=-1),
    }


def evaluate(loss: Loss, inputs: dict[str, Tensor]) -> Tensor:
    value = loss(**{name: inputs[name] for name in loss.inputs()})
    assert isinstance(value, Tensor)
    return value


@every_loss
def test_inputs_are_from_the_closed_vocabulary_and_the_value_is_a_finite_scalar(settings: Frozen) -> None:
    loss = build(settings)
    assert loss.inputs()
    assert set(loss.inputs()) <= BATCH_INPUTS
    value = evaluate(loss.double(), batch(6))
    assert value.ndim == 0
    assert value.isfinite()
    assert value > 0


@every_loss
def test_gradients_agree_with_finite_differences(settings: Frozen) -> None:
    loss = build(settings).double()
    inputs = batch(6)
    trained = [name for name in loss.inputs() if name in TRAINED]
    parameters = dict(loss.named_parameters())
    tensors = [inputs[name].requires_grad_() for name in trained] + list(parameters.values())

    def value(*values: Tensor) -> Tensor:
        given = dict(zip(trained, values[: len(trained)], strict=True))
        learnt = dict(zip(parameters, values[len(trained) :], strict=True))
        rest = {name: inputs[name] for name in loss.inputs() if name not in given}
        result = torch.func.functional_call(loss, learnt, args=(), kwargs={**given, **rest})
        assert isinstance(result, Tensor)
        return result

    assert torch.autograd.gradcheck(value, tuple(tensors))


@every_loss
def test_the_order_of_the_batch_does_not_matter(settings: Frozen) -> None:
    loss = build(settings).double()
    inputs = batch(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    shuffled = {name: tensor[order] for name, tensor in inputs.items()}
    torch.testing.assert_close(evaluate(loss, shuffled), evaluate(loss, inputs), rtol=1e-12, atol=1e-12)


@every_loss
def test_no_gradient_flows_into_texts_and_teachers(settings: Frozen) -> None:
    loss = build(settings).double()
    inputs = batch(6)
    for name in (*TRAINED, *CONSTANT):
        inputs[name].requires_grad_()
    evaluate(loss, inputs).backward()
    assert all(inputs[name].grad is None for name in CONSTANT)
    reached = [inputs[name].grad for name in loss.inputs() if name in TRAINED]
    assert reached
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in reached)
    assert all(parameter.grad is not None for parameter in loss.parameters())


@every_loss
@pytest.mark.parametrize("factor", [0.0, 1e4])
def test_extreme_values_give_finite_losses_and_gradients(settings: Frozen, factor: float) -> None:
    loss = build(settings)
    inputs = batch(6, dtype=torch.float32, factor=factor)
    trained = [inputs[name].requires_grad_() for name in loss.inputs() if name in TRAINED]
    value = evaluate(loss, inputs)
    value.backward()
    assert value.isfinite()
    for tensor in [*trained, *loss.parameters()]:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@every_loss
def test_half_precision_inputs_are_cast_up_and_autocast_changes_nothing(settings: Frozen) -> None:
    loss = build(settings)
    half = {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in batch(6).items()}
    exact = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in half.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = evaluate(loss, half)
    assert value.dtype == torch.float32
    assert torch.equal(value, evaluate(loss, exact))


@every_loss
def test_a_batch_of_one_is_finite_and_has_gradients(settings: Frozen) -> None:
    loss = build(settings)
    inputs = batch(1, dtype=torch.float32)
    trained = [inputs[name].requires_grad_() for name in loss.inputs() if name in TRAINED]
    value = evaluate(loss, inputs)
    value.backward()
    assert value.isfinite()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in trained)


@every_loss
def test_settings_survive_a_round_trip_through_json(settings: Frozen) -> None:
    assert type(settings).model_validate_json(settings.model_dump_json()) == settings
