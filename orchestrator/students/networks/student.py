"""What every student is, and the one that looks at images: a backbone with heads on its pooled feature.

Reads and writes nothing. Knows nothing of losses or data.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.errors import ConfigError
from orchestrator.students.networks.cosine_classifier import CosineClassifier

if TYPE_CHECKING:
    from orchestrator.students.adaptor import AdaptorSettings
    from orchestrator.students.context import StudentContext
    from orchestrator.students.heads import ImageStudentSettings

IMAGE = "image"  # [N, 3, S, S] float32: the view, the model's own input rather than a loss's
LOADED_MEAN, LOADED_STD = 0.5, 0.25  # images arrive as (x / 255 - 0.5) / 0.25
CLASSIFIER_READS = {"feature": v.STUDENT_FEATURE, "embedding": v.STUDENT_EMBEDDING, "adaptor": v.TEXT_PREDICTION}


class Student(nn.Module, ABC):
    """What is trained and shipped. Its `forward` returns what it makes by vocabulary name (`FROM_STUDENT`).

    Attributes:
        reads: what it takes of a batch, in the order of `forward`'s arguments: `image`, or a teacher's rows.
        feature_dim, map_dim, embedding_dim: width of the feature, channels of the map, width of the embedding; 0: none.
    """

    reads: tuple[str, ...] = (IMAGE,)
    feature_dim: int = 0
    map_dim: int = 0
    embedding_dim: int = 0

    def makes(self) -> set[str]:
        """The vocabulary names of what `forward` returns."""
        return {v.STUDENT_FEATURE}

    def heads(self) -> dict[str, nn.Module]:
        """The modules that make an output beside the feature, by the output: what no loss reads need not be trained."""
        return {}

    def made_of(self) -> dict[str, str]:
        """Which output a head reads where it reads another head's, by the head's own; last heads first."""
        return {}

    def class_embeddings(self, class_text: Tensor) -> Tensor | None:
        """Class texts [C, D] of the image teacher's space in the space of the student's embedding, [C, E] unit rows.

        The class texts themselves where the widths agree; None where the student has no way to bring them there.
        """
        return class_text if class_text.shape[1] == self.embedding_dim else None

    def check_pass(self, image_size: int) -> None:
        """Refuse images of a side that the backbone cannot look at, where it looks at images."""

    def start_from_class_texts(self, class_text: Tensor) -> None:
        """Begin the classifier at the class texts' embeddings [C, D]; called once, before training, when asked for."""
        raise ConfigError("this student has no classifier that could start from class texts")


