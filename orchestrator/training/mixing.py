"""Mixup and cutmix of neighbours in a batch, and of what belongs to them (methods 16.4).

Images 2k and 2k + 1 of a batch are mixed with each other, with one weight for both. Weights and boxes are functions of
(data seed, pass, batch, pair's place in the global batch), so they do not depend on the number of workers while the
workers' shares are even. Reads and writes nothing. Knows nothing of losses.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from orchestrator import vocabulary as v
from orchestrator.errors import ConfigError
from orchestrator.students.networks.student import IMAGE
from orchestrator.training.model import DistillationModel
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.view_settings import MixingSettings

UNMIXABLE = frozenset({v.TEACHER_IMAGE, v.TEACHER_FEATURE, v.TEACHER_MAP, v.IMAGE_ROW})  # not of the mixture
LIVE = UNMIXABLE - {v.IMAGE_ROW}  # are of the mixture where the teacher looks at it
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


def mix_pictures(
    pictures: Sequence[Image.Image],
    settings: MixingSettings,
    *,
    data_seed: int,
    pass_index: int,
    batch_index: int,
    first_pair: int,
) -> list[Image.Image]:
    """What a live teacher sees of the images that `mix` makes: the same weights and boxes, at each picture's size."""
    mixed = []
    for row, picture in enumerate(pictures):
        drawn = _draw(settings, (data_seed, batch_index, pass_index), first_pair + row // 2)
        if drawn is None or row ^ 1 >= len(pictures):
            mixed.append(picture)
            continue
        partner = pictures[row ^ 1].resize(picture.size, Image.Resampling.BICUBIC)
        own, other = (torch.from_numpy(np.array(one)).permute(2, 0, 1).float() for one in (picture, partner))
        seen, _ = _blend(own, other, drawn)
        levels = seen.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)
        mixed.append(Image.fromarray(levels.contiguous().numpy()))
    return mixed


Drawn = tuple[float, tuple[float, float] | None]  # an image's own share; of cutmix, the centre of what is cut


def _mixed_images(
    images: Tensor, partner: Tensor, pair: "np.ndarray[tuple[int], np.dtype[np.int64]]", settings: MixingSettings,
    stream: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """([N, 3, S, S], [N] float64 share of an image's own)."""
    mixed, weight = images.clone(), torch.ones(len(images), dtype=torch.float64)
    for row in range(len(images)):
        other, drawn = int(partner[row]), _draw(settings, stream, int(pair[row]))
        if other != row and drawn is not None:
            mixed[row], weight[row] = _blend(images[row], images[other], drawn)
    return mixed, weight


def _draw(settings: MixingSettings, stream: tuple[int, int, int], pair: int) -> Drawn | None:
    """How a pair is mixed; None: not at all. `stream` is (data seed, batch, pass)."""
    data_seed, batch_index, pass_index = stream
    generator = np.random.Generator(
        np.random.Philox(key=[data_seed, _STREAM], counter=[0, pair, batch_index, pass_index])
    )
    chance, kind, centre_y, centre_x = generator.random(4)
    cuts = settings.cutmix_alpha > 0 and (settings.mixup_alpha == 0 or kind < settings.cutmix_share)
    alpha = settings.cutmix_alpha if cuts else settings.mixup_alpha
    if alpha == 0 or chance >= settings.fraction:
        return None
    return float(generator.beta(alpha, alpha)), (float(centre_y), float(centre_x)) if cuts else None


def _blend(own: Tensor, other: Tensor, drawn: Drawn) -> tuple[Tensor, float]:
    """The mixture of two images [3, H, W], and its own share."""
    share, centre = drawn
    if centre is None:
        return share * own + (1 - share) * other, share
    (height, width), cut = own.shape[1:], (1 - share) ** 0.5 / 2

    def edges(middle: float, side: int) -> list[int]:
        return [round(min(max(middle * side + edge, 0), side)) for edge in (-side * cut, side * cut)]

    (top, bottom), (left, right) = edges(centre[0], height), edges(centre[1], width)
    mixed = own.clone()
    mixed[:, top:bottom, left:right] = other[:, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def check_mixing(model: DistillationModel, settings: TrainingSettings, *, live: bool = False) -> None:
    """Refuse losses that would take a mixed image for a whole one.

    Args:
        live: the image teacher looks at every mixed image itself.

    Raises:
        ConfigError: naming each such loss and why.
    """
    if settings.mixing is None:
        return
    whole_images = UNMIXABLE - LIVE if live else UNMIXABLE
    problems = [
        f"the student reads {name}, which belongs to a whole image"
        for name in model.student.reads
        if name in whole_images
    ]
    for name, loss in model.objective.named():
        reads = {*loss.inputs(), *loss.optional_inputs()}
        if whole := sorted(reads & whole_images):
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
            remedy="remove training.mixing, or these losses, or set image_teacher_mode: live; smooth in one place",
        )
