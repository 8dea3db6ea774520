"""Frozen encoders of texts and images: one file each, joined in one union."""

from typing import Annotated

from pydantic import Field

from orchestrator.teachers.hashed import HashedEncoderSettings
from orchestrator.teachers.open_clip_encoder import ImageEncoder, OpenClipSettings, TextEncoder

EncoderSettings = Annotated[HashedEncoderSettings | OpenClipSettings, Field(discriminator="kind")]

__all__ = ["EncoderSettings", "HashedEncoderSettings", "ImageEncoder", "OpenClipSettings", "TextEncoder"]
