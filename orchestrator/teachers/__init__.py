"""Frozen encoders of texts and images: one file each, joined in one union for texts and one for images."""

from typing import Annotated, Any

from pydantic import Field

from orchestrator.teachers.encoder import ImageEncoder, TextEncoder
from orchestrator.teachers.hashed import HashedEncoderSettings
from orchestrator.teachers.open_clip_encoder import OpenClipSettings
from orchestrator.teachers.sentence_transformers_encoder import SentenceTransformersSettings
from orchestrator.teachers.timm_encoder import TimmEncoderSettings
from orchestrator.teachers.transformers_clip import TransformersClipSettings
from orchestrator.teachers.transformers_vision import TransformersVisionSettings
from orchestrator.teachers.tuned import TunedEncoderSettings, UntunedEncoderSettings

TextEncoderSettings = Annotated[
    HashedEncoderSettings | OpenClipSettings | TransformersClipSettings | SentenceTransformersSettings,
    Field(discriminator="kind"),
]
ImageEncoderSettings = Annotated[
    HashedEncoderSettings
    | OpenClipSettings
    | TransformersClipSettings
    | TransformersVisionSettings
    | TimmEncoderSettings
    | TunedEncoderSettings,
    Field(discriminator="kind"),
]
BothTowers = HashedEncoderSettings | OpenClipSettings | TransformersClipSettings  # what encodes texts and images alike


def text_identity(encoder: TextEncoderSettings) -> dict[str, Any]:
    """Everything that determines an encoder's text rows: its identity without what only its image tower reads."""
    return {name: value for name, value in encoder.identity().items() if name != "outputs"}


__all__ = [
    "BothTowers",
    "HashedEncoderSettings",
    "ImageEncoder",
    "ImageEncoderSettings",
    "OpenClipSettings",
    "SentenceTransformersSettings",
    "TextEncoder",
    "TextEncoderSettings",
    "TimmEncoderSettings",
    "TransformersClipSettings",
    "TransformersVisionSettings",
    "TunedEncoderSettings",
    "UntunedEncoderSettings",
    "text_identity",
]
