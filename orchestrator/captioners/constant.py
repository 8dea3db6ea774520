"""A captioner that answers every prompt with one text: for smoke tests and for measuring the line without a model.

Reads and writes nothing. Knows nothing of images beyond their size.
"""

from collections.abc import Sequence
from typing import Any, Literal

from orchestrator.captioners.protocol import Answer, Usage, Visit
from orchestrator.frozen import Frozen


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

    def build(self) -> "ConstantCaptioner":
        """The captioner."""
        return ConstantCaptioner(self.text)


class ConstantCaptioner:
    """See `Captioner`."""

    def __init__(self, text: str) -> None:
        self.usage = Usage()
        self._text = text

    def caption(self, visits: Sequence[Visit]) -> list[list[Answer]]:
        """See `Captioner`; without an image, width and height are 0."""
        self.usage.add(forwards=1, images_encoded=len(visits))
        answers: list[list[Answer]] = []
        for visit in visits:
            width, height = visit.image.size if visit.image is not None else (0, 0)
            answers.append([self._text.format(width=width, height=height, prompt=prompt) for prompt in visit.prompts])
        return answers
