"""Images as an endpoint takes them: data URLs inside the content of a message. Knows nothing of HTTP."""

import asyncio
import base64
import io
from typing import Any

from PIL import Image

from orchestrator.captioners.openai_endpoint import OpenAIEndpointSettings


class Picture:
    """An image as the content of a message; encoded once, when the first of its prompts has its turn."""

    def __init__(self, image: Image.Image | None, settings: OpenAIEndpointSettings) -> None:
        self.image = image
        self._settings = settings
        self._lock = asyncio.Lock()
        self._part: dict[str, Any] | None = None

    async def content(self, prompt: str) -> str | list[dict[str, Any]]:
        """The image before the text, as in `transformers`' chat templates; plain text without an image."""
        if self.image is None:
            return prompt
        async with self._lock:
            if self._part is None:
                url = {"url": await asyncio.to_thread(data_url, self.image, self._settings)}
                detail = self._settings.image_detail
                self._part = {"type": "image_url", "image_url": url | ({"detail": detail} if detail else {})}
        return [self._part, {"type": "text", "text": prompt}]


def data_url(image: Image.Image, settings: OpenAIEndpointSettings) -> str:
    """The image as `data:image/...;base64,...`; PNG keeps every pixel, unless `max_side` makes the image smaller."""
    if settings.max_side is not None and max(image.size) > settings.max_side:
        image = image.copy()
        image.thumbnail((settings.max_side, settings.max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(
        buffer, settings.image_format, **({"quality": settings.jpeg_quality} if settings.image_format == "jpeg" else {})
    )
    return f"data:image/{settings.image_format};base64,{base64.b64encode(buffer.getvalue()).decode()}"
