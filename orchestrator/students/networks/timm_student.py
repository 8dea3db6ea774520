"""A timm model as a student: pooled feature and logits from one pass.

Holds the network, its construction and the reading of a checkpoint. Reads a .safetensors file; writes nothing. Knows
nothing of losses.
"""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
from safetensors.torch import load_file
from torch import Tensor, nn

from orchestrator.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from orchestrator.students.timm_student import TimmStudentSettings

_PREFIX = "backbone."  # of the names in a student that we wrote ourselves


class TimmStudent(nn.Module):
    """images [N, in_chans, S, S] -> (logits [N, C], feature [N, d]); the classifier reads the feature itself."""

    backbone: Any

    def __init__(self, backbone: Any, name: str) -> None:
        super().__init__()
        classifier = backbone.get_classifier()
        if not isinstance(classifier, nn.Linear):
            raise ConfigError(
                f"student {name} has no single linear classifier ({type(classifier).__name__})",
                remedy="choose another student.name",
            )
        self.backbone = backbone
        self.feature_dim: int = classifier.in_features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.backbone.forward_head(self.backbone.forward_features(images), pre_logits=True)
        return self.backbone.get_classifier()(feature), feature


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


def load_checkpoint(backbone: nn.Module, path: str) -> None:
    """Load every tensor of a .safetensors file; only a classifier of another shape is left at its start values.

    Raises ArtifactError when the file is missing, or names or shapes are not those of the model.
    """
    if not Path(path).is_file():
        raise ArtifactError(f"student.checkpoint {path} is not a file", remedy="correct the path, or set it to null")
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(path).items()}
    own = backbone.state_dict()
    classifier: Any = backbone.get_classifier()  # type: ignore[operator]
    names = {id(module): name for name, module in backbone.named_modules()}
    of_classifier = {f"{names[id(classifier)]}.{name}" for name in classifier.state_dict()}
    for name in of_classifier:
        if name in tensors and tensors[name].shape != own[name].shape:
            del tensors[name]
    wrong = [f"{name} is unknown" for name in tensors if name not in own]
    wrong += [f"{name} is missing" for name in own if name not in tensors and name not in of_classifier]
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
    backbone.load_state_dict(tensors, strict=False)
