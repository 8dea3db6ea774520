"""Hot copies: equal to the store's rows, safe when built at once, verified against the truth, rebuilt when lost."""

import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.hot_copy import HEADER, ROWS, HotCopy
from orchestrator.artifacts.ledger import CommitRecord
from orchestrator.artifacts.store_arrays import from_column, read_rows, stream_rows, to_column
from orchestrator.artifacts.teacher_store import ERROR_CLASS, KEY, TeacherStore
from orchestrator.errors import ArtifactError

DIM = 24


def vector(key: int) -> Any:
    """The row of a key, a pure function of it."""
    return np.random.default_rng(key).standard_normal(DIM).astype(np.float32)


def name(key: int) -> str:
    """The key as the store has it."""
    return f"key{key:06d}"


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    """120 rows in parts of 16, committed in an order of their own."""
    made = TeacherStore(tmp_path / "store")
    keys = np.random.default_rng(0).permutation(120)
    for start in range(0, 120, 16):
        part = keys[start : start + 16]
        rows = np.stack([vector(int(key)) for key in part])
        columns = {"embedding": to_column(rows), "tokens": to_column(rows.reshape(-1, 4, 6)),
                   "num_tokens": to_column(part.astype(np.int32))}  # fmt: skip
        made.commit(
            pa.table({KEY: [name(int(key)) for key in part], **columns}), CommitRecord(id=str(start), run="test")
        )
    return made


