"""A server of the test's own and captioners that ask it; directories of tiny models; pictures of several shapes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.captioners.endpoint.client import OpenAIEndpointCaptioner
from orchestrator.captioners.openai_endpoint import OpenAIEndpointSettings
from tests.endpoint_server import EndpointServer


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    """A server of the test's own."""
    with EndpointServer() as started:
        yield started


@pytest.fixture
def ask(server: EndpointServer) -> Callable[..., OpenAIEndpointCaptioner]:
    """Makes a captioner for the server, with short waits."""

    def make(**changes: Any) -> OpenAIEndpointCaptioner:
        settings = {"base_url": server.base_url, "model": "org/vlm", "declared_version": "1", "backoff_s": 0.01}
        return OpenAIEndpointSettings(**(settings | changes)).build()

    return make


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a tiny model by its name, made when a test first asks for it."""
    from tests.tiny_models import BUILDERS

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = BUILDERS[name](tmp_path_factory.mktemp("models") / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Four images of noise in three shapes."""
    generator = np.random.default_rng(0)
    shapes = [(16, 16), (32, 16), (16, 40), (16, 16)]
    return [Image.fromarray(generator.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]
