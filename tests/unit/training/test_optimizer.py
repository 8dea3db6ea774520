"""Which parameters are decayed, which rates their groups get, and Nesterov's momentum."""

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import nn

from orchestrator.training.optimizer import build_optimizer, set_rates
from orchestrator.training.schedules import LivtScheduleSettings, OneCycleScheduleSettings, StepScheduleSettings
from orchestrator.training.settings import AdamWSettings, OptimizerSettings, SgdSettings


@pytest.mark.parametrize(
    "settings", [AdamWSettings(learning_rate=0.1, weight_decay=0.5), SgdSettings(weight_decay=0.5)]
)
def test_matrices_are_decayed_and_vectors_are_not(settings: AdamWSettings | SgdSettings) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = build_optimizer(settings, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # With zero gradients only decay moves a parameter: by lr * weight_decay, both for AdamW and for SGD's first step.
    shrunk = before["0.weight"] * (1 - settings.learning_rate * 0.5)
    torch.testing.assert_close(model[0].weight.detach(), shrunk)
    for name in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(model.get_parameter(name).detach(), before[name])


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(3, 4)
    model.bias.requires_grad_(False)
    optimizer = build_optimizer(AdamWSettings(), model)
    assert [parameter for group in optimizer.param_groups for parameter in group["params"]] == [model.weight]


def test_decay_all_decays_vectors_too_but_never_a_scalar() -> None:
    model = nn.Linear(3, 4)
    model.register_parameter("log_scale", nn.Parameter(torch.tensor(1.0)))
    optimizer = build_optimizer(SgdSettings(weight_decay=0.5, decay_all=True), model)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {"weight": 0.5, "bias": 0.5, "log_scale": 0}


def test_a_vits_position_embedding_and_class_token_are_not_decayed() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2)
    optimizer = build_optimizer(AdamWSettings(weight_decay=0.5), vit)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]}
    names = {name for name, p in vit.named_parameters() if p.ndim > 1 and id(p) not in decayed}
    assert names == {"pos_embed", "cls_token"}


def test_groups_of_parts_keep_their_share_of_the_rate_at_every_step() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    settings = SgdSettings(learning_rate=0.1, learning_rate_scales={"1.*": 10, "*.bias": 0.5})
    optimizer = build_optimizer(settings, model)
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = StepScheduleSettings(milestones=(1,))
    set_rates(optimizer, peaks, schedule, step=5, num_steps=8, num_epochs=2, peak=0.1)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    got = {name: rate[id(p)] for name, p in model.named_parameters()}
    assert got == pytest.approx({"0.weight": 0.01, "0.bias": 0.005, "1.weight": 0.1, "1.bias": 0.05})


def test_an_absolute_final_rate_is_scaled_like_the_peak() -> None:
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(SgdSettings(learning_rate=0.1, learning_rate_scales={"bias": 0.5}), model)
    schedule = LivtScheduleSettings(warmup_epochs=0, final_learning_rate=0.01)
    peaks = [group["lr"] for group in optimizer.param_groups]
    set_rates(optimizer, peaks, schedule, step=10**6 - 1, num_steps=10**6, num_epochs=1, peak=0.1)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rate[id(model.weight)] == pytest.approx(0.01)
    assert rate[id(model.bias)] == pytest.approx(0.005)


@pytest.mark.parametrize("settings", [AdamWSettings(learning_rate=1e-3), SgdSettings(learning_rate=1e-3)])
@pytest.mark.parametrize("num_epochs", [2, 3, 4, 12, 90])
def test_one_cycle_takes_the_rates_and_momenta_of_torchs_scheduler(
    settings: OptimizerSettings, num_epochs: int
) -> None:
    ours, theirs = (build_optimizer(settings, nn.Linear(2, 2)) for _ in range(2))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=1e-3, epochs=num_epochs, steps_per_epoch=1)
    peaks = [group["lr"] for group in ours.param_groups]
    for epoch in range(num_epochs):
        for step in (3 * epoch, 3 * epoch + 2):  # the first and last of an epoch's three steps
            set_rates(
                ours, peaks, OneCycleScheduleSettings(),
                step=step, num_steps=3 * num_epochs, num_epochs=num_epochs, peak=1e-3,
            )  # fmt: skip
            for one, other in zip(ours.param_groups, theirs.param_groups, strict=True):
                assert one["lr"] == pytest.approx(other["lr"], rel=1e-12)
                for name in {"momentum", "betas"} & set(one):
                    assert one[name] == pytest.approx(other[name], rel=1e-12)
        theirs.step()
        if epoch + 1 < num_epochs:
            scheduler.step()


def test_one_cycle_without_cycling_leaves_the_momentum_alone() -> None:
    optimizer = build_optimizer(SgdSettings(momentum=0.7), nn.Linear(2, 2))
    schedule = OneCycleScheduleSettings(cycle_momentum=False)
    set_rates(optimizer, [0.1, 0.1], schedule, step=0, num_steps=9, num_epochs=9, peak=0.1)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_nesterov_looks_ahead_and_needs_a_momentum() -> None:
    weight = nn.Linear(1, 1, bias=False)
    start = weight.weight.detach().clone()
    settings = SgdSettings(learning_rate=0.1, momentum=0.5, weight_decay=0, nesterov=True)
    optimizer = build_optimizer(settings, weight)
    weight.weight.grad = torch.ones(1, 1)
    optimizer.step()
    torch.testing.assert_close(weight.weight.detach(), start - 0.1 * (1 + 0.5))
    with pytest.raises(ValidationError, match="momentum above 0"):
        SgdSettings(momentum=0, nesterov=True)


@pytest.mark.parametrize("settings", [AdamWSettings(learning_rate=0.1), SgdSettings(nesterov=True)])
def test_one_kernel_steps_as_torchs_own_loop_over_parameters_does_in_channels_last_too(
    settings: AdamWSettings | SgdSettings,
) -> None:
    models = []
    for fused in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        model = model.to(memory_format=torch.channels_last)
        optimizer = build_optimizer(settings, model)
        for group in optimizer.param_groups:
            group["fused"] = fused
        for step in range(5):
            images = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(images.contiguous(memory_format=torch.channels_last)).square().mean().backward()
            optimizer.step()
        models.append(model)
    for (name, one), (_, other) in zip(*(model.named_parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)


def test_a_gradient_that_lies_otherwise_than_its_parameter_is_applied_to_the_right_weights() -> None:
    model = nn.Conv2d(3, 8, 3, bias=False).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(SgdSettings(learning_rate=1.0, momentum=0.9, weight_decay=0), model)
    start, gradient = model.weight.detach().clone(), torch.randn(8, 3, 3, 3)
    model.weight.grad = gradient.clone()
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), start - gradient)
    state = optimizer.state[model.weight]
    state["momentum_buffer"] = state["momentum_buffer"].contiguous()  # a state that was laid out otherwise
    model.weight.grad = torch.zeros(8, 3, 3, 3)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), start - 1.9 * gradient)
