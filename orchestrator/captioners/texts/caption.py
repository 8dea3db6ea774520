"""Texts of kind `caption`: what the captioner answered to one prompt, or to several joined into one text.

Reads the captions' table. Knows nothing of captioners.
"""

import random
from collections.abc import Sequence
from typing import Literal, TypeVar

from pydantic import Field, field_validator

from orchestrator.captioners.prompts import expand_prompts
from orchestrator.captioners.quality_thresholds import CaptionThresholds
from orchestrator.captioners.texts.source import Group, TextMaterial, TextSource

Text = TypeVar("Text")


class CaptionText(TextSource):
    """The answer to a prompt; of several prompts (a list, or a set such as G+T12) joined with a blank, encoded once.

    An image that lacks some of the answers gets those that it has. `permute` makes the control arms: every image gets
    the captions of another. Source: VLM-KD, "Concat" (methods 2.4); sources of one prompt each are its "Shared".
    `thresholds` drop texts before they are permuted, so that a control arm loses the same ones.
    """

    kind: Literal["caption"] = "caption"
    prompt: str | tuple[str, ...] = Field(
        description="name of a prompt, of a set of prompts, or a list of names whose answers are joined"
    )
    permute: Literal["none", "within_class", "all"] = "none"
    permute_seed: int = Field(default=0, description="of the draw of the permutation")
    thresholds: CaptionThresholds | None = None

    @property
    def names_classes(self) -> bool:
        """See `TextSource`."""
        return self.thresholds is not None and self.thresholds.must_name_class

    @field_validator("prompt")
    @classmethod
    def _at_least_one(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("names no prompt")
        return value

    def prompts(self) -> tuple[str, ...]:
        """The names of the prompts whose answers are joined, in order."""
        return expand_prompts((self.prompt,) if isinstance(self.prompt, str) else self.prompt)

    def texts_of_images(self, material: TextMaterial) -> Sequence[Group | None]:
        """See `TextSource`."""
        columns = (material.captions[name].to_pylist() for name in ("image_id", "prompt", "caption"))
        answers = {(image, prompt): text for image, prompt, text in zip(*columns, strict=True) if text}
        groups: list[Group | None] = []
        for image in material.train["image_id"].to_pylist():
            found = [answers[image, prompt] for prompt in self.prompts() if (image, prompt) in answers]
            groups.append((" ".join(found),) if found else None)
        return permuted(groups, material.train["label"].to_pylist(), self.permute, self.permute_seed)


def permuted(texts: list[Text], labels: Sequence[int], permute: str, seed: int) -> list[Text]:
    """The control arms: every image gets the text of another, drawn over the whole set or within its class."""
    if permute == "none":
        return texts
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        groups.setdefault(label if permute == "within_class" else 0, []).append(row)
    generator = random.Random(seed)
    result = list(texts)
    for members in groups.values():
        shuffled = members.copy()
        generator.shuffle(shuffled)
        for target, origin in zip(members, shuffled, strict=True):
            result[target] = texts[origin]
    return result
