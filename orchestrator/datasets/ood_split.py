"""The OOD protocol: some classes are seen in training, the others only in the report. Source: methods 1.11 and 1.12.

Holds the settings of `dataset.ood_split`. Reads the authors' split lists where they are given. Knows nothing of images.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.datasets.draws import ceil_of, ranked
from orchestrator.errors import DataError
from orchestrator.frozen import Frozen
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_SELECT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ClassEntry, ImageEntry

ListName = Literal["train", "val_on_train", "val"]
SPLIT_OF_LIST: dict[ListName, str] = {"train": SPLIT_TRAIN, "val_on_train": SPLIT_SELECT, "val": SPLIT_REPORT}


class OodSplitSettings(Frozen):
    """Classes are split at random into seen and unseen ones (half and half, the odd one is seen) by the stored seed.

    Of each seen class ceil(train_fraction * n) images go to `train`, the rest to `select` (the authors'
    "val_on_train"); all images of the unseen classes go to `report` (their "val"). The images of all splits named in
    `images_of` are pooled before; other splits are left out. Labels are new: the seen classes in alphabetical order of
    their names, then the unseen ones likewise.

    `lists` takes the authors' lists instead of the draw, lines of `{split}/{class folder}/{file}`; images and classes
    that no list names are left out. `num_seen` is for other parts than a half (SUN397 has 200 of 397).
    `shots`: the first so many files of each unseen class, sorted, become training images and leave the report.

    `select_classes` of the seen classes, drawn by the seed, become validation classes: all their images go to `select`
    and none to `train`, and their labels come after the seen ones and before the report's unseen ones. Then
    `select/unseen_all` and `select/unseen_mean_per_class` say what a student makes of classes that it has not seen, and
    may choose; the report's unseen classes still choose nothing. The other images lie where they would without.
    """

    seed: int = Field(default=0, ge=0)
    train_fraction: float = Field(
        default=0.7, gt=0, le=1, description="of each seen class's images that go to train; the rest go to select"
    )
    num_seen: int | None = Field(default=None, ge=1)
    images_of: tuple[Literal["train", "select", "report"], ...] = (SPLIT_TRAIN, SPLIT_SELECT, SPLIT_REPORT)
    lists: dict[ListName, str] | None = None
    shots: int = Field(default=0, ge=0)
    # left out of what is written where it is 0, so that experiments without it are told as they were before
    select_classes: int = Field(
        default=0, ge=0, exclude_if=lambda count: count == 0,
        description="of the seen classes are taken out of training, to choose by accuracy on unseen classes",
    )  # fmt: skip

    @field_validator("lists")
    @classmethod
    def _all_three(cls, lists: dict[ListName, str] | None) -> dict[ListName, str] | None:
        if lists is not None and set(lists) != set(SPLIT_OF_LIST):
            raise ValueError(f"lists must name the files of {', '.join(SPLIT_OF_LIST)}")
        return lists

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = []
        if self.lists is not None and self.num_seen is not None:
            problems.append("give either lists or num_seen: the lists say which classes are seen")
        if not self.images_of:
            problems.append("images_of must name at least one split")
        if self.select_classes == 1:
            problems.append("select_classes must be 0, or 2 and more: images of one class cannot be told apart")
        if self.num_seen is not None and self.select_classes >= self.num_seen:
            problems.append(f"select_classes must be below num_seen, {self.num_seen}: one class stays in training")
        if self.shots and self.select_classes:
            problems.append(
                "give either shots or select_classes: with shots a student has seen the report's unseen classes, and "
                "validation classes, of which it sees nothing, say little of them; choose first, then train with shots"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def files(self) -> list[Path]:
        """The files that the split depends on; relative paths start in the working directory."""
        return [Path(path).resolve() for path in (self.lists or {}).values()]

    def apply(
        self, entries: "list[ImageEntry]", classes: "list[ClassEntry]"
    ) -> "tuple[list[ImageEntry], list[ClassEntry], int, list[str]]":
        """New entries, new classes (seen ones first), the number of seen classes, and what the user should know.

        Raises:
            DataError: lists that do not fit the data set (all problems at once), too few classes or images.
        """
        entries = [row for row in entries if row[1] in self.images_of]
        told: list[str] = []
        if self.lists is not None:
            from orchestrator.datasets.ood_lists import read_split_lists

            splits, told = read_split_lists(self.lists, entries)
            entries = [row for row in entries if row[0] in splits]
            seen = {row[2] for row in entries if splits[row[0]] != SPLIT_REPORT}
            classes = [each for each in classes if each[0] in {row[2] for row in entries}]
        else:
            seen = self._drawn(classes)
            splits = self._splits(entries, seen)
        order = sorted(classes, key=lambda each: (each[0] not in seen, each[1], each[0]))
        labels = {label: new for new, (label, _, _) in enumerate(order)}
        supports = self._supports(entries, seen, {label: name for label, name, _ in classes})
        moved: list[ImageEntry] = []
        for image_id, _, label, path, offset, size, caption in entries:
            split = SPLIT_TRAIN if image_id in supports else splits[image_id]
            moved.append((image_id, split, labels[label], path, offset, size, caption))
        return moved, [(labels[label], name, text) for label, name, text in order], len(seen), told

    def set_apart(
        self, entries: "list[ImageEntry]", classes: "list[ClassEntry]", num_seen: int
    ) -> "tuple[list[ImageEntry], list[ClassEntry], ClassGroups]":
        """What `apply` gave, with the validation classes taken out of training.

        Raises:
            DataError: no class would stay in training.
        """
        if self.select_classes >= num_seen:
            raise DataError(
                f"ood_split: {self.select_classes} of {num_seen} seen classes for validation",
                expected="at least one class that stays in training",
                remedy="lower ood_split.select_classes, or give the data set more classes",
            )
        names = {f"{name} {label}": label for label, name, _ in classes if label < num_seen}
        drawn = {names[name] for name in ranked(names, f"ood_split select {self.seed}")[: self.select_classes]}
        order = sorted(range(len(classes)), key=lambda label: (label >= num_seen, label in drawn, label))
        labels = {label: new for new, label in enumerate(order)}
        moved = [(row[0], SPLIT_SELECT if row[2] in drawn else row[1], labels[row[2]], *row[3:]) for row in entries]
        renamed = [(new, *classes[label][1:]) for new, label in enumerate(order)]
        return moved, renamed, ClassGroups(num_seen - len(drawn), len(drawn), len(classes))

    def _drawn(self, classes: "list[ClassEntry]") -> set[int]:
        num_seen = self.num_seen if self.num_seen is not None else (len(classes) + 1) // 2
        if not 1 <= num_seen < len(classes):
            raise DataError(
                f"ood_split: {num_seen} seen of {len(classes)} classes",
                expected="at least one seen and one unseen class",
                remedy="set ood_split.num_seen, or give the data set more classes",
            )
        names = {f"{name} {label}": label for label, name, _ in classes}
        return {names[name] for name in ranked(names, f"ood_split {self.seed}")[:num_seen]}

    def _splits(self, entries: "list[ImageEntry]", seen: set[int]) -> dict[str, str]:
        splits = {row[0]: SPLIT_REPORT for row in entries if row[2] not in seen}
        for label, image_ids in _by_label(entries).items():
            if label in seen:
                num_train = ceil_of(len(image_ids), self.train_fraction)
                for position, image_id in enumerate(ranked(image_ids, f"ood_split {self.seed}")):
                    splits[image_id] = SPLIT_TRAIN if position < num_train else SPLIT_SELECT
        return splits

    def _supports(self, entries: "list[ImageEntry]", seen: set[int], names: dict[int, str]) -> set[str]:
        if not self.shots:
            return set()
        supports: set[str] = set()
        short: list[str] = []
        for label, image_ids in _by_label(entries).items():
            if label not in seen:
                supports.update(sorted(image_ids)[: self.shots])
                short += [f"{names[label]} ({len(image_ids)})"] * (len(image_ids) <= self.shots)
        if short:
            raise DataError(
                f"ood_split: nothing is left to report of {len(short)} unseen classes: {', '.join(short[:10])}",
                expected=f"more than {self.shots} images of each unseen class",
                remedy="lower ood_split.shots",
            )
        return supports


def _by_label(entries: "list[ImageEntry]") -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for image_id, _, label, *_ in entries:
        found.setdefault(label, []).append(image_id)
    return found