def wanted() -> list[int]:
    """Keys in another order than the store's, some left out, some twice."""
    drawn = np.random.default_rng(1).permutation(120)[:90].tolist()
    return [*drawn, drawn[3], drawn[3], drawn[70]]


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 4, 6), (5, 2, 3, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_array_survives_its_column(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    store = TeacherStore(tmp_path)
    store.commit(
        pa.table({KEY: [name(i) for i in range(5)], "rows": to_column(rows)}), CommitRecord(id="0", run="test")
    )
    back = read_rows(store, [name(i) for i in (4, 0, 2)], "rows")
    assert back.dtype == rows.dtype
    assert np.array_equal(back, rows[[4, 0, 2]])


def test_a_column_with_an_empty_row_of_several_lengths_or_of_texts_is_refused() -> None:
    with pytest.raises(ArtifactError, match="1 empty rows"):
        from_column(pa.chunked_array([pa.array([[1.0, 2.0], None])]))
    with pytest.raises(ArtifactError, match="lists of 2 lengths"):
        from_column(pa.chunked_array([pa.array([[1.0, 2.0], [1.0]])]))
    with pytest.raises(ArtifactError, match="no array"):
        from_column(pa.chunked_array([["a"]]))


@pytest.mark.parametrize("compacted", [False, True])
def test_refused_rows_are_null_in_the_column_and_no_part_of_an_array(compacted: bool, tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    rows = [np.ones((2, 3), np.float32), None, np.full((2, 3), 7, np.float32)]
    told = {ERROR_CLASS: [None, "Bad", None], "rows": to_column(rows)}
    store.commit(pa.table({KEY: [name(i) for i in range(3)], **told}), CommitRecord(id="0", run="test"))
    bad = pa.table({KEY: [name(3)], ERROR_CLASS: ["Bad"]})  # a part in which everything was refused has no column
    store.commit(bad, CommitRecord(id="1", run="test"))
    if compacted:
        compact(store, everything=True)
    assert np.array_equal(read_rows(store, [name(2), name(0)], "rows"), np.stack([rows[2], rows[0]]))
    with pytest.raises(ArtifactError, match="lacks 2 of 3 rows"):
        read_rows(store, [name(0), name(1), name(3)], "rows")


@pytest.mark.parametrize("everything", [False, True])
def test_compaction_changes_no_array_also_while_it_is_read(store: TeacherStore, everything: bool) -> None:
    keys = [name(key) for key in wanted()]
    before = read_rows(store, keys, "tokens")
    stream = stream_rows(store, keys, "tokens")
    found = np.full_like(before, np.nan)
    places, values = next(stream)
    found[places] = values
    compact(store, everything=everything)  # the files that the stream has listed are gone
    for places, values in stream:
        assert np.isnan(found[places]).all()
        found[places] = values
    assert np.array_equal(found, before)
    assert np.array_equal(read_rows(store, keys, "tokens"), before)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("column", ["embedding", "tokens", "num_tokens"])
def test_a_hot_copy_holds_the_rows_of_its_keys_in_their_order(
    store: TeacherStore, column: str, dtype: str, tmp_path: Path
) -> None:
    keys = wanted()
    copy = HotCopy.build(store, [name(key) for key in keys], column, tmp_path / "hot" / column, dtype)
    truth = {
        "embedding": np.stack([vector(key) for key in keys]),
        "tokens": np.stack([vector(key).reshape(4, 6) for key in keys]),
        "num_tokens": np.array(keys),
    }[column]
    assert np.array_equal(copy.array, truth.astype(dtype))
    assert copy.array.dtype == dtype
    chosen = np.array([5, 5, 92, 0])
    assert np.array_equal(copy.rows(chosen), truth.astype(dtype)[chosen])
    assert copy.verify(store) == []
    assert copy.verify(store, sample=7) == []
    assert copy.keys() == [name(key) for key in keys]
    assert not copy.array.flags.writeable


def test_rows_come_back_part_by_part_so_that_a_store_never_has_to_fit_into_memory(store: TeacherStore) -> None:
    chunks = list(stream_rows(store, [name(key) for key in range(120)], "embedding"))
    assert len(chunks) == store.num_parts() == 8
    assert max(len(places) for places, _ in chunks) == 16
    assert sorted(np.concatenate([places for places, _ in chunks]).tolist()) == list(range(120))


def test_what_is_built_is_reused_without_the_store_and_other_rows_replace_it(
    store: TeacherStore, tmp_path: Path
) -> None:
    keys, folder = [name(key) for key in range(50)], tmp_path / "hot"
    first = HotCopy.build(store, keys, "embedding", folder, "float32")
    inode = (folder / ROWS).stat().st_ino
    nowhere = TeacherStore(tmp_path / "nowhere")
    assert HotCopy.build(nowhere, keys, "embedding", folder, "float32").array.shape == (50, DIM)
    assert (folder / ROWS).stat().st_ino == inode
    for changed, dtype in ((keys[::-1], "float32"), (keys[::-1], "float16")):
        copy = HotCopy.build(store, changed, "embedding", folder, dtype)
        assert np.array_equal(copy.array, np.stack([vector(i) for i in range(50)])[::-1].astype(dtype))
    assert np.array_equal(first.array[7], vector(7))  # a reader of the replaced copy keeps what it has mapped
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hot.lock", "hot", "store"]


def test_a_missing_row_is_an_error_and_leaves_nothing(store: TeacherStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="lacks 2 of 3 rows, first key999998"):
        HotCopy.build(store, [name(3), name(999998), name(999999)], "embedding", tmp_path / "hot", "float32")
    assert [path.name for path in tmp_path.iterdir() if "hot" in path.name] == [".hot.lock"]
    with pytest.raises(ArtifactError, match="holds no hot copy"):
        HotCopy.open(tmp_path / "hot")


def test_a_copy_of_no_rows_is_empty(store: TeacherStore, tmp_path: Path) -> None:
    copy = HotCopy.build(store, [], "embedding", tmp_path / "hot", "float16")
    assert len(copy) == 0
    assert copy.verify(store) == []


def _build(store: str, folder: Path, keys: list[str], start: Any) -> None:
    start.wait()
    copy = HotCopy.build(TeacherStore(store), keys, "embedding", folder, "float16")
    assert np.array_equal(copy.array[0], vector(0).astype(np.float16))


@pytest.mark.parametrize("locks", [True, False])
def test_workers_that_build_at_once_all_get_the_same_copy(
    store: TeacherStore, tmp_path: Path, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks, as on some network file systems, the rename alone must decide."""
    if not locks:

        def no_locks(*_: Any) -> None:
            raise OSError("no locks")

        monkeypatch.setattr("fcntl.flock", no_locks)
    fork = multiprocessing.get_context("fork")
    start, keys = fork.Barrier(4), [name(key) for key in range(120)]
    workers = [fork.Process(target=_build, args=(str(store.folder), tmp_path / "hot", keys, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert HotCopy.open(tmp_path / "hot").verify(store) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hot.lock", "hot", "store"]


def test_verification_finds_changed_bytes_changed_truth_and_lost_rows(store: TeacherStore, tmp_path: Path) -> None:
    keys, folder = [name(key) for key in range(120)], tmp_path / "hot"
    copy = HotCopy.build(store, keys, "embedding", folder, "float32")
    with (folder / ROWS).open("r+b") as stream:
        stream.seek(-4 * DIM * 10, os.SEEK_END)
        stream.write(b"\xff")
    assert copy.verify(store) == [f"{folder}: {ROWS} changed since it was built",
                                  f"{folder}: 1 of 120 rows differ from {store.folder}"]  # fmt: skip
    assert copy.verify(store, sample=120) == [f"{folder}: 1 of 120 rows differ from {store.folder}"]
    shutil.rmtree(folder)
    copy = HotCopy.build(store, keys, "embedding", folder, "float32")
    store.part_files.delete(store.part_files.names()[0])
    problems = copy.verify(store)
    assert len(problems) == 1
    assert "lacks 16 of 120 rows" in problems[0]
    (folder / HEADER).write_text((folder / HEADER).read_text().replace("120", "119"))
    with pytest.raises(ArtifactError, match="its header says"):
        HotCopy.open(folder)


def test_a_full_disk_is_an_error_and_not_a_killed_process(store: TeacherStore, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            HotCopy.build(store, [name(key) for key in range(120)], "embedding", tmp_path / "hot", "float32")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "hot").exists()
