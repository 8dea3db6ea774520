"""A storage root elsewhere: sent whole, fetched whole, and the truth whatever a machine still has."""

import json
import uuid
from pathlib import Path

import pytest

from orchestrator.artifacts.folder import DamagedFileError, Folder
from orchestrator.artifacts.manifest import BEGUN_NAME, MANIFEST_NAME, discard, write_manifest
from orchestrator.artifacts.mirror import CONTENTS, Mirror
from orchestrator.errors import ArtifactError


@pytest.fixture
def remote() -> Folder:
    """A folder of fsspec's memory."""
    return Folder(f"memory://{uuid.uuid4().hex}")


def make(local: Path, files: dict[str, str], *, finished: bool = True) -> Path:
    """An artifact of an experiment `mine`."""
    folder = local / "mine" / "captions"
    for name, text in {BEGUN_NAME: "{}", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if finished:
        write_manifest(folder, stage="caption", settings={}, parents={}, counts={}, seconds=0)
    return folder


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_another_machine_has_what_was_sent_but_for_what_is_derived(remote: Folder, tmp_path: Path) -> None:
    here, there = Mirror(remote, tmp_path / "here"), Mirror(remote, tmp_path / "there")
    folder = make(here.local, {"a.txt": "a", "trials/0/b.txt": "b", "hot/rows.bin": "x", ".lock": "x"})
    (here.local / "mine" / "notes.txt").write_text("loose")
    here.send(folder)
    here.send(here.local / "mine")
    assert there.fetch("mine") > 0
    found = files_of(there.local / "mine")
    assert set(found) == {
        "notes.txt", *(f"captions/{name}" for name in (BEGUN_NAME, MANIFEST_NAME, "a.txt", "trials/0/b.txt"))
    }  # fmt: skip
    assert found["captions/trials/0/b.txt"] == "b"
    assert Mirror(remote, there.local).fetch("mine") == 0  # it is there


def test_only_what_has_changed_is_sent_and_what_was_deleted_goes(remote: Folder, tmp_path: Path) -> None:
    here = Mirror(remote, tmp_path)
    folder = make(here.local, {"a.txt": "a", "b.txt": "b"}, finished=False)
    assert here.send(folder) == 3
    assert here.send(folder) == 0
    (folder / "a.txt").write_text("other")
    (folder / "b.txt").unlink()
    assert here.send(folder) == 1
    assert remote.child("mine").child("captions").names() == ["a.txt", BEGUN_NAME, CONTENTS]


def test_a_sending_that_breaks_off_leaves_no_manifest_and_the_next_one_ends_it(tmp_path: Path) -> None:
    remote = Folder(str(tmp_path / "store"))
    here, there = Mirror(remote, tmp_path / "here"), Mirror(remote, tmp_path / "there")
    folder = make(here.local, {"a.txt": "old"})
    here.send(folder)
    make(here.local, {"a.txt": "new", "trials/b.txt": "b"})
    obstacle = tmp_path / "store/mine/captions/trials"
    obstacle.write_text("no folder can be made here")
    with pytest.raises(ArtifactError, match="cannot be written to"):
        here.send(folder)
    assert remote.child("mine").child("captions").read("a.txt") == b"new"
    there.fetch("mine")
    assert not (there.local / "mine/captions" / MANIFEST_NAME).exists()
    obstacle.unlink()
    Mirror(remote, here.local).fetch("mine")
    here.send(folder)
    again = Mirror(remote, there.local)
    again.fetch("mine")
    assert files_of(again.local / "mine/captions") == files_of(folder)


def test_the_store_is_the_truth_and_work_on_its_version_is_kept(remote: Folder, tmp_path: Path) -> None:
    here, there = Mirror(remote, tmp_path / "here"), Mirror(remote, tmp_path / "there")
    folder = make(here.local, {"a.txt": "a"}, finished=False)
    here.send(folder)
    (folder / "more.txt").write_text("not sent yet")
    Mirror(remote, here.local).fetch("mine")
    assert (folder / "more.txt").is_file()
    there.fetch("mine")
    (there.local / "mine/captions/a.txt").write_text("went on there")
    there.send(there.local / "mine/captions")
    Mirror(remote, here.local).fetch("mine")
    assert files_of(folder) == {BEGUN_NAME: "{}", "a.txt": "went on there"}


def test_a_finished_artifact_that_is_not_what_was_sent_is_told_and_not_kept(remote: Folder, tmp_path: Path) -> None:
    here, there = Mirror(remote, tmp_path / "here"), Mirror(remote, tmp_path / "there")
    here.send(make(here.local, {"a.txt": "a"}))
    remote.child("mine").child("captions").write("a.txt", b"b")
    with pytest.raises(DamagedFileError, match=r"a\.txt is not what was sent there"):
        there.fetch("mine")
    assert not (there.local / "mine/captions" / MANIFEST_NAME).exists()


def test_what_is_dropped_is_gone_everywhere(remote: Folder, tmp_path: Path) -> None:
    here = Mirror(remote, tmp_path / "here")
    folder = make(here.local, {"a.txt": "a", "deep/b.txt": "b"})
    here.send(folder)
    here.drop(folder)
    discard(folder)
    assert remote.below("a.txt") == remote.below("b.txt") == remote.below(MANIFEST_NAME) == []
    make(here.local, {"a.txt": "a"})
    assert here.send(folder) == 3  # nothing is taken to be there
    assert json.loads(remote.child("mine").child("captions").read(CONTENTS))["files"].keys() >= {"a.txt"}
