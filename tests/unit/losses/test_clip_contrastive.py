"""The CLIP loss and SigLIP: closed forms, missing texts, small batches, the learnt scale."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.clip_contrastive import ClipContrastiveSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.clip_contrastive import clip_contrastive_loss, siglip_loss
from orchestrator.losses.formulas.text_contrastive import text_contrastive_loss
from orchestrator.losses.siglip import SiglipSettings

CONTEXT = LossContext((1, 1), 4, 4, 4, 1, 2, embedding_dim=4)
SCALE = torch.tensor(1 / 0.07, dtype=torch.float64)


def axes(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def unit_rows(num_rows: int, dim: int = 5, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(num_rows, dim, generator=random, dtype=torch.float64), dim=1)


def test_orthogonal_own_pairs_give_the_closed_form_in_both_directions() -> None:
    got = clip_contrastive_loss(axes(4), axes(4), torch.tensor(2.0, dtype=torch.float64))
    assert got.item() == pytest.approx(math.log(1 + 3 * math.exp(-2)))


def test_images_and_texts_may_change_places() -> None:
    image, text = unit_rows(6), unit_rows(6, seed=1)
    torch.testing.assert_close(clip_contrastive_loss(image, text, SCALE), clip_contrastive_loss(text, image, SCALE))


def test_it_is_the_symmetric_form_of_l_text() -> None:
    image, text = unit_rows(6), unit_rows(6, seed=1)
    wanted = text_contrastive_loss(image, text[:, None], torch.arange(6)[:, None], SCALE, symmetric=True)
    torch.testing.assert_close(clip_contrastive_loss(image, text, SCALE), wanted)


@pytest.mark.parametrize("num_present", [0, 1])
def test_fewer_than_two_images_with_a_text_give_zero_and_no_gradient(num_present: int) -> None:
    image, text = unit_rows(3).requires_grad_(), unit_rows(3, seed=1).requires_grad_()
    loss = clip_contrastive_loss(image, text, SCALE, torch.arange(3) < num_present)
    loss.backward()
    assert loss.item() == 0
    assert image.grad is not None
    assert text.grad is not None
    assert not image.grad.any()
    assert not text.grad.any()


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_an_image_without_a_text_is_neither_row_nor_candidate(kind: str) -> None:
    image, text, present = unit_rows(5), unit_rows(5, seed=1), torch.tensor([True, True, False, True, False])

    def value(image: Tensor, text: Tensor, present: Tensor | None = None) -> Tensor:
        if kind == "clip":
            return clip_contrastive_loss(image, text, SCALE, present)
        return siglip_loss(image, text, SCALE, torch.tensor(-3.0), present)

    torch.testing.assert_close(value(image, text, present), value(image[present], text[present]))


def test_sigmoid_of_orthogonal_own_pairs_gives_the_closed_form() -> None:
    # own pairs: softplus(-(s + b)), the n - 1 others of each row: softplus(b)
    scale, bias = torch.tensor(3.0, dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64)
    wanted = math.log(1 + math.exp(-2)) + 3 * math.log(1 + math.exp(-1))
    assert siglip_loss(axes(4), axes(4), scale, bias).item() == pytest.approx(wanted)


def test_a_single_pair_still_teaches_siglip() -> None:
    value = siglip_loss(axes(1), axes(1), torch.tensor(3.0), torch.tensor(-1.0))
    assert value.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_the_learnt_scale_starts_at_its_setting_and_is_clamped_to_100() -> None:
    loss = ClipContrastiveSettings().build(CONTEXT)
    assert loss.observed()["scale"].item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        loss.scale.log_scale.fill_(6)
    loss.after_step()
    assert loss.observed()["scale"].item() == pytest.approx(100)


def test_a_fixed_scale_is_not_trained_and_may_be_above_100() -> None:
    loss = ClipContrastiveSettings(scale=500, learnable_scale=False).build(CONTEXT)
    loss.after_step()
    assert not list(loss.parameters())
    assert loss.observed()["scale"].item() == pytest.approx(500)
    with pytest.raises(ValidationError, match="clamped"):
        ClipContrastiveSettings(scale=500)


def test_siglip_starts_at_scale_10_and_bias_minus_10() -> None:
    seen = SiglipSettings().build(CONTEXT).observed()
    assert (seen["scale"].item(), seen["bias"].item()) == pytest.approx((10, -10))


def test_a_student_without_texts_is_contrasted_with_the_texts_of_its_images() -> None:
    loss = ClipContrastiveSettings(text="teacher").build(CONTEXT).double()
    assert set(loss.inputs()) == {"student_embedding", "text"}
    image, text = unit_rows(4, 4), unit_rows(4, 4, seed=1)
    got = loss(student_embedding=7 * image, text=text[:, None])
    torch.testing.assert_close(got, clip_contrastive_loss(image, text, loss.scale()))


def test_texts_of_another_space_are_refused_with_the_remedy() -> None:
    context = LossContext((1, 1), 4, 6, 4, 1, 2, embedding_dim=4)
    with pytest.raises(ConfigError, match=r"4 numbers.*text embedding \(6\)"):
        ClipContrastiveSettings(text="teacher").build(context)
    ClipContrastiveSettings().build(context)  # its own texts
