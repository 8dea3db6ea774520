"""How a batch is made of images: their views, labels, what the teacher says of them, and mixing.

A batch is a function of its rows, its place and the settings alone, so it is the same in whatever process it is made
and in whatever order. Reads memory-mapped pixels and teacher rows. Knows nothing of models, devices or processes.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from orchestrator import vocabulary
from orchestrator.students.networks.student import IMAGE
from orchestrator.training.data import SplitData, TeacherData
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.mixing import mix, mix_pictures
from orchestrator.training.model import MORE_VIEWS
from orchestrator.training.order import Indices, Place
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.view_settings import AugmentedViews, MixingSettings, ViewSettings
from orchestrator.training.views import draw_views, view_id

Made = tuple[Place, Indices, dict[str, Tensor]]  # a batch on the CPU, its rows, and where it stands
PICTURES = "pictures"  # in a batch that a live teacher has not yet looked at


@dataclass(frozen=True)
class BatchMaker:
    """Called with rows and a place, it makes that batch, on the CPU.

    Attributes:
        images: the training split.
        teacher: the teacher's rows for it, or None when no loss reads any.
        settings: views, mixing, seeds.
        num_classes: of mixed targets.
        image_size: side of the student's views, pixels; None: that of the stored images.
        draws_images: whether the student looks at images; else none is read, and a batch has no views.
    """

    images: SplitData
    teacher: TeacherData | None
    settings: TrainingSettings
    num_classes: int
    image_size: int | None = None
    draws_images: bool = True

    def __call__(self, rows: Indices, place: Place) -> dict[str, Any]:
        """The batch of these images: the views that `place` shows, labels, and the teacher's rows for view 1.

        Where a live teacher is to look at view 1, its pictures of it instead, as `PICTURES` (see `complete`).
        """
        return self.with_teacher(self.of_images(rows, place), rows, place)

    def view(self, place: Place) -> int:
        """The id of the view that view 1 of a batch shows."""
        return view_id(place.pass_index, num_views=self.teacher.num_views if self.teacher is not None else 0)

    def of_images(self, rows: Indices, place: Place) -> dict[str, Any]:
        """The part of the batch that no teacher has to do with, and that is not yet mixed."""
        batch: dict[str, Any] = self._views(rows, place) if self.draws_images else {}
        batch[vocabulary.LABEL] = torch.from_numpy(self.images.labels[rows])
        batch[vocabulary.IMAGE_ROW] = torch.from_numpy(np.ascontiguousarray(rows))
        return batch

    def _views(self, rows: Indices, place: Place) -> dict[str, Any]:
        settings, view = self.settings, self.view(place)
        in_order, back = np.unique(rows, return_inverse=True)  # memory-mapped reads in file order, then the drawn order
        pixels = self.images.pixels[in_order][back]
        keys = self.images.keys[rows]

        def draw(recipe: ViewSettings, number: int) -> Tensor:
            shared = isinstance(recipe, AugmentedViews) and recipe.shared_draw
            drawn = np.full_like(keys, place.index) if shared else keys
            return draw_views(pixels, drawn, recipe, settings.data_seed, number, self.image_size)

        batch: dict[str, Any] = {IMAGE: draw(settings.views, view)}
        if settings.more_views:
            slots = enumerate(settings.more_views, start=1)
            views = [draw(recipe, view_id(place.pass_index, slot=slot)) for slot, recipe in slots]
            batch[MORE_VIEWS] = torch.stack(views, dim=1)
        return batch

    def with_teacher(self, images: dict[str, Any], rows: Indices, place: Place) -> dict[str, Any]:
        """The batch of what `of_images` gave, which stays as it was."""
        settings, view, batch = self.settings, self.view(place), dict(images)
        if self.teacher is not None:
            batch |= self.teacher.inputs(rows, view, data_seed=settings.data_seed, pass_index=place.pass_index)
        if self.teacher is not None and self.teacher.looks_at(view):
            assert self.teacher.live is not None
            batch[PICTURES] = self.teacher.live.pictures(rows, view)
        return batch if settings.mixing is None else self._mixed(batch, settings.mixing, place)

    def _mixed(self, batch: dict[str, Any], mixing: MixingSettings, place: Place) -> dict[str, Any]:
        num_pairs = (len(batch[vocabulary.LABEL]) + 1) // 2
        drawn = {
            "data_seed": self.settings.data_seed, "pass_index": place.pass_index, "batch_index": place.index,
            "first_pair": place.share * num_pairs,
        }  # fmt: skip
        pictures = batch.pop(PICTURES, None)
        mixed: dict[str, Any] = mix(batch, mixing, self.num_classes, **drawn)
        return mixed if pictures is None else {**mixed, PICTURES: mix_pictures(pictures, mixing, **drawn)}

    def complete(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The batch with what a live teacher sees in its pictures; in the process that holds the teacher."""
        if PICTURES not in batch:
            return batch
        assert self.teacher is not None
        assert self.teacher.live is not None
        of_teacher = self.teacher.of_outputs(self.teacher.live.encode(batch[PICTURES]))
        return {**{name: value for name, value in batch.items() if name != PICTURES}, **of_teacher}


@dataclass(frozen=True)
class SharedMaker:
    """Makes the batches of several trainings at once: the same images, read and drawn once, and what is said of them.

    Attributes:
        makers: of the same images, views and order, with different teachers.
    """

    makers: tuple[BatchMaker, ...]

    def __call__(self, rows: Indices, place: Place) -> "SharedBatch":
        """See the class."""
        images = self.makers[0].of_images(rows, place)
        batches = (maker.with_teacher(images, rows, place) for maker in self.makers)
        parts = [{name: of for name, of in batch.items() if images.get(name) is not of} for batch in batches]
        return images, parts


SharedBatch = tuple[dict[str, Any], list[dict[str, Any]]]  # what all have, and what each maker's has besides


class MakeBatches(Protocol):
    """What makes the batches of a training ahead of its steps: `loaders.batches_of`, or an engine's own way."""

    def __call__(
        self, share: Iterable[tuple[Place, Indices]], make: BatchMaker, settings: InputSettings, *, pin: bool = False
    ) -> Generator[Made, None, None]:
        """The batches of these places and rows, in their order, on the CPU."""
