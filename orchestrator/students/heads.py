"""Settings of the heads on an image student's feature: classifier, embedding; and what all image students share.

Holds settings. Reads and writes nothing; the modules are in networks/.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.students.abilities import Abilities

HeadInput = Literal["feature", "embedding", "adaptor"]


class LinearClassifierSettings(Frozen):
    """A linear classifier with bias.

    `reads: adaptor` is LiVT's placement: the text adaptor sits before the classifier and stays in the student (VLM-KD,
    appendix A.1). `start: class_texts` begins the weight at the class texts (RISE, with `reads: embedding`).
    """

    kind: Literal["linear"] = "linear"
    reads: HeadInput = "feature"
    start: Literal["random", "class_texts"] = "random"


class CosineClassifierSettings(Frozen):
    """scale * cosine to a learnt vector of each class, no bias (ProCo; methods 3.1)."""

    kind: Literal["cosine"] = "cosine"
    reads: HeadInput = Field(
        default="feature",
        description="what it classifies: the pooled feature, the embedding, or the text adaptor's output",
    )
    scale: float = Field(default=30.0, gt=0, description="multiplies the cosines, which makes logits of them")


ClassifierSettings = Annotated[LinearClassifierSettings | CosineClassifierSettings, Field(discriminator="kind")]


class EmbeddingSettings(Frozen):
    """A linear map of the feature into the image teacher's space (OOD paper, methods 1); `dim` null: its width."""

    dim: int | None = Field(default=None, ge=1)


class ImageStudentSettings(Frozen):
    """What students that look at images share.

    `classifier: null` makes an embedding student, which classifies by cosine to class texts, of whatever label set.
    `pixel_mean` and `pixel_std` (fractions of 0..1, one number per channel) are what pretrained weights expect; null
    leaves images as they are loaded, (x - 0.5) / 0.25.
    """

    classifier: ClassifierSettings | None = LinearClassifierSettings()
    embedding: EmbeddingSettings | None = None
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _heads_hold(self) -> Self:
        if self.classifier is None and self.embedding is None:
            raise ValueError("classifier and embedding are both null: the student would make nothing but a feature")
        if self.classifier is not None and self.classifier.reads == "embedding" and self.embedding is None:
            raise ValueError("classifier.reads is embedding, and embedding is null")
        if (self.pixel_mean is None) != (self.pixel_std is None):
            raise ValueError("pixel_mean and pixel_std go together")
        return self

    def abilities(self, *, has_texts: bool) -> Abilities:
        """What the student will be able to do, where the run has texts or not."""
        dim = None if self.embedding is None else self.embedding.dim
        embeds = self.embedding is not None
        return Abilities("image", self.classifier is not None, embeds, dim, False, takes_class_texts=embeds)
