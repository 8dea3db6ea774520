"""The artifacts that training reads, made once for the tests of this folder."""

import pytest

from tests.smoke_line import SmokeLine, make_smoke_line


@pytest.fixture(scope="session")
def smoke_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """Shards and embeddings of the smoke experiment."""
    return make_smoke_line(tmp_path_factory.mktemp("smoke_line"))


@pytest.fixture(scope="session")
def viewing_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """The same, where the image teacher saw two views of each training image."""
    return make_smoke_line(tmp_path_factory.mktemp("viewing_line"), 2)
