"""The square of an image that everything works on: the student's pixels and the views that its teacher sees.

Holds one function. Reads and writes nothing.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps


def square(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    """An RGB image as [side, side, 3] uint8: its short side scaled to `side` (bicubic), the centre cut out."""
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)
