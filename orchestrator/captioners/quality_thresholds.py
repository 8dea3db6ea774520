"""Which captions are good enough to be learnt from.

Holds settings. Knows nothing of how the measures are taken (`orchestrator.evaluation.caption_quality`).
"""

from typing import Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen


class CaptionThresholds(Frozen):
    """A caption that fails any of these is dropped from its text source: its image then has no text there.

    `max_repeated_fraction` bounds the share of 3-grams that occurred before in the caption, 0 to 1. `min_clip_score` is
    in units of CLIPScore, 2.5 * max(cosine, 0), of the caption and its own image; it needs an image teacher of the same
    space as the text encoder.
    """

    min_words: int | None = Field(default=None, ge=1, description="fewer are dropped; null: no limit")
    max_words: int | None = Field(default=None, ge=1, description="more are dropped; null: no limit")
    max_repeated_fraction: float | None = Field(default=None, ge=0, lt=1)
    must_name_class: bool = Field(default=False, description="drop captions that do not hold the class name")
    min_clip_score: float | None = Field(default=None, gt=0, le=2.5)
    drop_duplicates_across_classes: bool = Field(
        default=False, description="drop captions that are said of images of several classes"
    )

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is more than max_words {self.max_words}")
        return self

    def in_use(self) -> dict[str, float | int | bool]:
        """Name -> value of the thresholds that can drop a caption, in the order in which reasons are told."""
        return {name: value for name, value in self.model_dump().items() if value is not None and value is not False}
