"""Names that stand in files cannot lead out of their root, whatever lies there."""

from pathlib import Path

import pytest

from orchestrator.datasets.list_file import ListFileSettings
from orchestrator.datasets.paths import folder_lookup, leaves_root
from orchestrator.errors import DataError
from tests.tiny_datasets import picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with an image, a secret beside it, and links of every kind."""
    folder = tmp_path / "root"
    picture(folder / "a" / "0.png", 1)
    picture(tmp_path / "secret.png", 2)
    (folder / "inner").symlink_to(folder / "a")
    (folder / "inner.png").symlink_to("a/0.png")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "outer").symlink_to(tmp_path)
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (tmp_path / "root2").mkdir()
    picture(tmp_path / "root2" / "b.png", 3)
    (folder / "sibling").symlink_to(tmp_path / "root2")
    return folder


def test_files_and_links_inside_the_root_are_found(root: Path) -> None:
    find = folder_lookup(root)
    size = (root / "a" / "0.png").stat().st_size
    for name in ("a/0.png", "./a//0.png", "inner/0.png", "inner.png"):
        address = find(name)
        assert address is not None
        assert address[1:] == (0, size)
        assert Path(address[0]).read_bytes() == (root / "a" / "0.png").read_bytes()
    for name in ("a", "a/1.png", "gone.png", "", "a/0.png/x"):
        assert find(name) is None


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "/etc/passwd", "a\0b"])
def test_names_that_leave_the_root_are_refused(root: Path, name: str) -> None:
    assert leaves_root(name)
    with pytest.raises(DataError, match="leaves the root"):
        folder_lookup(root)(name)


@pytest.mark.parametrize("name", ["out.png", "outer/secret.png", "sibling/b.png"])
def test_links_that_leave_the_root_are_refused_but_where_they_are_asked_for(root: Path, name: str) -> None:
    with pytest.raises(DataError, match="leaves the root through a link"):
        folder_lookup(root)(name)
    assert folder_lookup(root, follow_links=True)(name) is not None
    with pytest.raises(DataError, match=r"\.\."):
        folder_lookup(root, follow_links=True)("../secret.png")


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(root)
    address = folder_lookup(tmp_path / "linked")("a/0.png")
    assert address is not None
    assert Path(address[0]) == root / "a" / "0.png"


def test_a_list_names_every_line_that_leaves_through_a_link(root: Path) -> None:
    (root / "train.txt").write_text("a/0.png 0\nout.png 0\nouter/secret.png 0\n")
    settings = ListFileSettings(root=str(root), lists={"train": "train.txt"})
    with pytest.raises(DataError) as caught:
        settings.index(root)
    assert "train.txt line 2: 'out.png' leaves the root through a link" in str(caught.value)
    assert "train.txt line 3: 'outer/secret.png' leaves the root through a link" in str(caught.value)
    assert "follow_links" in str(caught.value)
    assert settings.model_copy(update={"follow_links": True}).index(root).images.num_rows == 3
