"""Where the text of an image comes from: a caption, its class's name or description, or the true scene.

Holds settings. Knows nothing of encoders. Source: VLM-KD, text kinds (methods 2.5), and the evidence's control arms.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from orchestrator.frozen import Frozen


class CaptionText(Frozen):
    """The captioner's answer to one prompt; `permute` makes the control arms (captions of other images)."""

    kind: Literal["caption"] = "caption"
    prompt: str
    permute: Literal["none", "within_class", "all"] = "none"
    permute_seed: int = 0


class ClassNameText(Frozen):
    """The class name in a template with one {class}; the same text for all images of a class."""

    kind: Literal["class_name"] = "class_name"
    template: str = "a photo of a {class}."

    @field_validator("template")
    @classmethod
    def _names_the_class(cls, value: str) -> str:
        if "{class}" not in value:
            raise ValueError("a template must hold {class}")
        return value


class ClassDescriptionText(Frozen):
    """The data set's description of the class."""

    kind: Literal["class_description"] = "class_description"


class OracleText(Frozen):
    """The true description of the scene, where the data set knows it (the embedded world does)."""

    kind: Literal["oracle"] = "oracle"


TextSettings = Annotated[CaptionText | ClassNameText | ClassDescriptionText | OracleText, Field(discriminator="kind")]
