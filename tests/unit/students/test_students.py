"""Students: features and logits belong together, on every kind of the union; checkpoints; what cannot be built."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from orchestrator import vocabulary as v
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.students import StudentSettings, TimmStudentSettings, TinyStudentSettings
from orchestrator.students.context import StudentContext

STUDENTS = [
    TinyStudentSettings(width=4),
    TimmStudentSettings(name="resnet18"),
    TimmStudentSettings(name="vit_tiny_patch16_224", image_size=32, drop_path=0.1),
    TimmStudentSettings(name="convnext_atto"),
    TimmStudentSettings(name="mobilenetv3_small_050"),
]
every_student = pytest.mark.parametrize("settings", STUDENTS, ids=lambda s: getattr(s, "name", s.kind))


def build(settings: Any, num_classes: int = 7) -> Any:
    torch.manual_seed(0)
    return settings.build(StudentContext(num_classes))


def images(num_rows: int = 3, channels: int = 3) -> torch.Tensor:
    return torch.randn(num_rows, channels, 32, 32, generator=torch.Generator().manual_seed(1))


@every_student
def test_the_classifier_reads_the_feature_and_each_image_stands_alone(settings: Any) -> None:
    student = build(settings).eval()
    made = student(images())
    logits, feature = made[v.STUDENT_LOGITS], made[v.STUDENT_FEATURE]
    assert logits.shape == (3, 7)
    assert feature.shape == (3, student.feature_dim)
    alone = student(images()[1:2])
    for name in student.makes():
        torch.testing.assert_close(alone[name], made[name][1:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(student.classifier(feature), logits)
    positions = made[v.STUDENT_MAP]
    assert positions.shape[:2] == (3, student.map_dim)
    assert positions.ndim == 4
    if settings.kind == "timm":
        whole = timm.create_model(
            settings.name, num_classes=7, **({"img_size": 32} if settings.image_size else {})
        ).eval()
        native = whole.state_dict()
        native.update({name.removeprefix("backbone."): value for name, value in student.state_dict().items()})
        head = next(name for name, module in whole.named_modules() if module is whole.get_classifier())
        native = {
            name: value for name, value in native.items() if not name.startswith("classifier.") or head == "classifier"
        }
        native[f"{head}.weight"], native[f"{head}.bias"] = student.classifier.weight, student.classifier.bias
        whole.load_state_dict(native)
        torch.testing.assert_close(whole(images()), logits)


@every_student
def test_a_few_steps_of_descent_learn_two_images_by_heart(settings: Any) -> None:
    student = build(settings, num_classes=2).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(student(images(2))[v.STUDENT_LOGITS], torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@every_student
def test_the_same_seed_builds_the_same_student(settings: Any) -> None:
    first, second = build(settings).state_dict(), build(settings).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_union_tells_the_kinds_apart() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(StudentSettings)
    assert adapter.validate_python({"kind": "tiny"}) == TinyStudentSettings()
    assert adapter.validate_python({"kind": "timm", "name": "resnet18"}) == TimmStudentSettings(name="resnet18")
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "tiny", "depth": 3})


def test_images_of_other_channel_numbers_are_taken() -> None:
    for settings in (TinyStudentSettings(in_chans=1), TimmStudentSettings(name="resnet18", in_chans=1)):
        assert build(settings).eval()(images(2, 1))[v.STUDENT_LOGITS].shape == (2, 7)


def test_an_unknown_name_is_answered_with_close_ones() -> None:
    with pytest.raises(ConfigError, match="resnet18"):
        build(TimmStudentSettings(name="resnet_18"))


def test_an_image_size_for_a_model_of_any_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="image_size null"):
        build(TimmStudentSettings(name="resnet18", image_size=64))


@pytest.mark.parametrize(
    ("name", "side", "heads"),
    [
        ("deit_tiny_distilled_patch16_224", 32, {"head", "head_dist"}),  # two classifiers, of a token each
        ("levit_128s", 64, {"head", "head_dist"}),  # each with a norm before the linear map
        ("xcit_nano_12_p16_224", 32, {"head"}),  # a grid of patches that the model does not tell
    ],
)
def test_a_model_with_another_head_or_grid_is_a_student_and_takes_timms_backbone(
    name: str, side: int, heads: set[str], tmp_path: Path
) -> None:
    whole = timm.create_model(name, num_classes=7, img_size=side).eval()
    assert heads <= {module for module, _ in whole.named_children()}
    save_file(whole.state_dict(), tmp_path / "a.safetensors")
    settings = TimmStudentSettings(name=name, image_size=side, checkpoint=str(tmp_path / "a.safetensors"))
    student = build(settings).eval()
    student.check_pass(side)
    shown = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    made = student(shown)
    assert made[v.STUDENT_LOGITS].shape == (3, 7)
    assert made[v.STUDENT_MAP].shape[2] == made[v.STUDENT_MAP].shape[3]
    feature = whole.forward_head(whole.forward_features(shown), pre_logits=True)
    torch.testing.assert_close(made[v.STUDENT_FEATURE], feature)
    if len(heads) == 1:
        torch.testing.assert_close(made[v.STUDENT_LOGITS], whole(shown))


def test_a_checkpoint_of_our_own_or_of_timm_is_loaded_exactly(tmp_path: Path) -> None:
    source = build(TimmStudentSettings(name="resnet18"))
    ours = source.state_dict()
    timms = {name.replace("backbone.", "").replace("classifier", "fc"): value for name, value in ours.items()}
    for tensors, name in ((ours, "ours"), (timms, "timm")):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        loaded = build(TimmStudentSettings(name="resnet18", checkpoint=str(tmp_path / f"{name}.safetensors")))
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_only_a_classifier_of_another_shape_is_left_at_its_start(tmp_path: Path) -> None:
    source = build(TimmStudentSettings(name="resnet18"), 9)
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    loaded = build(TimmStudentSettings(name="resnet18", checkpoint=str(tmp_path / "a.safetensors")))
    assert torch.equal(loaded.backbone.conv1.weight, source.backbone.conv1.weight)
    assert torch.equal(loaded.classifier.weight, build(TimmStudentSettings(name="resnet18")).classifier.weight)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    tensors = dict(build(TimmStudentSettings(name="resnet18")).backbone.state_dict())
    del tensors["bn1.weight"]
    tensors["conv1.weight"] = torch.zeros(1)
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError) as caught:
        build(TimmStudentSettings(name="resnet18", checkpoint=str(tmp_path / "a.safetensors")))
    text = str(caught.value)
    assert "extra is unknown" in text
    assert "bn1.weight is missing" in text
    assert "conv1.weight is (1,), not (64, 3, 7, 7)" in text
    assert "(3 in all)" in text
    with pytest.raises(ArtifactError, match="is not a file"):
        build(TimmStudentSettings(name="resnet18", checkpoint=str(tmp_path / "b.safetensors")))


def test_a_pickled_checkpoint_is_refused_by_its_name() -> None:
    with pytest.raises(ValidationError, match="safetensors"):
        TimmStudentSettings(name="resnet18", checkpoint="weights.pth")
