"""A folder served to other machines and the copies that they work in: two folders of this machine, no network."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts import copied_folder
from orchestrator.artifacts.copied_folder import CopiedFolder
from orchestrator.artifacts.manifest import BEGUN_NAME
from orchestrator.artifacts.served_folder import ServedFolder
from orchestrator.errors import ArtifactError


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The folder that counts."""
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the copies lie."""
    return tmp_path / "here"


@pytest.fixture
def copied(there: Path, here: Path) -> Iterator[CopiedFolder]:
    """The copies of one process."""
    opened = CopiedFolder(here, ServedFolder(there), "node")
    yield opened
    opened.close()


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def tree(folder: Path) -> dict[str, str]:
    """Name -> text of all files that are not hidden."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_what_is_asked_for_is_brought_and_nothing_else_and_once(copied: CopiedFolder, there: Path, here: Path) -> None:
    written(there / "line" / "shards" / "train.parquet", "rows")
    written(there / "line" / "shards" / "part" / "more", "rows, too")
    written(there / "line" / "captions" / "captions.parquet", "captions")
    assert copied.bring(here / "line" / "shards") == 2
    assert tree(here) == {"line/shards/part/more": "rows, too", "line/shards/train.parquet": "rows"}
    assert copied.bring(here / "line" / "shards") == 0
    written(there / "line" / "shards" / "train.parquet", "ROWS")  # as long, and later
    assert copied.bring(here / "line" / "shards") == 1
    assert (here / "line" / "shards" / "train.parquet").read_text() == "ROWS"


def test_a_copy_that_was_left_by_an_earlier_command_becomes_what_is_served(
    copied: CopiedFolder, there: Path, here: Path
) -> None:
    written(there / "run" / "told.jsonl", "1\n")
    for name in ("told.jsonl", "STOP", "checkpoints/step-9.pt"):
        written(here / "run" / name, "of an earlier command")
    copied.bring(here / "run")
    assert tree(here) == {"run/told.jsonl": "1\n"}
    copied.bring(here / "run" / "gone")
    assert copied.bring(here / "never" / "was") == 0


def test_a_file_is_brought_with_the_whole_artifact_that_it_is_of(copied: CopiedFolder, there: Path, here: Path) -> None:
    for name in (BEGUN_NAME, "train.tar", "images.parquet", "hot/array.npy"):
        written(there / "line" / "index" / name, name)
    written(there / "line" / "loose", "of no artifact")
    copied.bring_artifact(here / "line" / "index" / "train.tar")
    copied.bring_artifact(here / "line" / "loose")
    hot = "line/index/hot/array.npy"  # each machine makes its own
    assert tree(here) == {name: text for name, text in tree(there).items() if name != hot}
    written(there / "line" / "index" / "train.tar", "of the next command")
    copied.bring_artifact(here / "line" / "index" / "images.parquet")
    assert (here / "line" / "index" / "train.tar").read_text() == "of the next command"


def test_changes_and_removals_in_a_watched_folder_are_sent_and_what_was_brought_is_not(
    copied: CopiedFolder, there: Path, here: Path
) -> None:
    for name in ("history", "step-1.pt"):
        written(there / "run" / name, "old")
    copied.bring(here / "run")
    copied.watch(here / "run")
    written(there / "run" / "history", "meanwhile there")  # would be lost if all were sent
    written(here / "run" / "step-2.pt", "new")
    written(here / "run" / ".step-3.pt.abc.tmp", "unfinished")
    (here / "run" / "step-1.pt").unlink()
    copied.send()
    assert tree(there) == {"run/history": "meanwhile there", "run/step-2.pt": "new"}
    assert not list((there / "run").glob(".*"))
    written(here / "run" / "step-2.pt", "changed")
    copied.let_go(here / "run")
    written(here / "run" / "late", "not watched")
    copied.send()
    assert tree(there) == {"run/history": "meanwhile there", "run/step-2.pt": "changed"}