class ImageStudent(Student):
    """images [N, 3, S, S] -> student_feature [N, d] and student_map [N, c, h, w], and what its heads make.

    `classifier` reads the feature, the embedding, or the text adaptor's output, as `classifier_reads` says; in the last
    case the adaptor is part of the student, and stays in it (LiVT's placement, VLM-KD appendix A.1).
    """

    classifier_reads: str = "feature"
    classifier_start: str = "random"
    pixel_factor: Tensor
    pixel_shift: Tensor

    def __init__(self, backbone: nn.Module, *, feature_dim: int, map_dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_dim, self.map_dim = feature_dim, map_dim
        self.classifier: nn.Module | None = None
        self.embedding: nn.Module | None = None
        self.adaptor: nn.Module | None = None
        self.scales_pixels = False

    @abstractmethod
    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(pooled feature [N, d], map [N, c, h, w]) of images."""

    @torch.no_grad()
    def check_pass(self, image_size: int) -> None:
        """Try one pass, which costs nothing where the weights have no memory (torch's device `meta`).

        Raises:
            ConfigError: it cannot look at images of this side, or does not make the feature and map of its sizes.
        """
        images = torch.empty(2, 3, image_size, image_size, device=next(self.parameters()).device)
        was_training = self.training
        try:
            feature, positions = self.eval().features(images)
        except Exception as error:  # each of timm's models fails in its own way
            told = f"fails at images of {image_size} pixels: {type(error).__name__}: {error}"
        else:
            told = f"makes a feature {tuple(feature.shape[1:])} and a map {tuple(positions.shape[1:])}"
            if feature.shape[1:] == (self.feature_dim,) and positions.ndim == 4 and positions.shape[1] == self.map_dim:
                return
        finally:
            self.train(was_training)
        raise ConfigError(
            f"the student's backbone {told}",
            expected=f"a feature of {self.feature_dim} numbers and a map of {self.map_dim} channels",
            remedy="choose another student.name, or set student.image_size to image_size where the model has one size",
        )

    def add_heads(
        self,
        settings: "ImageStudentSettings",
        context: "StudentContext",
        adaptor: "AdaptorSettings",
        own_classifier: nn.Module,
    ) -> None:
        """Put the heads on that the settings ask for; `own_classifier` is the backbone's, with its own start values."""
        if settings.pixel_mean is not None and settings.pixel_std is not None:
            mean, std = torch.tensor(settings.pixel_mean), torch.tensor(settings.pixel_std)
            self.register_buffer("pixel_factor", (LOADED_STD / std).view(1, -1, 1, 1), persistent=False)
            self.register_buffer("pixel_shift", ((LOADED_MEAN - mean) / std).view(1, -1, 1, 1), persistent=False)
            self.scales_pixels = True
        if settings.embedding is not None:
            self.embedding_dim = settings.embedding.dim or context.teacher_dim
            if not self.embedding_dim:
                raise ConfigError(
                    "student.embedding has no width: the run has no image teacher whose width it could take",
                    remedy="set image_teacher, or student.embedding.dim",
                )
            self.embedding = nn.Linear(self.feature_dim, self.embedding_dim)
        wanted = settings.classifier
        if wanted is None:
            return
        widths = {"feature": self.feature_dim, "embedding": self.embedding_dim, "adaptor": context.text_dim}
        self.classifier_reads, width = wanted.reads, widths[wanted.reads]
        if not width:
            raise ConfigError(
                f"student.classifier reads the {wanted.reads}, and there is none",
                remedy="set student.embedding, or text_sources for the adaptor",
            )
        if wanted.reads == "adaptor" and adaptor.per_prompt:
            raise ConfigError(
                "student.classifier reads the adaptor, and adaptor.per_prompt makes several of it",
                remedy="set adaptor.per_prompt: false, or let the classifier read the feature",
            )
        if wanted.reads == "adaptor":
            self.adaptor = adaptor.build(self.feature_dim, context.text_dim)
        if wanted.kind == "cosine":
            self.classifier = CosineClassifier(width, context.num_classes, scale=wanted.scale)
        elif wanted.reads == "feature" and wanted.start == "random":
            self.classifier = own_classifier
        else:
            self.classifier = nn.Linear(width, context.num_classes)
        self.classifier_start = getattr(wanted, "start", "random")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """See the class."""
        if self.scales_pixels:
            images = images * self.pixel_factor + self.pixel_shift
        feature, positions = self.features(images)
        made = {v.STUDENT_FEATURE: feature, v.STUDENT_MAP: positions}
        if self.embedding is not None:
            made[v.STUDENT_EMBEDDING] = self.embedding(feature)
        if self.adaptor is not None:
            made[v.TEXT_PREDICTION] = self.adaptor(feature)
        if self.classifier is not None:
            made[v.STUDENT_LOGITS] = self.classifier(made[CLASSIFIER_READS[self.classifier_reads]])
        return made

    def makes(self) -> set[str]:
        """See `Student`."""
        return {v.STUDENT_FEATURE, v.STUDENT_MAP, *ImageStudent.heads(self)}

    def heads(self) -> dict[str, nn.Module]:
        """See `Student`."""
        heads = {
            v.STUDENT_LOGITS: self.classifier, v.STUDENT_EMBEDDING: self.embedding, v.TEXT_PREDICTION: self.adaptor
        }  # fmt: skip
        return {name: head for name, head in heads.items() if head is not None}

    def made_of(self) -> dict[str, str]:
        """See `Student`."""
        read = CLASSIFIER_READS[self.classifier_reads]
        return {} if self.classifier is None or read == v.STUDENT_FEATURE else {v.STUDENT_LOGITS: read}

    @torch.no_grad()
    def start_from_class_texts(self, class_text: Tensor) -> None:
        """See `Student` (RISE: the classifier's weight starts at the unit class-text anchors, methods 4)."""
        weight = getattr(self.classifier, "weight", None)
        if not isinstance(weight, Tensor) or weight.shape != class_text.shape:
            shape = None if weight is None else tuple(weight.shape)
            raise ConfigError(
                f"student.classifier cannot start from class texts of shape {tuple(class_text.shape)}: it has {shape}",
                remedy="let it read an embedding of the teacher's width (classifier.reads: embedding)",
            )
        weight.copy_(class_text)
