"""Two-tower students: rows stand alone, what each makes and reads, what cannot be built, what is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.students import (
    AttentionStudentSettings,
    BottleneckStudentSettings,
    CbamStudentSettings,
    DensenetEmbeddingStudentSettings,
    ProjectionStudentSettings,
    ResnetEmbeddingStudentSettings,
)
from orchestrator.students.context import StudentContext
from orchestrator.students.heads import LinearClassifierSettings
from orchestrator.students.networks.two_tower.towers import CbamBlocks, SelfAttention

CONTEXT = StudentContext(
    num_classes=5, image_size=32, teacher_dim=16, teacher_feature_dim=24, teacher_map_dim=32, text_dim=16, num_texts=3
)
IMAGES_ONLY = StudentContext(num_classes=5, image_size=32, teacher_dim=16, teacher_map_dim=32)
ROWS = {
    "image": (3, 32, 32),
    v.TEACHER_IMAGE: (16,),
    v.TEACHER_FEATURE: (24,),
    v.TEACHER_MAP: (32, 3, 4),
    v.TEXT: (3, 16),
}
STUDENTS: list[Any] = [
    ProjectionStudentSettings(embedding_dim=8),
    ProjectionStudentSettings(embedding_dim=8, image_input="teacher_feature", texts="all"),
    BottleneckStudentSettings(embedding_dim=8, bottleneck_dim=4),
    AttentionStudentSettings(embedding_dim=8),
    AttentionStudentSettings(embedding_dim=8, image_input="teacher_map", num_heads=4, texts="all"),
    CbamStudentSettings(embedding_dim=8, reduction=4),
    CbamStudentSettings(embedding_dim=8, reduction=8, image_input="teacher_map", kernel_size=3),
    ResnetEmbeddingStudentSettings(),
    DensenetEmbeddingStudentSettings(bottleneck_dim=None, texts="all"),
]
every_student = pytest.mark.parametrize(
    "settings",
    STUDENTS,
    ids=lambda one: "-".join([one.kind, *map(str, one.model_dump(exclude_defaults=True).values())]),
)


def build(settings: Any, context: StudentContext = CONTEXT) -> Any:
    torch.manual_seed(0)
    return settings.build(context)


def given(student: Any, num_rows: int = 4) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(num_rows, *ROWS[name], generator=random) for name in student.reads]


@every_student
def test_each_row_is_embedded_by_itself(settings: Any) -> None:
    student = build(settings).eval()
    rows = given(student)
    with torch.no_grad():
        together = student(*rows)
        alone = [student(*(one[i : i + 1] for one in rows)) for i in range(4)]
    for name, made in together.items():
        torch.testing.assert_close(torch.cat([one[name] for one in alone]), made, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[v.STUDENT_EMBEDDING][0], together[v.STUDENT_EMBEDDING][1])


@every_student
def test_it_makes_what_it_says_in_the_sizes_that_it_says(settings: Any) -> None:
    student = build(settings).eval()
    made = student(*given(student))
    assert set(made) == student.makes()
    assert made[v.STUDENT_EMBEDDING].shape == (4, student.embedding_dim)
    texts = (4, 3, student.embedding_dim) if settings.texts == "all" else (4, student.embedding_dim)
    assert made[v.STUDENT_TEXT].shape == texts
    for name, width in ((v.STUDENT_FEATURE, student.feature_dim), (v.STUDENT_MAP, student.map_dim)):
        assert (name in made) == (width > 0)
        assert name not in made or made[name].shape[1] == width


@every_student
def test_all_that_is_trained_gets_a_gradient_and_heads_belong_to_their_output_alone(settings: Any) -> None:
    student = build(settings).train()
    made = student(*given(student))
    sum((tensor.square().sum() for tensor in made.values()), torch.zeros(())).backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    for output, head in student.heads().items():
        student.zero_grad()
        rest = [tensor.square().sum() for name, tensor in student(*given(student)).items() if name != output]
        sum(rest, torch.zeros(())).backward()
        assert all(parameter.grad is None for parameter in head.parameters())


@every_student
def test_a_teacher_of_images_alone_leaves_no_text_side_and_neither_does_the_switch(settings: Any) -> None:
    if getattr(settings, "image_input", "") == "teacher_feature":
        pytest.skip("the teacher of this test has no feature")
    for student in (build(settings, IMAGES_ONLY), build(settings.model_copy(update={"text_side": False}))):
        assert len(student.reads) == 1
        assert v.STUDENT_TEXT not in student.makes()
        assert v.STUDENT_TEXT not in student.heads()


@pytest.mark.parametrize(
    "settings", [AttentionStudentSettings(), CbamStudentSettings(reduction=4)], ids=lambda s: s.kind
)
def test_a_training_batch_of_one_pooled_row_has_a_finite_gradient(settings: Any) -> None:
    student = build(settings).train()
    student(*given(student, 1))[v.STUDENT_EMBEDDING].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


def test_attention_of_one_token_is_its_value_and_of_a_grid_is_plain_softmax_attention() -> None:
    torch.manual_seed(0)
    tower = SelfAttention(8, 1).double()
    attention = tower.attention
    tokens = torch.randn(2, 6, 8, dtype=torch.float64)
    query, key, value = nn.functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    mixed = torch.softmax(query @ key.transpose(1, 2) / 8**0.5, dim=-1) @ value
    wanted = attention.out_proj(mixed)
    feature, positions = tower(tokens.transpose(1, 2).unflatten(2, (2, 3)))
    torch.testing.assert_close(positions.flatten(2).transpose(1, 2), wanted)
    torch.testing.assert_close(feature, wanted.mean(dim=1))
    torch.testing.assert_close(tower(tokens[:, 0])[0], attention.out_proj(value[:, 0]))


def test_cbam_gates_lie_between_nothing_and_everything() -> None:
    torch.manual_seed(0)
    rows = torch.randn(4, 8, 3, 3)
    _, positions = CbamBlocks(8, num_blocks=1, ratio=0.25).eval()(rows)
    gate = positions / rows
    assert (gate > 0).all()
    assert (gate < 1).all()


def test_a_teachers_rows_in_half_precision_are_read_as_they_are() -> None:
    student = build(CbamStudentSettings(image_input="teacher_map", reduction=4)).eval()
    half = [rows.half() for rows in given(student)]
    exact = student(*(rows.float() for rows in half))
    assert all(torch.equal(made, exact[name]) for name, made in student(*half).items())


def test_all_texts_of_an_image_are_embedded_as_the_first_alone_is() -> None:
    first, every = (build(BottleneckStudentSettings(texts=texts)).eval() for texts in ("first", "all"))
    rows, text = given(first)
    one, three = first(rows, text)[v.STUDENT_TEXT], every(rows, text)[v.STUDENT_TEXT]
    torch.testing.assert_close(three[:, 0], one)
    torch.testing.assert_close(every.text_side(text[:, 2]), three[:, 2])


def test_class_texts_go_through_the_text_side_and_a_student_without_one_has_no_classes() -> None:
    class_text = torch.randn(7, 16, generator=torch.Generator().manual_seed(2))
    for settings in (BottleneckStudentSettings(), ResnetEmbeddingStudentSettings()):
        student = build(settings).eval()
        classes = student.class_embeddings(class_text)
        torch.testing.assert_close(classes, nn.functional.normalize(student.text_side(class_text), dim=1))
        assert student.class_embeddings(torch.randn(7, 9)) is None
        assert build(settings, IMAGES_ONLY).class_embeddings(class_text) is None


def test_a_bottleneck_is_linear_relu_linear() -> None:
    student = build(BottleneckStudentSettings(embedding_dim=3, bottleneck_dim=4))
    rows, text = given(student)
    (first, _, second) = student.projection
    hidden = (rows @ first.weight.T + first.bias).clamp_min(0)
    torch.testing.assert_close(student(rows, text)[v.STUDENT_EMBEDDING], hidden @ second.weight.T + second.bias)


def test_the_form_for_tiny_imagenet_classifies_and_has_no_embedding() -> None:
    settings = ResnetEmbeddingStudentSettings(classifier=LinearClassifierSettings(), embedding=None)
    student = build(settings).eval()
    assert student.makes() == {v.STUDENT_FEATURE, v.STUDENT_MAP, v.STUDENT_LOGITS}
    assert student(*given(student))[v.STUDENT_LOGITS].shape == (4, 5)


def test_a_backbones_weights_come_from_a_safetensors_file(tmp_path: Path) -> None:
    stored = build(ResnetEmbeddingStudentSettings())
    weights = {name: tensor + 1 for name, tensor in stored.backbone.state_dict().items()}
    path = tmp_path / "resnet18.safetensors"
    save_file({f"backbone.{name}": tensor for name, tensor in weights.items()}, path)
    loaded = build(ResnetEmbeddingStudentSettings(checkpoint=str(path)))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.backbone.state_dict().items())
    weights.pop("conv1.weight")
    save_file({f"backbone.{name}": tensor for name, tensor in weights.items()}, path)
    with pytest.raises(ArtifactError, match=r"conv1\.weight is missing"):
        build(ResnetEmbeddingStudentSettings(checkpoint=str(path)))
    with pytest.raises(ValidationError, match="safetensors"):
        ResnetEmbeddingStudentSettings(checkpoint="resnet18.pth")


def test_what_the_run_lacks_is_named_with_its_setting() -> None:
    with pytest.raises(ConfigError, match="reads teacher_map"):
        AttentionStudentSettings(image_input="teacher_map").build(StudentContext(num_classes=5, teacher_dim=16))
    with pytest.raises(ConfigError, match="reads teacher_image"):
        ProjectionStudentSettings().build(StudentContext(num_classes=5))
    with pytest.raises(ConfigError, match="5 heads"):
        AttentionStudentSettings(num_heads=5).build(CONTEXT)
