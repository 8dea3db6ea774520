"""Logit matching of similarities: closed forms, the diagonal, temperature, missing texts."""

import math

import pytest
import torch
from torch import Tensor

from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.similarity_matching import similarity_matching_loss
from orchestrator.losses.similarity_matching import SimilarityMatchingSettings

CONTEXT = LossContext((1, 1), 5, 5, 5, 1, 2, embedding_dim=5)


def random_logits(seed: int, n: int = 6) -> Tensor:
    return 3 * torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("distance", ["kl", "mse"])
@pytest.mark.parametrize("exclude", [False, True])
def test_equal_similarities_cost_nothing(distance: str, exclude: bool) -> None:
    logits = random_logits(0)
    value = similarity_matching_loss(logits, logits, distance=distance, exclude_diagonal=exclude)  # type: ignore[arg-type]
    assert value.item() == pytest.approx(0, abs=1e-12)


def test_a_flat_student_pays_log_n_less_the_teachers_entropy() -> None:
    teacher = random_logits(1)
    rows, columns = (torch.softmax(logits, dim=1) for logits in (teacher, teacher.T))
    entropy = -sum((p * p.log()).sum(dim=1).mean() for p in (rows, columns)) / 2
    got = similarity_matching_loss(torch.zeros(6, 6, dtype=torch.float64), teacher)
    torch.testing.assert_close(got, math.log(6) - entropy)


def test_rows_and_columns_count_alike() -> None:
    student, teacher = random_logits(0), random_logits(1)
    one, other = similarity_matching_loss(student, teacher), similarity_matching_loss(student.T, teacher.T)
    torch.testing.assert_close(one, other)


def test_the_temperature_divides_both_and_its_square_multiplies() -> None:
    student, teacher = random_logits(0), random_logits(1)
    got = similarity_matching_loss(student, teacher, temperature=4)
    torch.testing.assert_close(got, 16 * similarity_matching_loss(student / 4, teacher / 4))


def test_the_mean_squared_difference_is_over_all_pairs_or_all_but_the_diagonal() -> None:
    student, teacher = random_logits(0), random_logits(1)
    square = (student - teacher).square()
    torch.testing.assert_close(similarity_matching_loss(student, teacher, distance="mse"), square.mean())
    rest = (square.sum() - square.diagonal().sum()) / 30
    got = similarity_matching_loss(student, teacher, distance="mse", exclude_diagonal=True)
    torch.testing.assert_close(got, rest)


@pytest.mark.parametrize("distance", ["kl", "mse"])
def test_the_diagonal_of_self_similarities_says_nothing(distance: str) -> None:
    student, teacher = random_logits(0).requires_grad_(), random_logits(1)
    value = similarity_matching_loss(student, teacher, distance=distance, exclude_diagonal=True)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(value, student)
    assert not gradient.diagonal().any()
    assert gradient.any()
    other = student + 100 * torch.eye(6, dtype=torch.float64)
    again = similarity_matching_loss(other, teacher.fill_diagonal_(-50), distance=distance, exclude_diagonal=True)  # type: ignore[arg-type]
    torch.testing.assert_close(again, value)


@pytest.mark.parametrize("distance", ["kl", "mse"])
def test_images_without_a_text_are_left_out(distance: str) -> None:
    student, teacher, present = random_logits(0), random_logits(1), torch.tensor([True, True, False, True, True, False])
    got = similarity_matching_loss(student, teacher, distance=distance, present=present)  # type: ignore[arg-type]
    kept = [logits[present][:, present] for logits in (student, teacher)]
    torch.testing.assert_close(got, similarity_matching_loss(*kept, distance=distance))  # type: ignore[arg-type]


def test_a_teacher_without_texts_needs_images_only_and_two_of_them_agree_on_nothing_to_learn() -> None:
    loss = SimilarityMatchingSettings(pairs="image_image").build(CONTEXT).double()
    assert set(loss.inputs()) == {"student_embedding", "teacher_image"}
    assert loss.optional_inputs() == ()
    random = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 7, generator=random, dtype=torch.float64) for _ in range(2))
    assert loss(student_embedding=student[:2], teacher_image=teacher[:2]).item() == 0  # one candidate for each
    assert loss(student_embedding=student, teacher_image=teacher) > 0


def test_the_loss_is_the_formula_on_scaled_cosines_of_either_side() -> None:
    loss = SimilarityMatchingSettings(teacher_scale=30, temperature=2).build(CONTEXT).double()
    random = torch.Generator().manual_seed(0)
    rows = [torch.randn(6, 5, generator=random, dtype=torch.float64) for _ in range(4)]
    unit = [torch.nn.functional.normalize(one, dim=1) for one in rows]
    got = loss(student_embedding=rows[0], student_text=rows[1], teacher_image=unit[2], text=unit[3][:, None])
    wanted = similarity_matching_loss(loss.scale() * unit[0] @ unit[1].T, 30 * unit[2] @ unit[3].T, temperature=2)
    torch.testing.assert_close(got, wanted)
