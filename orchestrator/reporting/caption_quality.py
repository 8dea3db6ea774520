"""What a report says of captions, as plain frozen data: sums by prompt, worst classes, thresholds, and a gallery.

Holds data and its headings. Reads and writes nothing. Knows nothing of how captions are measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# What is known of one caption in the gallery, in the words of the page.
FLAG_WORDS: Mapping[str, str] = {
    "empty": "empty",
    "repeats": "repeats itself",
    "cut_off": "cut off",
    "duplicate": "said of another image",
    "duplicate_across_classes": "said of another class",
    "names_class": "names the class",
}
GOOD_FLAGS = frozenset({"names_class"})
BAD_FLAGS = frozenset({"empty", "repeats", "cut_off", "duplicate_across_classes"})
SHARE_HEADINGS: Mapping[str, str] = {
    "names_class": "Names the class",
    "duplicate": "Same as another image",
    "duplicate_across_classes": "Same in another class",
    "repeats": "Repeats itself",
    "empty": "Empty",
    "cut_off": "Cut off",
    "ends_sentence": "Full stop",
}


@dataclass(frozen=True)
class CaptionCard:
    """One image of the gallery (a data URI) with what the captioner said.

    `texts`: prompt -> caption. `flags`: prompt -> names of `FLAG_WORDS` that hold. `scores`: prompt -> CLIP score,
    where there is one. `chosen`: frequency group and why the image is shown.
    """

    image_data_uri: str
    class_name: str
    split: str
    texts: Mapping[str, str]
    oracle: str | None = None
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    chosen: str = ""

    def __post_init__(self) -> None:
        assert self.image_data_uri.startswith("data:image/"), "a report loads nothing from elsewhere"


@dataclass(frozen=True)
class PromptQuality:
    """Captions of one prompt in one frequency group ("All", "Many", ...).

    `images`: how many were to be captioned; `values`: the sums of `summarise`, shares 0..1, nan where not measured.
    """

    prompt: str
    group: str
    images: int
    captions: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class ClassQuality:
    """One of the classes with the worst captions of a prompt; `values` as in `PromptQuality`."""

    prompt: str
    name: str
    train_count: int
    captions: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Histogram:
    """Shares 0..1 in bins between `edges` [B + 1], [B] for each prompt."""

    edges: tuple[float, ...]
    shares: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class SourceThresholds:
    """What the thresholds of one text source dropped.

    `thresholds`: name -> value. `fails`: how many captions fail each (one may fail several). `groups`: frequency group
    -> (captions, dropped).
    """

    source: str
    prompt: str
    thresholds: Mapping[str, float | int | bool]
    captions: int
    dropped: int
    fails: Mapping[str, int]
    groups: Mapping[str, tuple[int, int]]

    def shares(self) -> dict[str, float]:
        """Group -> share dropped, 0..1; nan for a group without captions."""
        return {name: lost / had if had else math.nan for name, (had, lost) in self.groups.items()}

    def is_lopsided(self) -> bool:
        """Whether Few loses more than one and a half times the share that the whole set loses, and at least 1 %."""
        few = self.shares().get("few", math.nan)
        return self.captions > 0 and few >= 0.01 and few > 1.5 * self.dropped / self.captions


@dataclass(frozen=True)
class CaptionQuality:
    """Everything the report says of captions beside its gallery.

    `class_in_prompt`: prompts that give the class name away, for which naming it is no merit. `notes`: what was not
    measured, and why.
    """

    prompts: tuple[PromptQuality, ...]
    worst: tuple[ClassQuality, ...] = ()
    words: Histogram | None = None
    clip_scores: Histogram | None = None
    thresholds: tuple[SourceThresholds, ...] = ()
    class_in_prompt: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def worst_by_prompt(self) -> dict[str, list[ClassQuality]]:
        """Prompt -> its worst classes, worst first."""
        found: dict[str, list[ClassQuality]] = {}
        for one in self.worst:
            found.setdefault(one.prompt, []).append(one)
        return found
