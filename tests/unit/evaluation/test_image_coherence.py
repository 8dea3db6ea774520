"""M_rel, M_neigh, correlation of cosines: closed forms, invariances, blocks, edge cases."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from orchestrator.errors import DataError
from orchestrator.evaluation import unit_vectors
from orchestrator.evaluation.coherence import coherence
from orchestrator.evaluation.image_coherence import (
    mean_squared_distance,
    neighbour_overlap,
    own_teacher_nearest,
    similarity_correlation,
)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rotation(size: int, seed: int = 1) -> torch.Tensor:
    return torch.linalg.qr(draw(size, size, seed=seed)).Q


def test_a_student_that_copies_its_teacher_is_fully_coherent() -> None:
    teacher = draw(40, 8)
    assert own_teacher_nearest(3 * teacher, teacher) == {"m_rel": 1.0, "m_rel_pairwise": 1.0, "num_images": 40.0}
    assert neighbour_overlap(teacher, teacher) == 1.0
    assert similarity_correlation(teacher, teacher) == pytest.approx(1.0)
    assert mean_squared_distance(5 * teacher, teacher) == pytest.approx(0.0, abs=1e-15)


def test_m_rel_by_hand_on_a_circle() -> None:
    angle = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    teacher = torch.stack([angle.cos(), angle.sin()], 1)
    seen = torch.tensor([0.1, 0.9, 1.1], dtype=torch.float64)  # image 1 is nearer to image 2's teacher embedding
    found = own_teacher_nearest(torch.stack([seen.cos(), seen.sin()], 1), teacher)
    assert found["m_rel"] == pytest.approx(2 / 3)
    assert found["m_rel_pairwise"] == pytest.approx(5 / 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_duplicates_are_ties_and_ties_fail_wherever_they_stand(dtype: torch.dtype) -> None:
    teacher = draw(501, 96, dtype=dtype)
    teacher[::2] = teacher[-1]  # 251 copies of one image
    found = own_teacher_nearest(teacher, teacher)
    assert found["m_rel"] == pytest.approx(250 / 501)
    assert found["m_rel_pairwise"] == pytest.approx(1 - 251 * 250 / (501 * 500))


def test_rotating_a_space_changes_neighbours_and_correlation_not_at_all() -> None:
    student, teacher = draw(60, 12), draw(60, 16, seed=2)
    turned = student @ rotation(12)
    assert neighbour_overlap(turned, teacher, 7) == neighbour_overlap(student, teacher, 7)
    assert neighbour_overlap(teacher @ rotation(16), teacher, 7) == 1.0
    assert similarity_correlation(turned, teacher) == pytest.approx(similarity_correlation(student, teacher))


def test_rotating_both_spaces_alike_changes_no_measure() -> None:
    student, teacher, text, label = draw(50, 6), draw(50, 6, seed=2), draw(9, 6, seed=3), torch.arange(50) % 9
    turn = rotation(6)
    before = coherence(student, teacher, text, label)
    assert coherence(student @ turn, teacher @ turn, text @ turn, label) == pytest.approx(before)


def test_the_order_of_images_changes_no_measure() -> None:
    student, teacher, text, label = draw(50, 6), draw(50, 6, seed=2), draw(9, 6, seed=3), torch.arange(50) % 9
    order = torch.randperm(50, generator=torch.Generator().manual_seed(4))
    before = coherence(student, teacher, text, label)
    assert coherence(student[order], teacher[order], text, label[order]) == pytest.approx(before)


def test_neighbours_by_hand() -> None:
    angle = torch.tensor([0.0, 1.0, 2.1, 3.3], dtype=torch.float64) / 3
    teacher = torch.stack([angle.cos(), angle.sin()], 1)  # nearest one: 1, 0, 1, 2
    student = teacher[[0, 2, 1, 3]]  # images 1 and 2 swap their places; nearest one: 2, 2 (3 is farther), 0, 1
    assert neighbour_overlap(student, teacher, 1) == 0.0
    assert neighbour_overlap(student, teacher, 3) == 1.0


def test_neighbours_of_independent_spaces_overlap_by_chance() -> None:
    student, teacher = draw(400, 16), draw(400, 16, seed=2)
    assert neighbour_overlap(student, teacher, 40) == pytest.approx(40 / 399, abs=0.02)


def test_correlation_is_pearsons_over_pairs_of_different_images() -> None:
    student, teacher = draw(25, 5), draw(25, 7, seed=2)
    pairs = np.triu_indices(25, 1)
    cosines = [
        np.asarray(torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(x).T) for x in (student, teacher)
    ]
    expected = pearsonr(cosines[0][pairs], cosines[1][pairs]).statistic
    assert similarity_correlation(student, teacher) == pytest.approx(expected, abs=1e-12)
    assert similarity_correlation(student.float(), teacher.float()) == pytest.approx(expected, abs=1e-5)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, text, label = draw(45, 6), draw(45, 6, seed=2), draw(9, 6, seed=3), torch.arange(45) % 9
    whole = coherence(student, teacher, text, label)
    monkeypatch.setattr(unit_vectors, "BLOCK_ELEMENTS", 200)  # four rows of images at a time
    assert coherence(student, teacher, text, label) == pytest.approx(whole)


def test_k_beyond_the_other_images_is_all_of_them() -> None:
    student, teacher = draw(5, 4), draw(5, 4, seed=2)
    assert neighbour_overlap(student, teacher, 10) == 1.0


def test_one_image_has_no_other() -> None:
    one = draw(1, 4)
    found = own_teacher_nearest(one, one)
    assert math.isnan(found["m_rel"])
    assert math.isnan(found["m_rel_pairwise"])
    assert found["num_images"] == 1
    assert math.isnan(neighbour_overlap(one, one))
    assert math.isnan(similarity_correlation(one, one))


def test_a_collapsed_student_has_no_correlation_and_finds_nothing() -> None:
    collapsed, teacher = draw(1, 8, dtype=torch.float32).expand(30, 8), draw(30, 8, seed=2, dtype=torch.float32)
    assert math.isnan(similarity_correlation(collapsed, teacher))
    assert own_teacher_nearest(collapsed, teacher)["m_rel"] == pytest.approx(1 / 30)
    assert own_teacher_nearest(teacher, collapsed)["m_rel"] == 0.0


def test_a_zero_vector_stays_zero() -> None:
    teacher = torch.eye(3, dtype=torch.float64)
    student = teacher.clone()
    student[1] = 0  # distance 1 to every teacher embedding: a tie
    assert own_teacher_nearest(student, teacher)["m_rel"] == pytest.approx(2 / 3)
    assert mean_squared_distance(student, teacher) == pytest.approx(1 / 3)
    assert own_teacher_nearest(teacher, student)["m_rel"] == 1.0  # a zero teacher row is at 1, the others at sqrt 2
    assert not math.isnan(neighbour_overlap(student, teacher, 1))


def test_half_precision_arrays_are_cast_up() -> None:
    teacher = draw(30, 8).numpy().astype(np.float16)
    assert own_teacher_nearest(teacher, teacher)["m_rel"] == 1.0


def test_other_numbers_of_images_or_dimensions_are_refused() -> None:
    with pytest.raises(DataError, match="4 student embeddings and 5 teacher"):
        neighbour_overlap(draw(4, 3), draw(5, 3))
    with pytest.raises(DataError, match="of 3 numbers are compared with the teacher's of 6"):
        own_teacher_nearest(draw(4, 3), draw(4, 6))
