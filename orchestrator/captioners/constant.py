"""A captioner that answers every prompt with one text: for smoke tests and for measuring the line without a model.

Reads and writes nothing. Knows nothing of images beyond their size.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from PIL import Image

from orchestrator.frozen import Frozen

Captioner = Callable[[Sequence[Image.Image], Sequence[str]], list[str]]


class ConstantCaptionerSettings(Frozen):
    """Answers with `text`; the fields {width}, {height} and {prompt} are filled in."""

    kind: Literal["constant"] = "constant"
    text: str = "an image of {width} by {height} pixels"

    def identity(self) -> dict[str, Any]:
        """Everything that determines the answers."""
        return {"kind": self.kind, "text": self.text}

    def label(self) -> str:
        """A readable name for folders."""
        return "constant"

    def build(self) -> Captioner:
        """The captioner: (images, prompts) -> captions, one each."""

        def caption(images: Sequence[Image.Image], prompts: Sequence[str]) -> list[str]:
            return [
                self.text.format(width=image.width, height=image.height, prompt=prompt)
                for image, prompt in zip(images, prompts, strict=True)
            ]

        return caption
