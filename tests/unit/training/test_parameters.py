"""Freezing and factors by name, and layer-wise decay on timm's layers."""

import pytest
import timm
import torch
from torch import nn

from orchestrator.errors import ConfigError
from orchestrator.students.context import StudentContext
from orchestrator.students.timm_student import TimmStudentSettings
from orchestrator.students.tiny import TinyStudentSettings
from orchestrator.training.parameters import freeze, learning_rate_scales


class Whole(nn.Module):
    """A student and an adaptor under the names that a training gives them."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student, self.adaptor = student, nn.Linear(2, 2)


def frozen(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def test_places_lt_freezes_all_convolutions_but_those_of_the_last_block() -> None:
    model = Whole(TimmStudentSettings(name="resnet18").build(StudentContext(3)))
    patterns = ("student.backbone.*conv?.weight", "student.backbone.*downsample.0.weight")
    freeze(model, (*patterns, "!student.backbone.layer4.1.*"))
    last = model.student.backbone.layer4[-1]  # type: ignore[union-attr,index]
    expected = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and all(module is not other for other in last.modules())
    }
    assert len(expected) == 20 - 2
    assert frozen(model) == {f"{name}.weight" for name in expected}


def test_later_patterns_win_and_a_pattern_without_a_match_is_an_error() -> None:
    model = Whole(TinyStudentSettings().build(StudentContext(3)))
    freeze(model, ("*", "!student.classifier.*", "student.classifier.bias"))
    assert frozen(model) == {name for name, _ in model.named_parameters()} - {"student.classifier.weight"}
    with pytest.raises(ConfigError, match=r"'student\.clasifier\.\*' matches no parameter") as told:
        freeze(model, ("student.clasifier.*",))
    assert "student.classifier" in str(told.value)


def test_what_is_not_trained_anyway_is_never_put_into_training() -> None:
    model = Whole(nn.Linear(2, 2))
    model.student.requires_grad_(False)  # as a momentum copy
    freeze(model, ("*", "!*"))
    assert frozen(model) == {"student.weight", "student.bias"}


def test_nothing_left_to_train_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no parameter to train"):
        freeze(nn.Linear(2, 2), ("*",))


def test_frozen_weights_stay_while_batch_norms_train_and_count() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    freeze(model, ("0.*",))
    model(torch.randn(2, 3, 2, 2)).square().sum().backward()
    assert model[0].weight.grad is None
    assert model[1].weight.grad is not None
    assert model[1].num_batches_tracked == 1


def test_factors_of_all_matching_patterns_multiply() -> None:
    scales = learning_rate_scales(Whole(nn.Linear(2, 2)), scales={"adaptor.*": 10, "*.bias": 0.5}, layer_decay=None)
    assert scales == {"student.weight": 1, "student.bias": 0.5, "adaptor.weight": 10, "adaptor.bias": 5}
    with pytest.raises(ConfigError, match="learning_rate_scales: 'adapter"):
        learning_rate_scales(Whole(nn.Linear(2, 2)), scales={"adapter.*": 10}, layer_decay=None)


def test_layer_decay_falls_from_the_head_to_the_embedding_of_a_vit_as_in_mae() -> None:
    student = TimmStudentSettings(name="vit_tiny_patch16_224").build(StudentContext(3))
    scales = learning_rate_scales(Whole(student), scales={"student.classifier.bias": 2}, layer_decay=0.5)
    backbone = "student.backbone."
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight"):
        assert scales[backbone + name] == 0.5**13
    for block in range(12):
        assert scales[f"{backbone}blocks.{block}.mlp.fc1.weight"] == 0.5 ** (12 - block)
    assert scales["student.classifier.weight"] == 1
    assert scales["student.classifier.bias"] == 2
    assert scales["adaptor.weight"] == 1


def test_a_residual_networks_layers_are_timms_blocks() -> None:
    scales = learning_rate_scales(timm.create_model("resnet18", num_classes=3), scales={}, layer_decay=0.5)
    assert scales["fc.weight"] == 1
    assert scales["layer4.1.conv1.weight"] == 0.5
    assert scales["conv1.weight"] == 0.5**9
    student = TimmStudentSettings(name="resnet18").build(StudentContext(3))  # whose classifier is not the backbone's
    ours = learning_rate_scales(Whole(student), scales={}, layer_decay=0.5)
    assert ours["student.backbone.conv1.weight"] == 0.5**9


def test_layer_decay_of_a_backbone_without_layers_is_an_error() -> None:
    with pytest.raises(ConfigError, match="does not tell its layers"):
        learning_rate_scales(Whole(TinyStudentSettings().build(StudentContext(3))), scales={}, layer_decay=0.9)
