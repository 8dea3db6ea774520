"""Writing atomically: the old file or the new one, whatever happens in between."""

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.artifacts.storage import (
    read_json,
    read_table,
    remove_leftovers,
    write_atomically,
    write_bytes,
    write_json,
    write_table,
)

KILLED_WRITER = """
import sys, time
from pathlib import Path
from orchestrator.artifacts.storage import write_atomically

def write(temporary):
    with temporary.open("wb") as stream:
        stream.write(b"half of the new")
        stream.flush()
        print("writing", flush=True)
        time.sleep(60)

write_atomically(Path(sys.argv[1]), write)
"""


def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.bin"
    write_bytes(path, b"old")

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk is full"):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["value.bin"]


def test_a_process_killed_in_the_middle_leaves_the_old_file_and_a_leftover_that_can_be_cleared(
    tmp_path: Path, project: Path
) -> None:
    path = tmp_path / "value.bin"
    write_bytes(path, b"old")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, str(path)], cwd=project, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert remove_leftovers(tmp_path) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["value.bin"]


def test_folders_on_the_way_are_made_and_json_and_tables_come_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b" / "x.json", {"b": [1, None], "a": "ü"})
    assert read_json(tmp_path / "a" / "b" / "x.json") == {"a": "ü", "b": [1, None]}
    table = pa.table({"x": [1, 2, 3], "y": ["a", None, ""]})
    write_table(tmp_path / "split=train" / "t.parquet", table)
    assert read_table(tmp_path / "split=train" / "t.parquet").equals(table)  # no column made from the folder's name
    assert read_table(tmp_path / "split=train" / "t.parquet", ["y"]).column_names == ["y"]
