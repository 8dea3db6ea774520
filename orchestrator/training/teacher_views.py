"""What an image teacher sees of a view, and a live teacher that is shown it.

The cached teacher (an actor of the embed stage) and the live one render a view with the same functions, so that their
outputs agree; how the view is cut out of the teacher's own, larger picture is told in docs/views.md. Reads image bytes.
Knows nothing of stores or losses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from orchestrator.datasets.framing import Framing, square
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.training.view_settings import TeacherViews
from orchestrator.training.views import ViewParameters, draw_parameters, parameters_of_names, render_pixels

MAX_SIDE = 768  # pixels: more than any teacher here takes (518), and a bound for what a photograph costs to render
Vectors = npt.NDArray[np.float32]


def teacher_frame(image: Image.Image, framing: Framing = "crop") -> npt.NDArray[np.uint8]:
    """The square that the student's pixels were made of, at the image's own resolution: [R, R, 3] uint8, R <= 768."""
    return square(image, min(*image.size, MAX_SIDE), framing)


def render_for_teacher(frame: npt.NDArray[np.uint8], parameters: ViewParameters) -> Image.Image:
    """One view of a frame as a picture, which the teacher then resizes and normalises in its own way."""
    return Image.fromarray(render_pixels(frame[None], parameters)[0])


def parameters_of(recipe: TeacherViews, keys: npt.NDArray[np.uint64], view: int) -> ViewParameters:
    """The parameters of one view of each image, as training draws them."""
    return draw_parameters(keys, recipe.views, recipe.image_size, recipe.data_seed, view)


@dataclass(frozen=True)
class LiveTeacher:
    """An image encoder that looks at the very views a training draws, instead of rows that were kept.

    Attributes:
        encode: images -> output name -> rows (an `ImageEncoder`).
        addresses: (path, offset, size) of each training image.
        keys: [N] keys of the training images.
        recipe: which views are drawn.
    """

    encode: Callable[[Sequence[Image.Image]], Mapping[str, Vectors]]
    addresses: Sequence[tuple[str, int, int]]
    keys: npt.NDArray[np.uint64]
    recipe: TeacherViews

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "encode": None}  # other processes make pictures; the training's own one encodes them

    def pictures(self, rows: npt.NDArray[np.int64], view: int) -> list[Image.Image]:
        """View `view` of these training images, as the teacher sees them."""
        names = parameters_of(self.recipe, self.keys[rows], view).names()
        framing = self.recipe.framing
        frames = (teacher_frame(decode_rgb(read_image_bytes(*self.addresses[row])), framing) for row in rows)
        return [
            render_for_teacher(frame, parameters_of_names([name])) for frame, name in zip(frames, names, strict=True)
        ]

    def __call__(self, rows: npt.NDArray[np.int64], view: int) -> Mapping[str, Vectors]:
        """The teacher's outputs of view `view` of these training images."""
        return self.encode(self.pictures(rows, view))
