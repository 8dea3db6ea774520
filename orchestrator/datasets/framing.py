"""The square of an image that everything works on: the student's pixels and the views that its teacher sees.

Holds one function. Reads and writes nothing.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Framing = Literal["crop", "stretch"]


def square(image: Image.Image, side: int, framing: Framing = "crop") -> npt.NDArray[np.uint8]:
    """An RGB image as [side, side, 3] uint8, bicubic.

    `crop`: its short side scaled to `side`, the centre cut out. `stretch`: both sides scaled, the aspect lost (the
    OOD paper's way, methods 1.11).
    """
    if image.size != (side, side):
        whole = framing == "stretch"
        image = image.resize((side, side), Image.Resampling.BICUBIC) if whole else _cut(image, side)
    return np.asarray(image, np.uint8)


def _cut(image: Image.Image, side: int) -> Image.Image:
    return ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
