"""Attention transfer, NST, SP, PKT, RKD and FitNet: closed forms, invariances, and the edges of section 7."""

import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.attention_transfer import AttentionTransferSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.fitnet import FitNetSettings
from orchestrator.losses.formulas import relational_kd as rkd
from orchestrator.losses.formulas.attention_transfer import attention, attention_transfer
from orchestrator.losses.formulas.nst import nst
from orchestrator.losses.formulas.output_pair import pooled_alike
from orchestrator.losses.formulas.pkt import neighbour_probability, pkt
from orchestrator.losses.formulas.relational_kd import angle_relation, distance_relation, relational_kd
from orchestrator.losses.formulas.similarity_preserving import similarity_preserving
from orchestrator.losses.nst import NSTSettings
from orchestrator.losses.pkt import PKTSettings
from orchestrator.losses.relational_kd import RelationalKDSettings
from orchestrator.losses.similarity_preserving import SimilarityPreservingSettings

CONTEXT = LossContext(
    (1, 1), 3, 4, 5, 1, 2, map_dim=2, teacher_feature_dim=4, teacher_map_dim=6, num_images=9, batch_size=8
)
ON_ROWS: list[Any] = [SimilarityPreservingSettings, PKTSettings, RelationalKDSettings]


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_the_attention_is_the_unit_map_of_mean_channel_powers() -> None:
    two_places = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]], dtype=torch.float64)  # 2 channels, 1 x 2
    expected = torch.tensor([[9.0, 16.0]], dtype=torch.float64) / math.sqrt(9**2 + 16**2)
    torch.testing.assert_close(attention(two_places), expected)
    torch.testing.assert_close(attention(-two_places, power=1), torch.tensor([[0.6, 0.8]], dtype=torch.float64))
    assert attention(torch.zeros(1, 2, 2, 2)).tolist() == [[0.0] * 4]


def test_attention_at_two_different_places_is_the_square_root_of_two_apart() -> None:
    student, teacher = torch.zeros(3, 1, 2, 2), torch.zeros(3, 5, 2, 2)
    student[:, :, 0, 0], teacher[:, :, 1, 1] = 7, 2
    assert attention_transfer(student, teacher, form="paper").item() == pytest.approx(math.sqrt(2))
    assert attention_transfer(student, teacher, form="code").item() == pytest.approx(2 / 4)
    assert attention_transfer(teacher, teacher, form="paper").item() == 0


def test_the_larger_map_is_pooled_to_the_smaller_along_each_side() -> None:
    student, teacher = pooled_alike(normal(2, 3, 4, 2), normal(2, 5, 2, 4))
    assert student.shape == (2, 3, 2, 2)
    torch.testing.assert_close(student[0, 0, 0, 0], normal(2, 3, 4, 2)[0, 0, :2, 0].mean())
    torch.testing.assert_close(teacher[1, 4, 1, 1], normal(2, 5, 2, 4)[1, 4, 1, 2:].mean())
    assert pooled_alike(student, teacher)[0] is student


def test_nst_compares_the_channels_and_forgets_their_order_and_scale() -> None:
    maps = normal(2, 3, 2, 2)
    assert nst(maps.flip(1) * torch.tensor([2.0, -3.0, 5.0])[:, None, None], maps).item() == pytest.approx(0, abs=1e-12)
    student, teacher = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    student[..., 0], teacher[..., 1] = 4, 9  # orthogonal channels: K(s, s) = K(t, t) = 1, K(s, t) = 0
    assert nst(student, teacher).item() == pytest.approx(2)


def test_similarity_is_preserved_under_rotation_and_scale_and_its_norm_can_be_chosen() -> None:
    rows = normal(5, 3)
    rotation, _ = torch.linalg.qr(normal(3, 3))
    assert similarity_preserving(4 * rows @ rotation, rows).item() == pytest.approx(0, abs=1e-15)
    same = torch.ones(2, 1, dtype=torch.float64)  # Gram rows (1, 1)
    apart = torch.eye(2, dtype=torch.float64)  # Gram rows (1, 0), (0, 1)
    by_l2 = 2 * ((1 - 1 / math.sqrt(2)) ** 2 + 1 / 2) / 4
    assert similarity_preserving(same, apart).item() == pytest.approx(by_l2)
    assert similarity_preserving(same, apart, row_norm="l1").item() == pytest.approx(2 * (0.25 + 0.25) / 4)
    torch.testing.assert_close(
        similarity_preserving(normal(4, 2, 3, 3), normal(4, 5)),
        similarity_preserving(normal(4, 2, 3, 3).reshape(4, 18), normal(4, 5)),
    )


