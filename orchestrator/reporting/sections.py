"""What a report says besides accuracies and captions, as plain frozen data: spaces, mistakes, costs, economics.

Holds data. Reads and writes nothing. Knows nothing of how any of it is measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SpaceKind = Literal["teacher", "student", "text"]


@dataclass(frozen=True)
class Space:
    """One embedding space on a plane (t-SNE).

    Attributes:
        name: the student's arm, or the text source; of the teacher "image teacher".
        points: (x, y) of each image (or text), without a unit; classes: its class, a position in `Spaces.class_names`.
        silhouette: of the classes in the space itself, by cosine, -1 to 1; larger: classes lie further apart.
    """

    name: str
    kind: SpaceKind
    split: str
    points: tuple[tuple[float, float], ...]
    classes: tuple[int, ...]
    silhouette: float


@dataclass(frozen=True)
class Spectrum:
    """How many directions a set of texts uses.

    Attributes:
        eigenvalues: of the centred covariance of the unit texts, descending; at most 256 of them.
        effective_rank: exp of the entropy of the eigenvalues' shares, 1 to min(texts, dimensions).
        mean_nearest_cosine: of a text to the nearest other one.
    """

    name: str
    num_texts: int
    num_dims: int
    eigenvalues: tuple[float, ...]
    effective_rank: float
    participation_ratio: float
    num_large: int
    mean_nearest_cosine: float


@dataclass(frozen=True)
class Spaces:
    """Planes of a few classes, and spectra of texts, drawn once with a fixed seed."""

    class_names: tuple[str, ...] = ()
    planes: tuple[Space, ...] = ()
    spectra: tuple[Spectrum, ...] = ()
    seed: int = 0
    perplexity: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A thumbnail (a data URI) of an image of the report split, and what the student said of it."""

    image_data_uri: str
    predicted: str
    confidence: float  # probability of what it said, 0 to 1
    is_right: bool

    def __post_init__(self) -> None:
        assert self.image_data_uri.startswith("data:image/"), "a report loads nothing from elsewhere"


@dataclass(frozen=True)
class WorstClass:
    """A class that a student confuses.

    Attributes:
        correct, total: images of the report split.
        taken_for: (class name, images), most often first.
        pictures: mistakes, the most confident first, and one that is right where there is one.
    """

    name: str
    train_count: int
    correct: int
    total: int
    taken_for: tuple[tuple[str, int], ...]
    pictures: tuple[Picture, ...] = ()

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100 * self.correct / self.total if self.total else math.nan


@dataclass(frozen=True)
class Mistakes:
    """The classes that the student of an arm does worst on."""

    arm: str
    classes: tuple[WorstClass, ...]
    left_out: int = 0  # pictures that did not fit into the page


@dataclass(frozen=True)
class PaidRows:
    """What rows of one kind (captions, texts, images) cost and what the store saved.

    Attributes:
        asked: by this experiment; made: by this run; reused: there before, or equal to another one; refused: without a
            result.
        seconds_a_row: of the model, mean over all that the store has paid for; nan where nothing was.
        usd_a_row: at the prices of the execution and what an endpoint charged; nan where no price is told.
        without_store: rows that the model would have had to make without a store, once for each training that reads
            them; 0: not told.
    """

    unit: str
    asked: int
    made: int
    reused: int
    refused: int
    seconds_a_row: float = math.nan
    usd_a_row: float = math.nan
    without_store: int = 0

    @property
    def saved(self) -> int:
        """Rows that the model did not have to make."""
        return max(self.reused, self.without_store - self.made)

    @property
    def seconds_saved(self) -> float:
        """At the mean of what was paid."""
        return self.saved * self.seconds_a_row

    @property
    def usd_saved(self) -> float:
        """At the mean of what was paid."""
        return self.saved * self.usd_a_row


@dataclass(frozen=True)
class Export:
    """What is known of an arm's export.

    Attributes:
        folder: where it lies.
        parity: name of a comparison -> what it found, in words.
        forms: form (torch, onnxruntime, ...) -> size_mb, ms_bB and so on.
        macs: multiply-accumulates of one image.
    """

    arm: str
    folder: str
    parity: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    machine: str = ""
    num_parameters: int = 0
    macs: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what any form was measured by."""
        return tuple(dict.fromkeys(name for values in self.forms.values() for name in values))


@dataclass(frozen=True)
class Licence:
    """A model that students learnt from, and the licence of its weights."""

    part: str
    model: str
    licence: str