def test_watched_folders_are_sent_without_being_asked_to_and_words_from_there_are_heard(
    copied: CopiedFolder, there: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied_folder, "SEND_EVERY_S", 0.01)
    seen = threading.Event()
    copied.watch(here / "run", hears=("STOP",))
    written(here / "run" / "told.jsonl", "1\n")
    for _ in range(2000):
        if (there / "run" / "told.jsonl").is_file():
            written(there / "run" / "STOP", "")
        if (here / "run" / "STOP").is_file():
            break
        seen.wait(0.01)
    assert (here / "run" / "STOP").is_file()
    (there / "run" / "STOP").unlink()
    copied.send()
    assert not (there / "run" / "STOP").exists(), "what was heard is not sent back"


def test_of_a_folder_with_others_leftovers_only_what_is_new_is_sent(
    copied: CopiedFolder, there: Path, here: Path
) -> None:
    written(here / "spool" / "earlier.jsonl", "was sent by the command before\n")
    copied.watch(here / "spool", new_only=True)
    written(here / "spool" / "mine.jsonl", "1\n")
    copied.watch(here / "spool", new_only=True)  # once more: what came meanwhile is still new
    copied.send()
    assert tree(there) == {"spool/mine.jsonl": "1\n"}


def test_files_larger_than_a_part_arrive_whole(
    copied: CopiedFolder, there: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied_folder, "PART_BYTES", 1000)
    for folder, sizes in ((there / "in", (0, 999, 1000, 1001, 5500)), (here / "out", (0, 1, 2000, 2001))):
        folder.mkdir(parents=True)
        for size in sizes:
            (folder / str(size)).write_bytes(os.urandom(size))
    copied.bring(here / "in")
    copied.watch(here / "out")
    copied.send()
    for folder in ("in", "out"):
        names = sorted(path.name for path in (there / folder).iterdir())
        assert names == sorted(path.name for path in (here / folder).iterdir())
        assert all((there / folder / name).read_bytes() == (here / folder / name).read_bytes() for name in names)


