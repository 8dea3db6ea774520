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


def share_limits(settings: CaptionerSettings, num_captioners: int) -> CaptionerSettings:
    """The settings of one of several captioners side by side: an endpoint's limits and money are shared by all."""
    return settings.shared_by(num_captioners) if isinstance(settings, OpenAIEndpointSettings) else settings


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
    "share_limits",
]
