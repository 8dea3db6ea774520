"""How a batch is made of images: their views, labels, what the teacher says of them, and mixing.

A batch is a function of its rows, its place and the settings alone, so it is the same in whatever process it is made
and in whatever order. Reads memory-mapped pixels and teacher rows. Knows nothing of models, devices or processes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator import vocabulary
from orchestrator.students.networks.student import IMAGE
from orchestrator.training.data import SplitData, TeacherData
from orchestrator.training.mixing import mix
from orchestrator.training.model import MORE_VIEWS
from orchestrator.training.order import Indices, Place
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.view_settings import AugmentedViews, ViewSettings
from orchestrator.training.views import draw_views, view_id


@dataclass(frozen=True)
class BatchMaker:
    """Called with rows and a place, it makes that batch, on the CPU.

    Attributes:
        images: the training split.
        teacher: the teacher's rows for it, or None when no loss reads any.
        settings: views, mixing, seeds.
        num_classes: of mixed targets.
        image_size: side of the student's views, pixels; None: that of the stored images.
    """

    images: SplitData
    teacher: TeacherData | None
    settings: TrainingSettings
    num_classes: int
    image_size: int | None = None

    def __call__(self, rows: Indices, place: Place) -> dict[str, Tensor]:
        """The batch of these images: the views that `place` shows, labels, and the teacher's rows for view 1."""
        settings, num_kept = self.settings, self.teacher.num_views if self.teacher is not None else 0
        view = view_id(place.pass_index, num_views=num_kept)
        in_order, back = np.unique(rows, return_inverse=True)  # memory-mapped reads in file order, then the drawn order
        pixels = self.images.pixels[in_order][back]
        keys = self.images.keys[rows]

        def draw(recipe: ViewSettings, number: int) -> Tensor:
            shared = isinstance(recipe, AugmentedViews) and recipe.shared_draw
            drawn = np.full_like(keys, place.index) if shared else keys
            return draw_views(pixels, drawn, recipe, settings.data_seed, number, self.image_size)

        batch = {IMAGE: draw(settings.views, view), vocabulary.LABEL: torch.from_numpy(self.images.labels[rows])}
        if settings.more_views:
            slots = enumerate(settings.more_views, start=1)
            views = [draw(recipe, view_id(place.pass_index, slot=slot)) for slot, recipe in slots]
            batch[MORE_VIEWS] = torch.stack(views, dim=1)
        batch[vocabulary.IMAGE_ROW] = torch.from_numpy(np.ascontiguousarray(rows))
        if self.teacher is not None:
            batch |= self.teacher.inputs(rows, view, data_seed=settings.data_seed, pass_index=place.pass_index)
        if settings.mixing is not None:
            batch = mix(
                batch, settings.mixing, self.num_classes, data_seed=settings.data_seed, pass_index=place.pass_index,
                batch_index=place.index, first_pair=place.share * ((len(rows) + 1) // 2),
            )  # fmt: skip
        return batch
