"""What a captioning back end is: it answers the prompts of image visits, and counts what it used.

Holds the protocol and its plain-data arguments. Knows nothing of models, of the store or of Ray.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image


@dataclass(frozen=True)
class Visit:
    """One image with all the prompts that are to be asked about it.

    Attributes:
        image: upright 8-bit RGB (see `decode_rgb`); None asks without an image (texts written about a class).
        prompts: texts with the class injected; at least one, in the order of the answers.
    """

    image: Image.Image | None
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """A prompt that got no usable answer.

    Attributes:
        error_class: name of the exception or of the condition.
        transient: another attempt may succeed (time-outs, overload): the next run asks again. Otherwise it does not.
    """

    error_class: str
    message: str
    transient: bool = False


Answer = str | Refusal


@dataclass
class Usage:
    """What a teacher has used since it was built; `counts` only ever grow.

    Names in use: `forwards` (calls of the model's generate, or requests that were answered), `images_encoded` (images
    through the vision tower), `prompt_tokens` (of whole prompts, image tokens included), `prefill_tokens` (those that
    went through the decoder: fewer where prompts share a prefix), `completion_tokens`, `retries`, `cost_usd`.
    """

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, **amounts: float) -> None:
        """Count more."""
        for name, amount in amounts.items():
            self.counts[name] += amount  # type: ignore[assignment]  # a Counter may count in fractions


class Captioner(Protocol):
    """A built back end; one lives in each actor. Not thread-safe."""

    usage: Usage

    def caption(self, visits: Sequence[Visit]) -> list[list[Answer]]:
        """Answers of each visit, one for each of its prompts, in order.

        An exception means that no answer of this call is to be had; the caller may try again with fewer visits. What
        concerns a single prompt is returned as a `Refusal` instead.
        """