def test_neighbour_probabilities_are_shifted_cosines_by_row() -> None:
    rows = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]], dtype=torch.float64)
    expected = expected / expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(neighbour_probability(rows), expected, rtol=1e-6, atol=1e-6)
    assert pkt(5 * rows, rows).item() == pytest.approx(0, abs=1e-6)
    uniform = torch.ones(3, 1, dtype=torch.float64)  # student: 1/3 each
    divergence = sum(p * math.log(p * 3) for p in expected.flatten().tolist() if p > 0) / 9
    assert pkt(uniform, rows).item() == pytest.approx(divergence, rel=1e-5)


def test_relations_forget_scale_and_place_and_are_zero_for_similar_figures() -> None:
    rows = normal(6, 3)
    rotation, _ = torch.linalg.qr(normal(3, 3))
    assert relational_kd(3 * rows @ rotation + 8, rows).item() == pytest.approx(0, abs=1e-12)


def test_the_distances_and_angles_of_three_points_have_their_closed_form() -> None:
    line = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)  # distances 1, 1, 2: mean 4/3
    even = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]], dtype=torch.float64)  # all 1
    differences = [1 - 3 / 4, 1 - 3 / 4, 1 - 3 / 2]
    assert distance_relation(line, even).item() == pytest.approx(2 * sum(d**2 / 2 for d in differences) / 9)
    # Cosines at each vertex between the two others: line 1, -1, 1; even 1/2. Each stands twice among the 27 triples.
    smooth = [0.5**2 / 2, 1.5 - 0.5, 0.5**2 / 2]
    assert angle_relation(line, even).item() == pytest.approx(2 * sum(smooth) / 27)
    total = relational_kd(line, even, distance_weight=3, angle_weight=0)
    torch.testing.assert_close(total, 3 * distance_relation(line, even))


def test_angles_computed_part_by_part_are_the_same_with_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = normal(7, 3).requires_grad_(), normal(7, 4)
    whole = angle_relation(student, teacher)
    (expected,) = torch.autograd.grad(whole, student)
    monkeypatch.setattr(rkd, "TRIPLES_AT_ONCE", 2 * 7**2)  # two vertices at once
    parts = angle_relation(student, teacher)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, student)[0], expected)


def test_coincident_rows_have_finite_gradients() -> None:
    student = torch.ones(4, 3).requires_grad_()
    for value in (relational_kd(student, torch.randn(4, 2)), similarity_preserving(student, torch.randn(4, 2))):
        assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize("kind", ON_ROWS)
@pytest.mark.parametrize("output", ["feature", "map"])
def test_a_batch_of_one_has_no_relation_and_a_warning_says_so_once(
    kind: Any, output: str, caplog: pytest.LogCaptureFixture
) -> None:
    loss = kind(output=output).build(CONTEXT)
    assert loss.inputs() == (f"student_{output}", f"teacher_{output}")
    student = torch.randn(*((1, 3) if output == "feature" else (1, 2, 3, 3)), requires_grad=True)
    with caplog.at_level(logging.WARNING):
        value = loss(**{f"student_{output}": student, f"teacher_{output}": torch.randn(1, 4)})
        loss(**{f"student_{output}": student, f"teacher_{output}": torch.randn(1, 4)})
    assert value.item() == 0
    assert torch.autograd.grad(value, student)[0].abs().sum() == 0
    assert sum("no relations" in record.message for record in caplog.records) == 1


def test_fitnet_is_the_mean_square_after_its_regressor_and_learns_it_to_zero_distance() -> None:
    loss = FitNetSettings(output="feature").build(CONTEXT).double()
    student, teacher = normal(8, 3), normal(8, 4)
    by_hand = (student @ loss.regressor.weight.T + loss.regressor.bias - teacher).square().mean()
    torch.testing.assert_close(loss(student_feature=student, teacher_feature=teacher), by_hand)
    exact = student @ normal(3, 4)
    with torch.no_grad():
        loss.regressor.weight.copy_(normal(3, 4).T)
        loss.regressor.bias.zero_()
    assert loss(student_feature=student, teacher_feature=exact).item() == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_fitnet_on_maps_of_different_sizes_compares_them_at_the_smaller(kernel_size: Any) -> None:
    loss = FitNetSettings(kernel_size=kernel_size).build(CONTEXT).double()
    student, teacher = normal(2, 2, 4, 4), normal(2, 6, 2, 2)
    regressed = loss.regressor(torch.nn.functional.avg_pool2d(student, 2))
    expected = (regressed - teacher).square().mean()
    torch.testing.assert_close(loss(student_map=student, teacher_map=teacher), expected)


@pytest.mark.parametrize(
    "settings",
    [AttentionTransferSettings(), NSTSettings(), FitNetSettings(), PKTSettings(output="map"), PKTSettings()],
    ids=lambda settings: settings.kind,
)
def test_an_output_that_the_run_does_not_give_is_refused_with_its_remedy(settings: Any) -> None:
    with pytest.raises(ConfigError, match=r"image_teacher\.outputs"):
        settings.build(LossContext((1, 1), 3, 4, 5, 1, 2, map_dim=2))
