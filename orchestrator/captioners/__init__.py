"""Captioning back ends: one file each, joined in one union."""

from typing import Annotated

from pydantic import Field

from orchestrator.captioners.constant import ConstantCaptionerSettings
from orchestrator.captioners.openai_endpoint import OpenAIEndpointSettings
from orchestrator.captioners.protocol import Answer, Captioner, Refusal, Usage, Visit
from orchestrator.captioners.transformers_vlm import TransformersCaptionerSettings
from orchestrator.captioners.vllm_engine import VllmCaptionerSettings

CaptionerSettings = Annotated[
    ConstantCaptionerSettings | TransformersCaptionerSettings | OpenAIEndpointSettings | VllmCaptionerSettings,
    Field(discriminator="kind"),
]

__all__ = [
    "Answer",
    "Captioner",
    "CaptionerSettings",
    "ConstantCaptionerSettings",
    "OpenAIEndpointSettings",
    "Refusal",
    "TransformersCaptionerSettings",
    "Usage",
    "Visit",
    "VllmCaptionerSettings",
]
