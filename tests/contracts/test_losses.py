"""What every loss of the union must keep, run on each kind with its default settings and on the families' variants.

A new loss is tested here as soon as it stands in the union; inputs come from the closed vocabulary. What cannot hold
for a loss is declared in its `exemptions`, with the reason.
"""

import pytest
import torch
from torch import Tensor

from orchestrator import vocabulary as v
from orchestrator.frozen import Frozen
from orchestrator.losses.formulas.loss import Guarantee
from tests.contracts.loss_batch import D_STUDENT, D_TEXT, ROWS, C, batch, build, evaluate, name_of, trained, variants

assert len({C, D_STUDENT, D_TEXT, ROWS}) == 4, "sizes differ, so that a mistaken axis shows"

every_loss = pytest.mark.parametrize("settings", variants(), ids=name_of)


def unless_exempt(settings: Frozen, guarantee: Guarantee) -> None:
    reason = build(settings).exemptions.get(guarantee)
    if reason is not None:
        assert len(reason.split()) > 3, "an exemption says why"
        pytest.skip(f"exempt: {reason}")


@every_loss
def test_inputs_are_from_the_closed_vocabulary_and_the_value_is_a_finite_scalar(settings: Frozen) -> None:
    loss = build(settings)
    assert loss.inputs()
    assert {*loss.inputs(), *loss.optional_inputs()} <= v.BATCH_INPUTS
    value = evaluate(loss.double(), batch(ROWS))
    assert value.ndim == 0
    assert value.isfinite()
    assert all(seen.ndim == 0 and not seen.requires_grad for seen in loss.observed().values())


@every_loss
def test_gradients_agree_with_finite_differences(settings: Frozen) -> None:
    unless_exempt(settings, "gradient_check")
    inputs = batch(ROWS)
    names = trained(build(settings))
    parameters = {name: value.double() for name, value in build(settings).named_parameters()}
    tensors = [inputs[name].requires_grad_() for name in names] + list(parameters.values())

    def value(*values: Tensor) -> Tensor:
        loss = build(settings).double()  # anew: what it remembers must not differ from call to call
        given = dict(zip(names, values[: len(names)], strict=True))
        learnt = dict(zip(parameters, values[len(names) :], strict=True))
        rest = {name: tensor for name, tensor in inputs.items() if name in (*loss.inputs(), *loss.optional_inputs())}
        result = torch.func.functional_call(loss, learnt, args=(), kwargs={**rest, **given})
        assert isinstance(result, Tensor)
        return result

    # Each number anew up to 300 of them; above, random directions at once (a head of 128 and 8192 keys took minutes).
    many = sum(tensor.numel() for tensor in tensors) > 300
    assert torch.autograd.gradcheck(value, tuple(tensors), fast_mode=many)


@every_loss
def test_the_order_of_the_batch_does_not_matter(settings: Frozen) -> None:
    unless_exempt(settings, "permutation")
    inputs = batch(ROWS)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))
    shuffled = {name: tensor if name in v.OF_RUN else tensor[order] for name, tensor in inputs.items()}
    one, other = (evaluate(build(settings).double(), rows) for rows in (shuffled, inputs))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@every_loss
def test_no_gradient_flows_into_texts_and_teachers(settings: Frozen) -> None:
    unless_exempt(settings, "teacher_gradient")
    loss = build(settings).double()
    inputs = batch(ROWS)
    for tensor in inputs.values():
        if tensor.is_floating_point():
            tensor.requires_grad_()
    evaluate(loss, inputs).backward()
    assert all(inputs[name].grad is None for name in v.OF_IMAGE | v.OF_RUN if name in inputs)
    reached = [inputs[name].grad for name in trained(loss)]
    assert reached
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in reached)
    assert all(parameter.grad is not None for parameter in loss.parameters())


@every_loss
@pytest.mark.parametrize("factor", [0.0, 1e4])
def test_extreme_values_give_finite_losses_and_gradients(settings: Frozen, factor: float) -> None:
    unless_exempt(settings, "extreme_values")
    loss = build(settings)
    inputs = batch(ROWS, dtype=torch.float32, factor=factor)
    leaves = [inputs[name].requires_grad_() for name in trained(loss)]
    value = evaluate(loss, inputs)
    value.backward()
    assert value.isfinite()
    for tensor in [*leaves, *loss.parameters()]:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@every_loss
def test_half_precision_inputs_are_cast_up_and_autocast_changes_nothing(settings: Frozen) -> None:
    unless_exempt(settings, "autocast")
    half = {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in batch(ROWS).items()}
    exact = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in half.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = evaluate(build(settings), half)
    assert value.dtype == torch.float32
    assert torch.equal(value, evaluate(build(settings), exact))


@every_loss
def test_a_batch_of_one_is_finite_and_has_gradients(settings: Frozen) -> None:
    unless_exempt(settings, "batch_of_one")
    loss = build(settings)
    inputs = batch(1, dtype=torch.float32)
    leaves = [inputs[name].requires_grad_() for name in trained(loss)]
    value = evaluate(loss, inputs)
    value.backward()
    assert value.isfinite()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in leaves)


@every_loss
def test_hard_targets_and_a_mixture_with_nothing_are_the_labels_themselves(settings: Frozen) -> None:
    loss = build(settings).double()
    inputs = batch(ROWS)
    mixed = {
        v.TARGET: torch.nn.functional.one_hot(inputs[v.LABEL], C).double(),
        v.MIX_ROW: torch.arange(ROWS).flip(0),
        v.MIX_WEIGHT: torch.ones(ROWS, dtype=torch.float64),
    }
    taken = [name for name in (*loss.inputs(), *loss.optional_inputs()) if name in mixed]
    if not taken:
        pytest.skip("takes no mixed targets")
    torch.testing.assert_close(evaluate(build(settings).double(), {**inputs, **mixed}), evaluate(loss, inputs))


@every_loss
def test_settings_survive_a_round_trip_through_json(settings: Frozen) -> None:
    assert type(settings).model_validate_json(settings.model_dump_json()) == settings
