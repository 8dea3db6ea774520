"""Captioning back ends: one file each, joined in one union."""

from typing import Annotated

from pydantic import Field

from orchestrator.captioners.constant import Captioner, ConstantCaptionerSettings
from orchestrator.captioners.transformers_vlm import TransformersCaptionerSettings

CaptionerSettings = Annotated[ConstantCaptionerSettings | TransformersCaptionerSettings, Field(discriminator="kind")]

__all__ = ["Captioner", "CaptionerSettings", "ConstantCaptionerSettings", "TransformersCaptionerSettings"]
