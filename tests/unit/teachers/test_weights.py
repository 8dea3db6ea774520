"""The identity of weights: bytes of a directory, or a hub id with its commit; a hub id that can move is refused."""

from pathlib import Path

import pytest

from orchestrator.captioners.transformers_vlm import TransformersCaptionerSettings
from orchestrator.errors import ConfigError
from orchestrator.teachers.open_clip_encoder import OpenClipSettings
from orchestrator.teachers.weights import require_pinned, resolve_model, weights_identity


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that looks like a model's."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text('{"width": 4}')
    (made / "model.safetensors").write_bytes(b"weights")
    return made


def fresh_identity(folder: Path) -> dict[str, object]:
    """The identity as the next process sees it: within one, a directory is read once."""
    weights_identity.cache_clear()
    return weights_identity(str(folder), None)


def test_a_hub_id_without_a_revision_is_refused_because_branches_move() -> None:
    with pytest.raises(ConfigError) as error:
        weights_identity("organisation/model-7b", None)
    assert "organisation/model-7b" in str(error.value)
    assert "revision" in str(error.value)
    for settings in (TransformersCaptionerSettings(model="organisation/model-7b"), OpenClipSettings(model="ViT-B-16")):
        with pytest.raises(ConfigError, match="revision"):
            settings.identity()


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/3", "0123abc", "g" * 40, "A" * 40, "0" * 39, "0" * 41])
def test_a_revision_that_can_move_is_refused_and_the_error_says_what_is_wanted(revision: str) -> None:
    with pytest.raises(ConfigError) as error:
        weights_identity("organisation/model-7b", revision)
    assert repr(revision) in error.value.wrong
    assert "40 hexadecimal digits" in error.value.expected
    with pytest.raises(ConfigError, match="40 hexadecimal digits"):
        TransformersCaptionerSettings(model="organisation/model-7b", revision=revision).build()


def test_a_hub_id_is_pinned_by_its_commit() -> None:
    one, two = (weights_identity("organisation/model-7b", digit * 40) for digit in "0f")
    assert one == {"hub_id": "organisation/model-7b", "revision": "0" * 40}
    assert one != two


def test_a_directory_needs_no_revision(folder: Path) -> None:
    require_pinned(str(folder), None)
    assert set(fresh_identity(folder)) == {"digest"}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_changed_file_changes_the_identity(folder: Path, name: str) -> None:
    before = fresh_identity(folder)
    assert fresh_identity(folder) == before
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert fresh_identity(folder) != before


def test_the_same_weights_in_another_place_have_the_same_identity(folder: Path) -> None:
    before = fresh_identity(folder)
    moved = folder.rename(folder.with_name("elsewhere"))
    assert fresh_identity(moved) == before


def test_a_directory_is_resolved_to_its_absolute_path_and_a_hub_id_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert resolve_model("model") == str(folder.resolve())
    assert resolve_model("organisation/model-7b") == "organisation/model-7b"


def test_an_embedded_teacher_that_is_not_shipped_is_named() -> None:
    with pytest.raises(ConfigError, match="embedded:nothing"):
        resolve_model("embedded:nothing")
