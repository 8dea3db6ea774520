"""A server of the test's own, and captioners that ask it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

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