def test_what_is_sent_is_sent_in_the_order_in_which_it_was_written(
    there: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    class Listening(ServedFolder):
        def write(self, name: str, *given: object) -> None:
            order.append(name)

    copied = CopiedFolder(here, Listening(there), "node")
    copied.watch(here / "run")
    for age, name in enumerate(("result", "weights", "begun")):
        path = written(here / "run" / name, name)
        os.utime(path, ns=(10**18 - age, 10**18 - age))
    copied.send()
    copied.close()
    assert order == ["run/begun", "run/weights", "run/result"]


def test_of_one_machine_an_older_state_does_not_replace_a_newer_and_of_another_it_does(there: Path) -> None:
    served = ServedFolder(there)
    newer, older = (3, 2_000), (3, 1_000)
    served.write("run/progress", 0, b"new", newer, ("node", "a"))
    served.write("run/progress", 0, b"old", older, ("node", "b"))
    assert tree(there) == {"run/progress": "new"}
    served.write("run/progress", 0, b"new", newer, ("node", "a"))  # sent again after a loss
    served.write("run/progress", 0, b"moved", (5, 1_500), ("another, whose clock is behind", "c"))
    assert tree(there) == {"run/progress": "moved"}


def test_a_last_part_that_is_sent_again_leaves_the_file_as_it_is(there: Path) -> None:
    served, stamp = ServedFolder(there), (4, 1_000)
    served.write("file", 0, b"ab", stamp, ("node", "a"))
    for _ in range(2):
        served.write("file", 2, b"cd", stamp, ("node", "a"))
    assert tree(there) == {"file": "abcd"}
    with pytest.raises(ArtifactError, match="the part before 2"):
        served.write("file", 2, b"CD", (4, 2_000), ("node", "a"))
    assert tree(there) == {"file": "abcd"}


def test_parts_of_a_writer_that_was_lost_are_removed_with_the_next_state(there: Path) -> None:
    served = ServedFolder(there)
    served.write("file", 0, b"ab", (4, 1_000), ("lost", "a"))
    served.write("file", 0, b"abcde", (5, 2_000), ("node", "b"))
    assert [path.name for path in there.iterdir()] == ["file"]


def test_a_clock_that_is_set_back_keeps_no_state_back(copied: CopiedFolder, there: Path, here: Path) -> None:
    copied.watch(here / "run")
    path = written(here / "run" / "told.jsonl", "1\n")
    os.utime(path, ns=(2 * 10**18, 2 * 10**18))
    copied.send()
    path.write_text("1\n2\n")
    os.utime(path, ns=(10**18, 10**18))
    copied.send()
    assert tree(there) == {"run/told.jsonl": "1\n2\n"}


def test_old_checkpoints_stay_until_the_newer_ones_have_come(there: Path, here: Path) -> None:
    class Slow(ServedFolder):
        """While a file is on its way, the training goes on: the next checkpoints replace it and the one behind it."""

        def write(self, name: str, *given: Any) -> None:
            super().write(name, *given)
            if name == "run/step-3.pt" and (here / name).exists():
                for number in (5, 6):
                    written(here / "run" / f"step-{number}.pt", str(number))
                for number in (3, 4):
                    (here / "run" / f"step-{number}.pt").unlink()

        def remove(self, names: Any) -> None:
            removed.extend(names)
            assert {"run/step-5.pt", "run/step-6.pt"} <= tree(there).keys()
            super().remove(names)

    removed: list[str] = []
    copied = CopiedFolder(here, Slow(there), "node")
    copied.watch(here / "run")
    for number in (1, 2):
        written(here / "run" / f"step-{number}.pt", str(number))
    copied.send()
    for number in (3, 4):
        written(here / "run" / f"step-{number}.pt", str(number))
        (here / "run" / f"step-{number - 2}.pt").unlink()
    copied.send()
    assert {"run/step-1.pt", "run/step-2.pt"} <= set(removed)
    assert tree(there) == {"run/step-5.pt": "5", "run/step-6.pt": "6"}
    copied.close()


def test_the_tail_of_a_process_that_died_is_sent_by_the_next_one(there: Path, here: Path) -> None:
    first = CopiedFolder(here, ServedFolder(there), "node")
    first.watch(here / "spool", new_only=True)
    path = written(here / "spool" / "dead.jsonl", "1\n")
    first.send()
    first._ends.set()  # it dies
    path.write_text("1\n2\n")
    second = CopiedFolder(here, ServedFolder(there), "node")
    second.watch(here / "spool", new_only=True)
    second.close()
    assert tree(there) == {"spool/dead.jsonl": "1\n2\n"}


def test_two_processes_that_send_the_same_file_in_parts_do_not_mix_them(there: Path) -> None:
    served, stamp = ServedFolder(there), (4, 1_000)
    served.write("file", 0, b"ab", stamp, ("node", "a"))
    served.write("file", 0, b"ab", stamp, ("node", "b"))
    served.write("file", 2, b"cd", stamp, ("node", "a"))
    assert tree(there) == {"file": "abcd"}
    served.write("file", 2, b"cd", stamp, ("node", "b"))
    assert tree(there) == {"file": "abcd"}


@pytest.mark.parametrize("name", ["../outside", "run/../../outside", "/etc/hostname"])
def test_nothing_outside_of_the_folder_is_served(there: Path, name: str) -> None:
    served = ServedFolder(there)
    for ask in (
        lambda: served.read(name, 0, 1),
        lambda: served.listing(name),
        lambda: served.write(name, 0, b"x", (1, 1), ("node", "a")),
        lambda: served.remove([name]),
        lambda: served.present([name]),
        lambda: served.artifact(name),
    ):
        with pytest.raises(ArtifactError, match="outside"):
            ask()


def test_a_place_for_copies_that_cannot_be_written_is_told_with_its_machine(there: Path, tmp_path: Path) -> None:
    written(tmp_path / "file", "")
    with pytest.raises(ArtifactError, match=rf"file/below on {os.uname().nodename}") as caught:
        CopiedFolder(tmp_path / "file" / "below", ServedFolder(there), "node")
    assert "execution.scratch" in str(caught.value)
