"""L_text: closed forms, its options, its edge cases."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.text_contrastive import text_contrastive_loss
from orchestrator.losses.text_contrastive import TextContrastiveSettings

CONTEXT = LossContext((1, 1), 4, 4, 4, 1, 2)
SCALE = torch.tensor(1 / 0.07, dtype=torch.float64)


def ids(*values: int) -> Tensor:
    return torch.tensor(values)[:, None]


def axes(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def random_pair(num_rows: int = 6, num_texts: int = 1, dim: int = 5) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    prediction = torch.randn(num_rows, dim, generator=random, dtype=torch.float64)
    text = torch.randn(num_rows, num_texts, dim, generator=random, dtype=torch.float64)
    return prediction, torch.nn.functional.normalize(text, dim=-1)


def test_orthogonal_perfect_predictions_give_the_closed_form() -> None:
    # cosine 1 with its own text and 0 with n-1 others: log(1 + (n-1) exp(-scale))
    got = text_contrastive_loss(3 * axes(4), axes(4)[:, None], ids(0, 1, 2, 3), torch.tensor(2.0, dtype=torch.float64))
    assert got.item() == pytest.approx(math.log(1 + 3 * math.exp(-2)))


def test_identical_texts_everywhere_give_log_n() -> None:
    text = axes(4)[:1].expand(5, 4)[:, None]
    got = text_contrastive_loss(torch.randn(5, 4, dtype=torch.float64), text, ids(0, 0, 0, 0, 0), SCALE)
    assert got.item() == pytest.approx(math.log(5))


def test_the_length_of_the_prediction_does_not_matter_but_its_direction_does() -> None:
    prediction, text = random_pair()
    one = text_contrastive_loss(prediction, text, ids(*range(6)), SCALE)
    torch.testing.assert_close(text_contrastive_loss(7 * prediction, text, ids(*range(6)), SCALE), one)
    assert text_contrastive_loss(-prediction, text, ids(*range(6)), SCALE) != one


def test_several_texts_are_summed() -> None:
    prediction, text = random_pair(num_texts=3)
    text_id = torch.arange(18).reshape(6, 3)
    joint = text_contrastive_loss(prediction, text, text_id, SCALE)
    single = [text_contrastive_loss(prediction, text[:, q : q + 1], text_id[:, q : q + 1], SCALE) for q in range(3)]
    torch.testing.assert_close(joint, torch.stack(single).sum())


def test_the_sum_is_the_mean_times_the_rows_with_a_text() -> None:
    prediction, text = random_pair()
    text_id = ids(0, 1, -1, 3, 4, 5)
    mean = text_contrastive_loss(prediction, text, text_id, SCALE)
    torch.testing.assert_close(text_contrastive_loss(prediction, text, text_id, SCALE, reduction="sum"), 5 * mean)


def test_an_image_without_a_text_is_dropped_as_row_and_column() -> None:
    prediction, text = random_pair()
    kept = [0, 1, 3, 4, 5]
    for symmetric in (False, True):
        got = text_contrastive_loss(prediction, text, ids(0, 1, -1, 3, 4, 5), SCALE, symmetric=symmetric)
        want = text_contrastive_loss(prediction[kept], text[kept], ids(*kept), SCALE, symmetric=symmetric)
        torch.testing.assert_close(got, want, rtol=1e-13, atol=0)


@pytest.mark.parametrize("text_id", [(0,), (0, -1, -1), (-1, -1)])
@pytest.mark.parametrize("merge_duplicates", [False, True])
def test_fewer_than_two_texts_give_zero_with_zero_gradient(text_id: tuple[int, ...], merge_duplicates: bool) -> None:
    prediction, text = random_pair(len(text_id))
    prediction.requires_grad_()
    scale = SCALE.clone().requires_grad_()
    got = text_contrastive_loss(prediction, text, ids(*text_id), scale, merge_duplicates=merge_duplicates)
    got.backward()
    assert got.item() == 0
    assert prediction.grad is not None
    assert torch.count_nonzero(prediction.grad) == 0
    assert scale.grad == 0


def test_symmetric_is_the_mean_of_both_directions() -> None:
    prediction, text = random_pair()
    unit = torch.nn.functional.normalize(prediction, dim=1)
    both = text_contrastive_loss(prediction, text, ids(*range(6)), SCALE, symmetric=True)
    there = text_contrastive_loss(prediction, text, ids(*range(6)), SCALE)
    back = text_contrastive_loss(text[:, 0], unit[:, None], ids(*range(6)), SCALE)
    torch.testing.assert_close(both, (there + back) / 2)


def test_merged_duplicates_share_the_target_and_leave_different_texts_alone() -> None:
    prediction, text = random_pair(4)
    text = text[[0, 0, 2, 3]]
    unit = torch.nn.functional.normalize(prediction, dim=1)
    log_p = torch.log_softmax(SCALE * unit @ text[:, 0].T, dim=1)
    target = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    got = text_contrastive_loss(prediction, text, ids(7, 7, 2, 3), SCALE, merge_duplicates=True)
    torch.testing.assert_close(got, -(target * log_p).sum(dim=1).mean())
    distinct = text_contrastive_loss(prediction, text, ids(0, 1, 2, 3), SCALE, merge_duplicates=True)
    torch.testing.assert_close(distinct, text_contrastive_loss(prediction, text, ids(0, 1, 2, 3), SCALE))


def test_the_temperature_starts_as_given_is_learnt_and_is_clamped_after_a_step() -> None:
    loss = TextContrastiveSettings(temperature=0.07).build(CONTEXT)
    assert loss.observed()["temperature"].item() == pytest.approx(0.07)
    assert [name for name, _ in loss.named_parameters()] == ["log_scale"]
    with torch.no_grad():
        loss.log_scale.fill_(9.0)
    loss.after_step()
    assert loss.log_scale.exp().item() == pytest.approx(100.0)


def test_a_fixed_temperature_is_no_parameter_and_is_not_clamped() -> None:
    loss = TextContrastiveSettings(temperature=0.005, learnable=False).build(CONTEXT)
    assert list(loss.parameters()) == []
    loss.after_step()
    assert loss.observed()["temperature"].item() == pytest.approx(0.005)


def test_a_learnable_temperature_cannot_start_beyond_its_clamp() -> None:
    with pytest.raises(ValidationError, match="learnable: false"):
        TextContrastiveSettings(temperature=0.005)
