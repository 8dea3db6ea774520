"""L_cap of the OOD paper: masking of the own class, missing captions, several texts."""

import math

import pytest
import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.caption_contrastive import CaptionContrastiveSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.caption_contrastive import caption_contrastive_loss

N, Q, D = 5, 2, 6
CONTEXT = LossContext((1, 1), D, D, D, Q, 2, embedding_dim=D)
LABEL = torch.tensor([0, 0, 1, 1, 2])


def given() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    student = torch.randn(N, D, generator=random, dtype=torch.float64)
    text = torch.randn(N, Q, D, generator=random, dtype=torch.float64)
    return student, torch.nn.functional.normalize(text, dim=-1), torch.arange(N * Q).reshape(N, Q)


def test_orthonormal_captions_compete_only_with_those_of_other_classes_without_temperature() -> None:
    rows = torch.eye(4, dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 1])
    loss = caption_contrastive_loss(2 * rows, rows, label)
    wanted = (3 * math.log1p(math.exp(-1)) + math.log1p(3 * math.exp(-1))) / 4
    assert loss.item() == pytest.approx(wanted)


def test_a_batch_of_one_class_and_a_batch_of_one_are_0_with_zero_gradient() -> None:
    student, text, _ = given()
    for rows in (N, 1):
        own = student[:rows].clone().requires_grad_()
        loss = caption_contrastive_loss(own, text[:rows, 0], torch.zeros(rows, dtype=torch.int64), temperature=0.07)
        loss.backward()
        assert loss.item() == 0
        assert own.grad is not None
        assert own.grad.abs().sum() == 0


def test_an_image_without_a_caption_is_as_if_absent() -> None:
    student, text, text_id = given()
    text_id[1, 0], text[1, 0] = -1, 0
    loss = CaptionContrastiveSettings(temperature=0.3).build(CONTEXT)
    rest = torch.arange(N) != 1
    wanted = caption_contrastive_loss(student[rest], text[rest, 0], LABEL[rest], temperature=0.3)
    torch.testing.assert_close(loss(student, text, text_id, LABEL), wanted)
    assert loss(student, text, torch.full_like(text_id, -1), LABEL).item() == 0


def test_several_texts_are_the_first_or_the_sum_over_all() -> None:
    student, text, text_id = given()
    each = [caption_contrastive_loss(student, text[:, q], LABEL) for q in range(Q)]
    first, summed = CaptionContrastiveSettings(), CaptionContrastiveSettings(texts="all")
    torch.testing.assert_close(first.build(CONTEXT)(student, text, text_id, LABEL), each[0])
    torch.testing.assert_close(summed.build(CONTEXT)(student, text, text_id, LABEL), each[0] + each[1])


def test_texts_of_another_width_than_the_students_embedding_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"with a text embedding \(7\)"):
        CaptionContrastiveSettings().build(LossContext((1, 1), D, 7, D, Q, 2, embedding_dim=D))
