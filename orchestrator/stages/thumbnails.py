"""Small pictures for a report: an indexed image as a data URI.

Reads images. Knows nothing of what they are shown for.
"""

import base64
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.errors import DataError


def thumbnail(row: Mapping[str, Any], side_px: int) -> str:
    """A WebP of at most `side_px` each way; a grey one for an image that has gone since it was indexed.

    Args:
        row: of the index's images: path, offset and size.
    """
    try:
        image = decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"]))
    except (DataError, OSError):
        image = Image.new("RGB", (64, 64), "grey")
    image.thumbnail((side_px, side_px), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
