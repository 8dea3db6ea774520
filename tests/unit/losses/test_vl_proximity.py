"""L_vlprox of the OOD paper: closed forms, its filters, the other axis, what it remembers."""

import math

import pytest
import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.vl_proximity import (
    Axis,
    at_percentile,
    label_probability,
    teacher_is_right,
    vl_proximity_loss,
)
from orchestrator.losses.vl_proximity import VLProximitySettings

N, C, D = 9, 4, 6
CONTEXT = LossContext((1,) * C, D, D, D, 1, C, embedding_dim=D, num_images=N)


def given() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    student, teacher, text = (torch.randn(rows, D, generator=random, dtype=torch.float64) for rows in (N, N, C))
    return student, teacher, text


def test_two_classes_give_the_divergence_of_two_coins() -> None:
    text = torch.eye(2, dtype=torch.float64)
    student, teacher = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.6, 0.8]]).double()
    p = 1 / (1 + math.exp((0.8 - 0.6) / 0.5))
    q = 1 / (1 + math.exp((0.0 - 1.0) / 0.5))
    wanted = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert vl_proximity_loss(student, teacher, text, temperature=0.5).item() == pytest.approx(wanted)


def test_one_neighbour_gives_0_and_more_than_there_are_give_all() -> None:
    student, teacher, text = given()
    assert vl_proximity_loss(student, teacher, text, k=1).item() == 0
    assert vl_proximity_loss(student, teacher, text, k=1, axis="images").item() == 0
    torch.testing.assert_close(
        vl_proximity_loss(student, teacher, text, k=256), vl_proximity_loss(student, teacher, text, k=C)
    )
    torch.testing.assert_close(vl_proximity_loss(3 * teacher, teacher, text), torch.zeros((), dtype=torch.float64))


def test_classes_far_from_the_teachers_image_have_no_say() -> None:
    student, teacher, text = given()
    farthest = (torch.nn.functional.normalize(teacher[:1]) @ torch.nn.functional.normalize(text).T).argmin()
    rest = text[torch.arange(C) != farthest]
    torch.testing.assert_close(
        vl_proximity_loss(student[:1], teacher[:1], text, k=C - 1), vl_proximity_loss(student[:1], teacher[:1], rest)
    )


def test_the_mean_is_over_the_images_that_are_kept() -> None:
    student, teacher, text = given()
    label = torch.arange(N) % C
    kept = teacher_is_right(teacher, text, label)
    assert 0 < kept.sum() < N
    loss = VLProximitySettings().build(CONTEXT)
    torch.testing.assert_close(
        loss(student, teacher, text, label), vl_proximity_loss(student[kept], teacher[kept], text)
    )
    assert loss.observed()["kept_fraction"].item() == pytest.approx(kept.float().mean().item())


@pytest.mark.parametrize("axis", ["classes", "images"])
def test_nothing_kept_gives_0_with_zero_gradient(axis: Axis) -> None:
    student, teacher, text = given()
    wrong = (torch.nn.functional.normalize(teacher) @ torch.nn.functional.normalize(text).T).argmin(dim=1)
    loss = VLProximitySettings(axis=axis).build(CONTEXT)
    value = loss(student.requires_grad_(), teacher, text, wrong)
    value.backward()
    assert value.item() == 0
    assert student.grad is not None
    assert student.grad.abs().sum() == 0
    assert loss.observed()["kept_fraction"].item() == 0


def test_on_the_other_axis_dropped_images_are_as_if_absent() -> None:
    student, teacher, text = given()
    kept = torch.arange(N) % 3 > 0
    for k in (3, 100):
        torch.testing.assert_close(
            vl_proximity_loss(student, teacher, text, k=k, kept=kept, axis="images"),
            vl_proximity_loss(student[kept], teacher[kept], text, k=k, axis="images"),
        )


def test_a_probability_filter_keeps_what_the_teacher_finds_likely() -> None:
    student, teacher, text = given()
    label = torch.arange(N) % C
    probability = label_probability(teacher, text, label, temperature=0.3)
    torch.testing.assert_close(
        sum(label_probability(teacher, text, torch.full((N,), c)) for c in range(C)), torch.ones(N).double()
    )
    settings = VLProximitySettings(filter="teacher_probability", min_probability=0.25, filter_temperature=0.3)
    kept = probability >= 0.25
    assert 0 < kept.sum() < N
    torch.testing.assert_close(
        settings.build(CONTEXT)(student, teacher, text, label),
        vl_proximity_loss(student[kept], teacher[kept], text),
    )


@pytest.mark.parametrize(("percentile", "kept"), [(0, 9), (25, 7), (50, 5), (75, 3), (100, 1)])
def test_a_batch_percentile_drops_that_share_of_the_batch(percentile: float, kept: int) -> None:
    student, teacher, text = given()
    loss = VLProximitySettings(filter="batch_percentile", percentile=percentile).build(CONTEXT)
    loss(student, teacher, text, torch.arange(N) % C)
    assert loss.observed()["kept_fraction"].item() == pytest.approx(kept / N)


def test_a_percentile_leaves_unknown_values_out() -> None:
    values = torch.tensor([0.5, -1.0, 0.1, 0.9, -1.0])
    assert [at_percentile(values, percentile).item() for percentile in (0, 49, 50, 100)] == pytest.approx(
        [0.1, 0.1, 0.5, 0.9]
    )


def test_after_an_epoch_the_threshold_is_the_training_sets_and_a_resumed_run_knows_it() -> None:
    student, teacher, text = given()
    label, row = torch.arange(N) % C, torch.arange(N).flip(0)
    settings = VLProximitySettings(filter="train_percentile", percentile=50)
    loss = settings.build(CONTEXT)
    for rows in (slice(0, 3), slice(3, 6), slice(6, 9)):
        loss(student[rows], teacher[rows], text, label[rows], row[rows])
    probability = label_probability(teacher, text, label).float()
    torch.testing.assert_close(loss.probability[row], probability)
    resumed = settings.build(CONTEXT)
    resumed.load_state_dict(loss.state_dict())
    batch = slice(2, 7)
    kept = (probability >= probability.median())[batch]
    assert 0 < kept.sum() < 5
    wanted = vl_proximity_loss(student[batch][kept], teacher[batch][kept], text)
    for one in (loss, resumed):
        torch.testing.assert_close(one(student[batch], teacher[batch], text, label[batch], row[batch]), wanted)


def test_evaluation_does_not_write_into_what_is_remembered_of_training() -> None:
    student, teacher, text = given()
    loss = VLProximitySettings(filter="train_percentile").build(CONTEXT).eval()
    loss(student, teacher, text, torch.arange(N) % C, torch.arange(N))
    assert (loss.probability == -1).all()
    assert loss.observed()["kept_fraction"].item() == 1  # nothing known, nothing dropped


def test_a_training_percentile_needs_the_number_of_images() -> None:
    with pytest.raises(ConfigError, match="number of images is unknown"):
        VLProximitySettings(filter="train_percentile").build(LossContext((1,), D, D, D, 1, 1, embedding_dim=D))
