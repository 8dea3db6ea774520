"""What every kind of data set is: settings that list images and classes, and the options that all kinds share.

Holds the listing (what a data set names, before any image is read), the base class of the settings, and the one way
from a listing to an index: published counts, OOD split, long tail, then reading. Knows nothing of formats.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.datasets.draws import floor_of, ranked
from orchestrator.datasets.long_tail import LongTailSettings
from orchestrator.datasets.ood_split import OodSplitSettings
from orchestrator.datasets.published import PublishedName, mismatches
from orchestrator.errors import DataError
from orchestrator.frozen import Frozen
from orchestrator.vocabulary import SPLIT_SELECT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ClassEntry, DatasetIndex, ImageEntry


@dataclass(frozen=True)
class Listing:
    """What a data set names: its images and classes, and what the user should know of how they came about."""

    entries: "list[ImageEntry]"
    classes: "list[ClassEntry]"
    notes: tuple[str, ...] = ()


class DatasetSource(Frozen, ABC):
    """Options of every data set. Splits first, then the tail; no image that they leave out is ever read.

    `ood_split` divides the classes into seen and unseen ones. `long_tail` thins the training images of the seen
    classes. `published` names the data set that this should be: its counts are compared with the published ones, and
    what differs is told, or with `strict_counts` is an error.
    """

    long_tail: LongTailSettings | None = None
    ood_split: OodSplitSettings | None = None
    published: PublishedName | None = None
    strict_counts: bool = False

    @property
    def has_class_names(self) -> bool:
        """Whether the names of the classes say what they are."""
        return True

    @abstractmethod
    def listing(self, workdir: Path) -> Listing:
        """All images and classes, none of them read; `workdir` is for what must be written to be addressable.

        Raises:
            DataError: all problems of the data set's files at once.
        """

    @abstractmethod
    def listing_stamp(self) -> str:
        """A cheap digest of what `listing` depends on besides the settings: names, sizes and times of files."""

    def stamp(self) -> str:
        """What the index depends on besides the settings; another stamp makes it anew."""
        from orchestrator.datasets.stamp import stamp_files

        lists = self.ood_split.files() if self.ood_split is not None else []
        return f"{self.listing_stamp()} {stamp_files(lists)}" if lists else self.listing_stamp()

    def index(self, workdir: Path) -> "DatasetIndex":
        """List, split, thin, then hash and decode the images that are left.

        Raises:
            DataError: all problems of the data set's files at once; with `strict_counts` counts that differ from the
                published ones.
        """
        from orchestrator.datasets.index import build_index

        listing = self.listing(workdir)
        entries, classes, notes = listing.entries, listing.classes, list(listing.notes)
        groups = ClassGroups(len(classes), 0, len(classes))
        wrong = mismatches(self.published, entries, len(classes)) if self.published is not None else []
        if self.ood_split is not None:
            entries, classes, num_seen, told = self.ood_split.apply(entries, classes)
            notes += told
            if self.published is not None:
                by_lists = self.ood_split.lists is not None
                wrong += mismatches(self.published, entries, len(classes), num_seen=num_seen, by_lists=by_lists)
            entries, classes, groups = self.ood_split.set_apart(entries, classes, num_seen)
        if wrong and self.strict_counts:
            raise DataError(f"this is not {self.published} as published: {'; '.join(wrong)}",
                            remedy="complete the data set, or set dataset.strict_counts=false")  # fmt: skip
        notes += [f"this is not {self.published} as published: {what}" for what in wrong]
        if self.long_tail is not None:
            entries, told = self.long_tail.apply(entries, classes[: groups.num_seen])
            notes += told
        return build_index(entries, classes, groups=groups, notes=notes)


class SelectFromTrain(DatasetSource):
    """Options of data sets that are published without a split to choose settings on: a part of train is set aside.

    Of each class floor(n * select_fraction) training images become `select`, drawn by the seed and the image's id. The
    published evaluation split stays `report`. Classes with fewer than 1 / select_fraction images give none: they are
    too rare to lose one, and choices are then made without them, which the index tells.
    """

    select_fraction: float = Field(default=0.0, ge=0, lt=1)
    select_seed: int = Field(default=0, ge=0, description="of the draw of the images that are set aside")

    def with_select(self, listing: Listing) -> Listing:
        """The listing with its `select` split drawn from `train`."""
        if not self.select_fraction:
            return listing
        of_class: dict[int, list[str]] = {}
        for image_id, split, label, *_ in listing.entries:
            if split == SPLIT_TRAIN:
                of_class.setdefault(label, []).append(image_id)
        drawn: set[str] = set()
        for image_ids in of_class.values():
            drawn.update(
                ranked(image_ids, f"select {self.select_seed}")[: floor_of(len(image_ids), self.select_fraction)]
            )
        untouched = sum(not floor_of(len(image_ids), self.select_fraction) for image_ids in of_class.values())
        told = []
        if untouched:
            told.append(
                f"select_fraction={self.select_fraction:g}: {untouched:,} of {len(of_class):,} classes have too few "
                "training images to give one to select; settings are chosen without them"
            )
        entries = [(row[0], SPLIT_SELECT, *row[2:]) if row[0] in drawn else row for row in listing.entries]
        return Listing(entries, listing.classes, (*listing.notes, *told))


class FilesOfSplits(SelectFromTrain):
    """Options of data sets whose files are named split by split.

    Attributes:
        NAMED_BY: the setting that names them: a mapping from splits.
    """

    NAMED_BY: ClassVar[str]

    @model_validator(mode="after")
    def _splits_hold(self) -> Self:
        named, problems = getattr(self, self.NAMED_BY), []
        if SPLIT_TRAIN not in named:
            problems.append(f"{self.NAMED_BY} must name the files of the train split")
        if self.select_fraction and SPLIT_SELECT in named:
            problems.append(f"give either {self.NAMED_BY} of the select split or select_fraction, not both")
        if problems:
            raise ValueError("; ".join(problems))
        return self
