"""Student, adaptor, momentum copy and losses as one module: what is made of views, what moves, what is trained."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from orchestrator import vocabulary as v
from orchestrator.errors import ConfigError
from orchestrator.losses.formulas.loss import Loss
from orchestrator.losses.objective import Objective
from orchestrator.students import AdaptorSettings, TinyStudentSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.networks.adaptor import Adaptor, AdaptorPerPrompt
from orchestrator.students.networks.student import ImageStudent, Student
from orchestrator.training.model import MORE_VIEWS, DistillationModel, predicted
from orchestrator.training.optimizer import build_optimizer
from orchestrator.training.settings import SgdSettings

N, C, D, E, SIDE = 6, 4, 5, 7, 16
CONTEXT = StudentContext(C, image_size=SIDE, teacher_dim=D, text_dim=E, num_texts=2)


class OfFeature(Loss):
    def forward(self, student_feature: Tensor) -> Tensor:
        return student_feature.square().mean()


class OfLogits(Loss):
    def forward(self, student_logits: Tensor) -> Tensor:
        return student_logits.square().mean()


class OfEmbedding(Loss):
    def forward(self, student_feature: Tensor, student_embedding: Tensor | None = None) -> Tensor:
        assert student_embedding is not None
        return student_embedding.square().mean() + student_feature.mean()


class OfText(Loss):
    def forward(self, text_prediction: Tensor) -> Tensor:
        return text_prediction.square().mean()


class OfViews(Loss):
    def forward(self, view_feature: Tensor, view_logits: Tensor) -> Tensor:
        return view_feature.square().mean() + view_logits.square().mean()


class OfKeys(Loss):
    key_momentum = 0.9

    def forward(self, student_feature: Tensor, key_feature: Tensor) -> Tensor:
        return (student_feature - key_feature).square().mean()


def built(*losses: Loss, adaptor: nn.Module | None = None, per: AdaptorSettings | None = None, **student: Any) -> Any:
    torch.manual_seed(0)
    network = TinyStudentSettings(width=4, **student).build(CONTEXT, per)
    return DistillationModel(network, adaptor, Objective({type(one).__name__: (1.0, one) for one in losses}))


def batch(num_views: int = 1, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(N, num_views, 3, SIDE, SIDE, generator=generator)
    more = {MORE_VIEWS: images[:, 1:]} if num_views > 1 else {}
    return {"image": images[:, 0], v.LABEL: torch.arange(N) % C, **more}


# --- views ------------------------------------------------------------------------------------------------------------


def test_several_views_are_one_pass_whose_outputs_are_those_of_each_view_by_itself() -> None:
    model = built(OfViews()).eval()
    given = batch(3)
    made = model.inputs(given)
    assert made[v.VIEW_FEATURE].shape == (N, 3, 16)
    assert made[v.VIEW_LOGITS].shape == (N, 3, C)
    views = [given["image"], *given[MORE_VIEWS].unbind(1)]
    for slot, images in enumerate(views):
        alone = model.student(images)
        torch.testing.assert_close(made[v.VIEW_FEATURE][:, slot], alone[v.STUDENT_FEATURE])
        torch.testing.assert_close(made[v.VIEW_LOGITS][:, slot], alone[v.STUDENT_LOGITS])
    torch.testing.assert_close(made[v.STUDENT_FEATURE], made[v.VIEW_FEATURE][:, 0])
    model.train()  # BatchNorm sees all views together, so its statistics are not those of view 1
    together = model.inputs(given)[v.VIEW_FEATURE]
    joined = model.student(torch.cat(views))[v.STUDENT_FEATURE].unflatten(0, (3, N)).transpose(0, 1)
    torch.testing.assert_close(together, joined)
    assert not torch.allclose(together[:, 0], model.student(views[0])[v.STUDENT_FEATURE])


def test_a_batch_with_one_view_has_stacks_of_one() -> None:
    model = built(OfViews()).eval()
    made = model.inputs(batch())
    assert torch.equal(made[v.VIEW_FEATURE][:, 0], made[v.STUDENT_FEATURE])
    assert made[v.VIEW_LOGITS].shape == (N, 1, C)


# --- momentum ---------------------------------------------------------------------------------------------------------


def test_the_momentum_copy_moves_by_its_momentum_before_it_makes_the_keys_and_has_no_gradient() -> None:
    model = built(OfKeys())
    assert model.momentum_student is not None
    before = {name: value.clone() for name, value in model.momentum_student.named_parameters()}
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    moved = {name: 0.9 * before[name] + 0.1 * value for name, value in model.student.named_parameters()}
    given = batch(2)
    keys = model.inputs(given)[v.KEY_FEATURE]
    for name, value in model.momentum_student.named_parameters():
        torch.testing.assert_close(value, moved[name].detach())
    torch.testing.assert_close(keys, model.momentum_student(given[MORE_VIEWS][:, 0])[v.STUDENT_FEATURE])
    assert not keys.requires_grad
    total, _ = model(given)
    total.backward()
    assert all(parameter.grad is None for parameter in model.momentum_student.parameters())
    trained = [one for group in build_optimizer(SgdSettings(), model).param_groups for one in group["params"]]
    assert not {id(one) for one in trained} & {id(one) for one in model.momentum_student.parameters()}
    model.eval()
    still = [value.clone() for value in model.momentum_student.parameters()]
    model.inputs(given)
    assert all(torch.equal(a, b) for a, b in zip(still, model.momentum_student.parameters(), strict=True))


def test_the_momentum_copy_is_in_the_state_and_not_in_the_student() -> None:
    model = built(OfKeys())
    assert any(name.startswith("momentum_student.") for name in model.state_dict())
    assert not any("momentum" in name for name in model.student.state_dict())
    assert built(OfFeature()).momentum_student is None


# --- heads ------------------------------------------------------------------------------------------------------------


def trainable(module: nn.Module | None) -> bool:
    assert module is not None
    return all(parameter.requires_grad for parameter in module.parameters())


READS_EMBEDDING = {"embedding": {}, "classifier": {"kind": "linear", "reads": "embedding"}}
READS_ADAPTOR = {"classifier": {"kind": "linear", "reads": "adaptor"}}


@pytest.mark.parametrize(
    ("losses", "student", "heads"),
    [
        ([OfFeature()], {"embedding": {}}, {"classifier": False, "embedding": False}),
        ([OfLogits()], {"embedding": {}}, {"classifier": True, "embedding": False}),
        ([OfViews()], {}, {"classifier": True}),
        ([OfEmbedding()], {"embedding": {}}, {"classifier": False, "embedding": True}),
        ([OfLogits()], READS_EMBEDDING, {"classifier": True, "embedding": True}),
        ([OfEmbedding()], READS_EMBEDDING, {"classifier": False, "embedding": True}),
        ([OfLogits()], READS_ADAPTOR, {"classifier": True, "adaptor": True}),
        ([OfText()], READS_ADAPTOR, {"classifier": False, "adaptor": True}),
        ([OfFeature()], READS_ADAPTOR, {"classifier": False, "adaptor": False}),
    ],
)
def test_heads_that_no_loss_takes_directly_or_through_another_stay_as_they_are_and_all_others_have_a_gradient(
    losses: list[Loss], student: dict[str, Any], heads: dict[str, bool]
) -> None:
    model = built(*losses, **student)
    for name, trained in heads.items():
        assert trainable(getattr(model.student, name)) is trained, name
    total, _ = model(batch(2))
    total.backward()
    without = [name for name, one in model.named_parameters() if one.requires_grad and one.grad is None]
    assert without == []  # what DDP calls unused parameters


def test_the_adaptor_exists_only_where_a_loss_reads_it_and_drops_from_the_student() -> None:
    adaptor = Adaptor(16, E, hidden_dim=16)
    assert built(OfFeature(), adaptor=adaptor).adaptor is None
    model = built(OfText(), adaptor=adaptor)
    assert model.inputs(batch())[v.TEXT_PREDICTION].shape == (N, E)
    assert not any("adaptor" in name for name in model.student.state_dict())


def test_the_adaptor_before_the_classifier_is_part_of_the_student_and_one_vector_is_read_by_both() -> None:
    model = built(OfText(), OfLogits(), classifier={"kind": "linear", "reads": "adaptor"})
    assert any(name.startswith("adaptor.") for name in model.student.state_dict())
    made = model.eval().inputs(batch())
    expected = model.student.classifier(model.student.adaptor(made[v.STUDENT_FEATURE]))
    torch.testing.assert_close(made[v.STUDENT_LOGITS], expected)
    assert model.student.classifier.in_features == E
    with pytest.raises(ConfigError, match=r"adaptor\.per_prompt"):
        built(OfText(), classifier={"kind": "linear", "reads": "adaptor"}, per=AdaptorSettings(per_prompt=True))


def test_adaptors_per_prompt_with_equal_weights_are_the_shared_one() -> None:
    torch.manual_seed(1)
    shared = AdaptorSettings().build(16, E, 2)
    separate = AdaptorSettings(per_prompt=True).build(16, E, 2)
    assert isinstance(separate, AdaptorPerPrompt)
    feature = torch.randn(N, 16)
    assert not torch.allclose(separate(feature)[:, 0], separate(feature)[:, 1])  # each starts by itself
    for one in separate.adaptors:
        one.load_state_dict(shared.state_dict())
    torch.testing.assert_close(separate(feature), shared(feature)[:, None].expand(N, 2, E))


def test_the_text_loss_of_equal_adaptors_per_prompt_is_that_of_the_shared_one() -> None:
    from orchestrator.losses.formulas.text_contrastive import text_contrastive_loss

    generator = torch.Generator().manual_seed(0)
    prediction, text = torch.randn(N, E, generator=generator), torch.randn(N, 2, E, generator=generator)
    ids, scale = torch.arange(2 * N).view(N, 2), torch.tensor(4.0)
    for symmetric in (False, True):
        shared = text_contrastive_loss(prediction, text, ids, scale, symmetric=symmetric)
        apart = text_contrastive_loss(prediction[:, None].expand(N, 2, E), text, ids, scale, symmetric=symmetric)
        torch.testing.assert_close(apart, shared)
    other = torch.stack([prediction, -prediction], dim=1)  # the second prompt's own prediction counts
    sum_of_parts = text_contrastive_loss(prediction, text[:, :1], ids[:, :1], scale) + text_contrastive_loss(
        -prediction, text[:, 1:], ids[:, 1:], scale
    )
    torch.testing.assert_close(text_contrastive_loss(other, text, ids, scale), sum_of_parts)


# --- start values, pixels, predictions --------------------------------------------------------------------------------


def test_pixel_mean_and_std_are_preprocessing_by_hand() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scaled: ImageStudent = built(OfLogits(), pixel_mean=mean, pixel_std=std).student.eval()
    plain: ImageStudent = built(OfLogits()).student.eval()
    plain.load_state_dict(scaled.state_dict())
    levels = torch.rand(N, 3, SIDE, SIDE)
    loaded = (levels - 0.5) / 0.25
    by_hand = (levels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(scaled(loaded)[v.STUDENT_LOGITS], plain(by_hand)[v.STUDENT_LOGITS], rtol=1e-4, atol=1e-5)


def test_a_classifier_can_start_at_the_class_texts() -> None:
    texts = torch.nn.functional.normalize(torch.randn(C, D), dim=1)
    student: Student = built(
        OfLogits(), embedding={}, classifier={"kind": "linear", "reads": "embedding", "start": "class_texts"}
    ).student
    student.start_from_class_texts(texts)
    assert torch.equal(student.classifier.weight, texts)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="cannot start from class texts of shape"):
        built(OfLogits()).student.start_from_class_texts(texts)


def test_a_class_is_predicted_by_logits_else_by_cosine_else_not_at_all() -> None:
    student = built(OfFeature(), classifier=None, embedding={"dim": 3}).student
    texts = torch.eye(3)
    embedding = torch.tensor([[0.1, 3.0, 0], [5.0, 0, 4.9]])

    def classes(**inputs: Tensor) -> list[int] | None:
        found = predicted(student, inputs)
        return None if found is None else found.tolist()

    assert classes(student_embedding=embedding, class_text=texts) == [1, 0]
    logits = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    assert classes(student_logits=logits, student_embedding=embedding, class_text=texts.flip(0)) == [1, 0]
    assert classes(student_embedding=embedding) is None


# --- two workers ------------------------------------------------------------------------------------------------------


def one_worker(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = built(OfKeys(), OfEmbedding(), embedding={})
    wrapped = nn.parallel.DistributedDataParallel(model)
    optimizer = build_optimizer(SgdSettings(learning_rate=0.1), model)
    for step in range(3):  # a second step fails where a parameter had no gradient in the first
        total, _ = wrapped(batch(2, seed=2 * step + rank))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    parameters = [value for name, value in model.state_dict().items() if "running" not in name and "num_" not in name]
    torch.save(parameters, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_momentum_copy_and_frozen_heads_hold_with_two_workers(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    spawn(one_worker, args=(port, str(tmp_path)), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
