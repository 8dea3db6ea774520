"""Captioning back ends: one file each, joined in one union."""

from typing import Annotated

from pydantic import Field

from orchestrator.captioners.constant import ConstantCaptionerSettings
from orchestrator.captioners.protocol import Answer, Captioner, Refusal, Usage, Visit
from orchestrator.captioners.transformers_vlm import TransformersCaptionerSettings

CaptionerSettings = Annotated[ConstantCaptionerSettings | TransformersCaptionerSettings, Field(discriminator="kind")]

__all__ = [
    "Answer",
    "Captioner",
    "CaptionerSettings",
    "ConstantCaptionerSettings",
    "Refusal",
    "TransformersCaptionerSettings",
    "Usage",
    "Visit",
]
