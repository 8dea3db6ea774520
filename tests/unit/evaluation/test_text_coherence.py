"""M_vlalign and its companions: inversions against a plain double loop, closed forms, ties."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from orchestrator.evaluation.inversions import count_inversions
from orchestrator.evaluation.text_coherence import ranking_inversions, text_distribution_kl, top_text_agreement


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_pairs(reference: np.ndarray, other: np.ndarray) -> int:
    return sum(
        (reference[a] - reference[b]) * (other[a] - other[b]) < 0 for a, b in combinations(range(len(reference)), 2)
    )


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 9, 33])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_inversions_are_those_of_all_pairs_with_and_without_ties(length: int, levels: int) -> None:
    generator = np.random.default_rng(length)
    reference, other = generator.integers(0, levels, (2, 6, length)).astype(float)
    expected = [by_pairs(a, b) for a, b in zip(reference, other, strict=True)]
    assert count_inversions(reference, other).tolist() == expected


def test_inversions_are_the_discordant_pairs_of_kendalls_tau() -> None:
    reference, other = np.random.default_rng(0).normal(size=(2, 1, 3000))
    num_pairs = 3000 * 2999 / 2
    tau = kendalltau(reference[0], other[0]).statistic
    assert count_inversions(reference, other)[0] == pytest.approx((1 - tau) / 2 * num_pairs)


def test_reversed_orders_invert_every_pair_of_a_long_row() -> None:
    length = 50_001
    ascending = np.arange(length, dtype=float)[None]
    assert count_inversions(ascending, -ascending).tolist() == [length * (length - 1) // 2]
    assert count_inversions(ascending, ascending).tolist() == [0]


def test_a_student_that_orders_as_its_teacher_has_no_inversion() -> None:
    teacher, text = draw(20, 6), draw(7, 6, seed=1)
    found = ranking_inversions(4 * teacher, teacher, text)
    assert set(found.values()) == {0.0}


def test_a_student_opposite_to_its_teacher_inverts_all() -> None:
    teacher, text = draw(20, 6), draw(7, 6, seed=1)
    found = ranking_inversions(-teacher, teacher, text)
    assert found["m_vlalign_inversions"] == 21
    assert found["m_vlalign_normalised"] == 1
    assert found["m_vlalign_per_text_inversions"] == 190
    assert found["m_vlalign_per_text_normalised"] == 1


def test_the_second_reading_is_the_first_with_texts_and_images_exchanged() -> None:
    student, teacher = draw(9, 4), draw(9, 4, seed=1)
    text = draw(6, 4, seed=2)
    unit = torch.nn.functional.normalize
    mine, its = (np.asarray(unit(x) @ unit(text).T) for x in (student, teacher))
    found = ranking_inversions(student, teacher, text)
    assert found["m_vlalign_inversions"] == pytest.approx(
        np.mean([by_pairs(a, b) for a, b in zip(mine, its, strict=True)])
    )
    expected = np.mean([by_pairs(a, b) for a, b in zip(mine.T, its.T, strict=True)])
    assert found["m_vlalign_per_text_inversions"] == pytest.approx(expected)


def test_equal_texts_and_equal_images_tie_wherever_they_stand() -> None:
    student, teacher = draw(1, 96).expand(301, 96), draw(1, 96, seed=1).expand(301, 96)
    text = draw(1, 96, seed=2).expand(203, 96)
    assert set(ranking_inversions(student.float(), teacher.float(), text.float()).values()) == {0.0}


def test_one_text_or_one_image_has_no_pair() -> None:
    found = ranking_inversions(draw(1, 4), draw(1, 4, seed=1), draw(1, 4, seed=2))
    assert found["m_vlalign_inversions"] == 0
    assert math.isnan(found["m_vlalign_normalised"])
    assert math.isnan(found["m_vlalign_per_text_normalised"])


def test_the_divergence_of_two_texts_is_that_of_two_coins() -> None:
    text = torch.eye(2, dtype=torch.float64)
    teacher, student = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    p = 1 / (1 + math.exp(-1 / 0.5))
    expected = p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p)
    assert text_distribution_kl(student, teacher, text, temperature=0.5) == pytest.approx(expected)


def test_the_divergence_over_one_text_is_zero_and_over_all_when_k_is_large() -> None:
    student, teacher, text = draw(10, 5), draw(10, 5, seed=1), draw(8, 5, seed=2)
    assert text_distribution_kl(student, teacher, text, k=1) == 0.0
    assert text_distribution_kl(student, teacher, text, k=900) == text_distribution_kl(student, teacher, text, k=8)
    assert text_distribution_kl(teacher, teacher, text) == pytest.approx(0.0, abs=1e-14)


def test_agreement_and_the_teachers_own_accuracy() -> None:
    text = torch.eye(3)
    teacher, student = text[[0, 1, 2, 0]], text[[0, 1, 1, 1]]
    found = top_text_agreement(student, teacher, text, np.array([0, 0, 2, 1]))
    assert found == {"agreement": 0.5, "teacher_correct": 0.5}


def test_a_zero_student_row_ties_everything() -> None:
    found = ranking_inversions(torch.zeros(3, 4), draw(3, 4), draw(5, 4, seed=1))
    assert found["m_vlalign_inversions"] == 0
    assert text_distribution_kl(torch.zeros(3, 4), draw(3, 4), draw(5, 4, seed=1)) > 0
