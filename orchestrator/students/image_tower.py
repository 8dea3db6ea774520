"""What the settings of students with a raw-image backbone and a text side share.

Holds a base class. Reads and writes nothing; the network is in networks/two_tower/image_tower.py.
"""

from dataclasses import replace
from typing import Literal

from pydantic import Field, field_validator

from orchestrator.students.abilities import Abilities
from orchestrator.students.heads import ClassifierSettings, EmbeddingSettings, ImageStudentSettings


class ImageTowerSettings(ImageStudentSettings):
    """A backbone on raw images, a bottleneck to 256 numbers, and a bottleneck for the teacher's texts.

    `bottleneck_dim: null` makes both linear. `embedding: null` with a classifier is the report's form for Tiny
    ImageNet; it has no text side. Weights are random unless `pretrained` (timm fetches them) or `checkpoint` (a
    .safetensors file of the backbone, or of such a student) says otherwise.
    """

    classifier: ClassifierSettings | None = None
    embedding: EmbeddingSettings | None = EmbeddingSettings(dim=256)
    bottleneck_dim: int | None = Field(default=128, ge=1)
    text_side: bool = Field(
        default=True, description="put a bottleneck for the teacher's texts beside the images; false: images alone"
    )
    texts: Literal["first", "all"] = Field(
        default="first", description="of an image that the text side embeds: the first, or all"
    )
    pretrained: bool = False
    checkpoint: str | None = None

    @field_validator("checkpoint")
    @classmethod
    def _is_safetensors(cls, checkpoint: str | None) -> str | None:
        if checkpoint is not None and not checkpoint.endswith(".safetensors"):
            raise ValueError("only .safetensors checkpoints are read (a pickle may run code); convert it first")
        return checkpoint

    def abilities(self, *, has_texts: bool) -> Abilities:
        """See `ImageStudentSettings`; an embedding comes with a text side."""
        own = super().abilities(has_texts=has_texts)
        return replace(own, has_text_side=own.embeds and self.text_side and has_texts)
