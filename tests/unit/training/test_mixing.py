"""Mixup and cutmix: what of the images, targets and teachers is mixed, by how much, and which losses cannot be."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator import vocabulary as v
from orchestrator.errors import ConfigError
from orchestrator.losses.formulas.text_contrastive import text_contrastive_loss
from orchestrator.training.mixing import mix
from orchestrator.training.run import train
from orchestrator.training.view_settings import MixingSettings
from tests.smoke_line import SmokeLine

IMAGE, C, SIDE = "image", 5, 16
MIXUP, CUTMIX = MixingSettings(cutmix_alpha=0), MixingSettings(mixup_alpha=0)


def batch(num_rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Images whose pixels are all of one value, the row's number, so that a mixture tells its parts."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.arange(num_rows, dtype=torch.float32).view(-1, 1, 1, 1)
    return {
        IMAGE: value.expand(num_rows, 3, SIDE, SIDE).contiguous(),
        v.LABEL: torch.randint(C, (num_rows,), generator=generator),
        v.TEACHER_LOGITS: 8 * torch.randn(num_rows, C, generator=generator),
    }


def mixed_by(settings: MixingSettings, whole: dict[str, Tensor], **place: int) -> dict[str, Tensor]:
    at = {"data_seed": 3, "pass_index": 1, "batch_index": 4, "first_pair": 0, **place}
    return mix(whole, settings, C, **at)


@pytest.mark.parametrize(
    "settings", [MIXUP, CUTMIX, MixingSettings(label_smoothing=0.1)], ids=["mixup", "cutmix", "both"]
)
@pytest.mark.parametrize("num_rows", [1, 2, 7, 64])
def test_targets_teachers_and_images_are_mixed_by_one_weight_which_both_of_a_pair_share(
    settings: MixingSettings, num_rows: int
) -> None:
    whole = batch(num_rows)
    mixed = mixed_by(settings, whole)
    partner, weight = mixed[v.MIX_ROW], mixed[v.MIX_WEIGHT].double()
    expected = [row ^ 1 if (row ^ 1) < num_rows else row for row in range(num_rows)]
    assert partner.tolist() == expected
    assert torch.equal(weight, weight[partner])
    if num_rows % 2:
        assert float(weight[-1]) == 1
    torch.testing.assert_close(mixed[v.TARGET].sum(1), torch.ones(num_rows))
    smoothing = settings.label_smoothing
    one_hot = torch.nn.functional.one_hot(whole[v.LABEL], C).double() * (1 - smoothing) + smoothing / C
    share = weight[:, None]
    torch.testing.assert_close(mixed[v.TARGET].double(), share * one_hot + (1 - share) * one_hot[partner])
    probability = whole[v.TEACHER_LOGITS].double().softmax(1)
    both = share * probability + (1 - share) * probability[partner]
    torch.testing.assert_close(mixed[v.TEACHER_LOGITS].double().softmax(1), both, atol=1e-6, rtol=1e-5)
    own, other = torch.arange(num_rows, dtype=torch.float64), partner.double()
    mean = mixed[IMAGE].double().mean((1, 2, 3))  # of one-valued images: the mixture of the two values, by area too
    torch.testing.assert_close(mean, weight * own + (1 - weight) * other, atol=1e-4, rtol=1e-5)
    assert torch.equal(mixed[v.LABEL], whole[v.LABEL])


def test_cutmix_pastes_one_rectangle_of_the_other_image_at_its_own_place() -> None:
    num_rows = 64
    whole = batch(num_rows)
    positions = torch.arange(SIDE * SIDE, dtype=torch.float32).view(1, 1, SIDE, SIDE)
    whole[IMAGE] = whole[IMAGE] * 1000 + positions
    mixed = mixed_by(CUTMIX, whole)
    areas = []
    for row, partner in enumerate(mixed[v.MIX_ROW].tolist()):
        pasted = mixed[IMAGE][row, 0] != whole[IMAGE][row, 0]
        assert torch.equal(mixed[IMAGE][row, 0][pasted], whole[IMAGE][partner, 0][pasted])
        assert int(pasted.sum()) == int(pasted.any(0).sum() * pasted.any(1).sum())
        assert float(mixed[v.MIX_WEIGHT][row]) == pytest.approx(1 - float(pasted.float().mean()), abs=1e-6)
        areas.append(float(pasted.float().mean()))
    assert len(set(areas)) > 20


def test_mixup_weights_are_those_of_the_beta_distribution_and_fraction_and_share_are_kept() -> None:
    def weights(settings: MixingSettings, rows: int = 4000) -> np.ndarray[Any, Any]:
        small = {name: tensor[:, :, :2, :2] if name == IMAGE else tensor for name, tensor in batch(rows).items()}
        return mixed_by(settings, small)[v.MIX_WEIGHT].numpy()[::2].astype(np.float64)

    drawn = weights(MixingSettings(mixup_alpha=0.8, cutmix_alpha=0))
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.01)  # variance of Beta(a, a)
    assert (weights(MixingSettings(cutmix_alpha=0, fraction=0.3)) < 1).mean() == pytest.approx(0.3, abs=0.04)
    assert (weights(MixingSettings(fraction=0)) == 1).all()
    quarters = np.isin(weights(MixingSettings(cutmix_share=0.25)), np.arange(5) / 4)  # of 2 x 2 pixels
    assert quarters.mean() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("settings", [MIXUP, CUTMIX, MixingSettings()])
@pytest.mark.parametrize("num_workers", [2, 4])
def test_even_shares_are_mixed_as_the_whole_batch_is(settings: MixingSettings, num_workers: int) -> None:
    whole = batch(32)
    alone, share = mixed_by(settings, whole), 32 // num_workers
    for rank in range(num_workers):
        rows = slice(rank * share, (rank + 1) * share)
        part = mixed_by(settings, {name: one[rows] for name, one in whole.items()}, first_pair=rank * share // 2)
        for name in (IMAGE, v.TARGET, v.MIX_WEIGHT, v.TEACHER_LOGITS):
            assert torch.equal(part[name], alone[name][rows]), name
        assert torch.equal(part[v.MIX_ROW] + rank * share, alone[v.MIX_ROW][rows])


def test_seed_pass_and_batch_change_what_is_drawn_and_large_seeds_are_not_those_of_other_passes() -> None:
    whole = batch(32)
    drawn = {
        (seed, number, index): mixed_by(MIXUP, whole, data_seed=seed, pass_index=number, batch_index=index)[
            v.MIX_WEIGHT
        ]
        for seed in (0, 1, 2**32, 2**63)
        for number in (0, 1)
        for index in (0, 1)
    }
    assert len({tuple(weight.tolist()) for weight in drawn.values()}) == 16
    again = mixed_by(MIXUP, whole, data_seed=1, pass_index=1, batch_index=0)[v.MIX_WEIGHT]
    assert torch.equal(again, drawn[1, 1, 0])


def test_the_text_loss_takes_both_captions_by_their_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    text = torch.nn.functional.normalize(torch.randn(2, 1, 6, generator=generator, dtype=torch.float64), dim=-1)
    ids, scale, share = torch.tensor([[0], [1]]), torch.tensor(5.0, dtype=torch.float64), 0.3
    weight = torch.tensor([share, share], dtype=torch.float64)
    found = text_contrastive_loss(prediction, text, ids, scale, mix_row=torch.tensor([1, 0]), mix_weight=weight)
    cosine = torch.nn.functional.normalize(prediction, dim=1) @ text[:, 0].T
    margin = [float(5 * (cosine[row, row] - cosine[row, 1 - row])) for row in (0, 1)]
    # two candidates: -log p of the own caption is softplus(-margin), of the other softplus(margin)
    expected = [share * math.log1p(math.exp(-m)) + (1 - share) * math.log1p(math.exp(m)) for m in margin]
    assert float(found) == pytest.approx(sum(expected) / 2, rel=1e-12)
    missing = torch.tensor([[0], [-1]])  # with one caption left there is nothing to choose from
    assert (
        float(text_contrastive_loss(prediction, text, missing, scale, mix_row=torch.tensor([1, 0]), mix_weight=weight))
        == 0
    )


def test_an_image_whose_partner_has_no_caption_keeps_the_whole_of_its_own() -> None:
    generator = torch.Generator().manual_seed(1)
    prediction = torch.randn(4, 6, generator=generator)
    text = torch.nn.functional.normalize(torch.randn(4, 2, 6, generator=generator), dim=-1)
    ids = torch.tensor([[0, 4], [1, -1], [2, 6], [3, 7]])
    scale, row = torch.tensor(3.0), torch.tensor([1, 0, 2, 3])
    own = torch.ones(4)
    half = torch.tensor([0.5, 0.5, 1, 1])
    second = slice(1, 2)
    mixed = text_contrastive_loss(prediction, text[:, second], ids[:, second], scale, mix_row=row, mix_weight=half)
    plain = text_contrastive_loss(prediction, text[:, second], ids[:, second], scale, mix_row=row, mix_weight=own)
    torch.testing.assert_close(mixed, plain)


# --- trainings --------------------------------------------------------------------------------------------------------

TAKES_TARGETS: dict[str, Any] = {
    "training.mixing": {},
    "losses.image": {"kind": "image_distillation", "weight": 0.5, "feature_weight": 0},
}


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ({"kind": "image_distillation"}, "losses.other reads teacher_image, which belong to whole images"),
        ({"kind": "caption_contrastive"}, "losses.other takes no mixed targets"),
        ({"kind": "caption_contrastive"}, "losses.other takes no mixed captions"),
        ({"kind": "supervised_contrastive"}, "losses.other takes no mixed targets"),
    ],
)
def test_losses_that_would_take_a_mixture_for_a_whole_image_are_refused_by_name(
    loss: dict[str, Any], told: str, smoke_line: SmokeLine, tmp_path: Path
) -> None:
    job = smoke_line.job(tmp_path / "job", {**TAKES_TARGETS, "student.embedding": {}, "losses.other": loss})
    with pytest.raises(ConfigError) as error:
        next(train(job))
    assert told in str(error.value)
    assert "remove training.mixing" in str(error.value)


def test_losses_of_later_views_alone_go_with_mixing(smoke_line: SmokeLine, tmp_path: Path) -> None:
    views = {"training.more_views": [{"recipe": "sim_aug"}, {"recipe": "sim_aug"}]}
    for loss in ({"kind": "supervised_contrastive", "views": "extra"}, {"kind": "proco", "head_dim": 16}):
        overrides = {**TAKES_TARGETS, **views, "losses.other": loss, "training.epochs": 1}
        (progress,) = train(smoke_line.job(tmp_path / str(loss["kind"]), overrides))
        assert np.isfinite(progress.metrics["train/other"])


def test_a_training_with_mixing_learns_and_is_not_the_one_without(smoke_line: SmokeLine, tmp_path: Path) -> None:
    students = []
    for name, overrides in (("mixed", TAKES_TARGETS), ("plain", {**TAKES_TARGETS, "training.mixing": None})):
        job = smoke_line.job(tmp_path / name, {**overrides, "training.epochs": 12, "training.batch_size": 15})
        history = [progress.metrics for progress in train(job)]
        assert history[-1]["train/loss"] < history[0]["train/loss"]
        students.append((tmp_path / name / "student.safetensors").read_bytes())
    assert students[0] != students[1]
