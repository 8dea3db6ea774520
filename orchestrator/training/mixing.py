"""Mixup and cutmix of neighbours in a batch, and of what belongs to them (methods 16.4).

Images 2k and 2k + 1 of a batch are mixed with each other, with one weight for both. Weights and boxes are functions of
(data seed, pass, batch, pair's place in the global batch), so they do not depend on the number of workers while the
workers' shares are even. Reads and writes nothing. Knows nothing of losses.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from orchestrator import vocabulary as v
from orchestrator.errors import ConfigError
from orchestrator.students.networks.student import IMAGE
from orchestrator.training.model import DistillationModel
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.view_settings import MixingSettings

UNMIXABLE = frozenset({v.TEACHER_IMAGE, v.TEACHER_FEATURE, v.TEACHER_MAP, v.IMAGE_ROW})  # not of the mixture
_STREAM = 1 << 62  # keeps these draws apart from those of the order, which have the pass at its place in the key


def mix(
    batch: Mapping[str, Tensor],
    settings: MixingSettings,
    num_classes: int,
    *,
    data_seed: int,
    pass_index: int,
    batch_index: int,
    first_pair: int,
) -> dict[str, Tensor]:
    """The batch with view 1 mixed, and with `target`, `mix_row` and `mix_weight`; teacher logits are mixed as
    probabilities.

    Args:
        batch_index: of the global batch in its epoch.
        first_pair: of this worker's share, counted over the global batch.
    """
    num_rows = len(batch[v.LABEL])
    partner = torch.arange(num_rows) ^ 1
    if num_rows % 2:
        partner[-1] = num_rows - 1  # an odd one out stays as it is
    pair = first_pair + np.arange(num_rows) // 2
    images, weight = _mixed_images(batch[IMAGE], partner, pair, settings, (data_seed, batch_index, pass_index))
    one_hot = torch.nn.functional.one_hot(batch[v.LABEL], num_classes).to(torch.float32)
    one_hot = one_hot * (1 - settings.label_smoothing) + settings.label_smoothing / num_classes
    column = weight.to(one_hot.dtype)[:, None]
    mixed = {
        **batch,
        IMAGE: images,
        v.TARGET: column * one_hot + (1 - column) * one_hot[partner],
        v.MIX_ROW: partner,
        v.MIX_WEIGHT: weight.to(torch.float32),
    }
    if v.TEACHER_LOGITS in batch:
        probability = torch.softmax(batch[v.TEACHER_LOGITS].double(), dim=1)
        share = weight[:, None]
        both = share * probability + (1 - share) * probability[partner]
        mixed[v.TEACHER_LOGITS] = both.clamp_min(1e-30).log().to(batch[v.TEACHER_LOGITS].dtype)
    return mixed


def _mixed_images(
    images: Tensor, partner: Tensor, pair: "np.ndarray[tuple[int], np.dtype[np.int64]]", settings: MixingSettings,
    stream: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """([N, 3, S, S], [N] float64 share of an image's own)."""
    side = images.shape[-1]
    mixed, weight = images.clone(), torch.ones(len(images), dtype=torch.float64)
    for row in range(len(images)):
        other = int(partner[row])
        data_seed, batch_index, pass_index = stream
        generator = np.random.Generator(
            np.random.Philox(key=[data_seed, _STREAM], counter=[0, int(pair[row]), batch_index, pass_index])
        )
        chance, kind, centre_y, centre_x = generator.random(4)
        cuts = settings.cutmix_alpha > 0 and (settings.mixup_alpha == 0 or kind < settings.cutmix_share)
        alpha = settings.cutmix_alpha if cuts else settings.mixup_alpha
        if other == row or alpha == 0 or chance >= settings.fraction:
            continue
        share = float(generator.beta(alpha, alpha))
        if not cuts:
            mixed[row] = share * images[row] + (1 - share) * images[other]
            weight[row] = share
            continue
        half = side * (1 - share) ** 0.5 / 2
        top, bottom = (round(min(max(centre_y * side + edge, 0), side)) for edge in (-half, half))
        left, right = (round(min(max(centre_x * side + edge, 0), side)) for edge in (-half, half))
        mixed[row, :, top:bottom, left:right] = images[other, :, top:bottom, left:right]
        weight[row] = 1 - (bottom - top) * (right - left) / side**2
    return mixed, weight


def check_mixing(model: DistillationModel, settings: TrainingSettings) -> None:
    """Refuse losses that would take a mixed image for a whole one.

    Raises:
        ConfigError: naming each such loss and why.
    """
    if settings.mixing is None:
        return
    problems = []
    for name, loss in model.objective.named():
        reads = {*loss.inputs(), *loss.optional_inputs()}
        if whole := sorted(reads & UNMIXABLE):
            problems.append(f"losses.{name} reads {', '.join(whole)}, which belong to whole images")
        if not reads & (v.FROM_STUDENT - {v.VIEW_FEATURE} if loss.skips_first_view else v.FROM_STUDENT):
            continue
        if v.LABEL in reads and v.TARGET not in reads:
            problems.append(f"losses.{name} takes no mixed targets")
        elif settings.mixing.label_smoothing > 0 and getattr(loss, "label_smoothing", 0) > 0:
            problems.append(f"losses.{name}.label_smoothing would smooth the targets again")
        if reads & {v.TEXT, v.STUDENT_TEXT} and v.MIX_ROW not in reads:
            problems.append(f"losses.{name} takes no mixed captions")
    if problems:
        raise ConfigError(
            f"training.mixing is on: {'; '.join(problems)}",
            remedy="remove training.mixing, or these losses; smooth in one place",
        )
