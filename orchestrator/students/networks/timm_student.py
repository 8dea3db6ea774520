"""A timm model as a student: pooled feature and map from one pass, heads of our own beside it.

Holds the network, its construction and the reading of a checkpoint. Reads a .safetensors file; writes nothing. Knows
nothing of losses.
"""

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
from safetensors.torch import load_file
from torch import Tensor, nn

from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.students.networks.student import ImageStudent

if TYPE_CHECKING:
    from orchestrator.students.adaptor import AdaptorSettings
    from orchestrator.students.context import StudentContext
    from orchestrator.students.timm_student import TimmStudentSettings

CLASSIFIER = "classifier"
_PREFIX = "backbone."  # of the names in a student that we wrote ourselves


class TimmStudent(ImageStudent):
    """images [N, in_chans, S, S]; `backbone` is the timm model without its classifier, under timm's own names."""

    backbone: Any

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `ImageStudent`; of token models the map is the tokens on their grid, without prefix tokens."""
        raw = self.backbone.forward_features(images)
        return self.backbone.forward_head(raw, pre_logits=True), on_grid(self.backbone, raw)


def on_grid(backbone: Any, raw: Tensor) -> Tensor:
    """A timm model's unpooled features as a map [N, c, h, w]: [N, c, h, w], [N, h, w, c] or [N, T, c] come in."""
    if raw.ndim == 4:
        return raw.permute(0, 3, 1, 2) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else raw
    tokens = raw[:, getattr(backbone, "num_prefix_tokens", 0) :]
    side = math.isqrt(tokens.shape[1])  # images are square
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def build_timm_student(
    settings: "TimmStudentSettings", context: "StudentContext", adaptor: "AdaptorSettings"
) -> TimmStudent:
    """The student with fresh weights, timm's pretrained ones, or those of a checkpoint.

    A model with one linear classifier keeps it; one with another head (several classifiers, a norm before the linear
    map) gets a linear classifier on the feature that the head reads.

    Raises:
        ConfigError: an unknown name, or an option the model lacks.
        ArtifactError: a checkpoint that does not fit.
    """
    backbone: Any = create_backbone(settings, context.num_classes)
    own = backbone.get_classifier()
    heads = own if isinstance(own, tuple) else (own,)
    native = {name: "" for name, module in backbone.named_modules() if any(module is head for head in heads)}
    if isinstance(own, nn.Linear):
        native, classifier = dict.fromkeys(native, CLASSIFIER), own
    else:
        classifier = nn.Linear(backbone.head_hidden_size, context.num_classes)
    backbone.reset_classifier(0, **({} if settings.global_pool is None else {"global_pool": settings.global_pool}))
    student = TimmStudent(backbone, feature_dim=classifier.in_features, map_dim=backbone.num_features)
    student.add_heads(settings, context, adaptor, classifier)
    if settings.checkpoint is not None:
        load_checkpoint(student, native, settings.checkpoint)
    return student


def create_backbone(settings: "TimmStudentSettings", num_classes: int) -> nn.Module:
    """The timm model with a classifier of `num_classes`; ConfigError for an unknown name or an option it lacks."""
    if not timm.is_model(settings.name):
        close = difflib.get_close_matches(settings.name, timm.list_models(), n=3)
        raise ConfigError(
            f"student.name {settings.name!r} is no timm model",
            expected=f"a name from timm.list_models(){', such as ' + ', '.join(close) if close else ''}",
        )
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": settings.in_chans}
    if settings.drop_path > 0:
        options["drop_path_rate"] = settings.drop_path
    if settings.global_pool is not None:
        options["global_pool"] = settings.global_pool
    if settings.image_size is not None:
        options["img_size"] = settings.image_size
    try:
        return timm.create_model(settings.name, pretrained=settings.pretrained, **options)
    except TypeError as error:  # the model's constructor does not know drop_path_rate or img_size
        raise ConfigError(
            f"student {settings.name}: {error}",
            expected="image_size only for models of one size (ViT), drop_path only for models that have it",
            remedy="leave student.image_size null and student.drop_path 0",
        ) from error


def load_checkpoint(student: ImageStudent, native: Mapping[str, str], path: str) -> None:
    """Load the backbone of a .safetensors file, and of its heads those that are the student's in name and shape.

    Args:
        native: for files in timm's format: timm's names of the model's classifiers, each with the student's name for
            it, or "" where the student has none like it.

    Raises:
        ArtifactError: the file is missing, or names or shapes of the backbone are not those of the model.
    """
    if not Path(path).is_file():
        raise ArtifactError(f"student.checkpoint {path} is not a file", remedy="correct the path, or set it to null")
    tensors = load_file(path)
    if not any(name.startswith(_PREFIX) for name in tensors):  # timm's own format
        tensors = {
            renamed: tensor for name, tensor in tensors.items() if (renamed := _own_name(name, native)) is not None
        }
    own = student.state_dict()
    of_heads = {name for name in {*own, *tensors} if not name.startswith(_PREFIX)}
    for name in of_heads & set(tensors):
        if name not in own or tensors[name].shape != own[name].shape:
            del tensors[name]
    wrong = [f"{name} is unknown" for name in tensors if name not in own]
    wrong += [f"{name} is missing" for name in own if name not in tensors and name not in of_heads]
    wrong += [
        f"{name} is {tuple(value.shape)}, not {tuple(own[name].shape)}"
        for name, value in tensors.items()
        if name in own and value.shape != own[name].shape
    ]
    if wrong:
        raise ArtifactError(
            f"student.checkpoint {path} does not fit the model: {'; '.join(wrong[:5])} ({len(wrong)} in all)",
            expected="the weights of the model that student.name names",
        )
    student.load_state_dict(tensors, strict=False)


def _own_name(name: str, native: Mapping[str, str]) -> str | None:
    """The student's name of a tensor of timm's; None: of a classifier that the student does not have."""
    for theirs, ours in native.items():
        if name.startswith(f"{theirs}."):
            return f"{ours}{name.removeprefix(theirs)}" if ours else None
    return _PREFIX + name
