"""Folders on local disks, S3 and fsspec: the same answers everywhere, whole files, no credentials shown."""

import os
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.artifacts.folder import LEFTOVER_S, DamagedFileError, Folder
from orchestrator.errors import ArtifactError, ConfigError


@pytest.fixture(params=["path", "file://", "local://", "memory://", "s3://", "gs://"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param in ("s3://", "gs://"):
        return Folder(request.getfixturevalue(f"{request.param[:2]}_uri"))
    if request.param == "memory://":
        return Folder(f"memory://{uuid.uuid4().hex}/a")
    return Folder(str(tmp_path / "a") if request.param == "path" else f"{request.param}{tmp_path}/a")


def test_files_are_written_listed_read_and_deleted(folder: Folder) -> None:
    assert (folder.names(), folder.folders(), folder.sizes()) == ([], [], {})
    folder.write("b.bin", b"12345")
    folder.write("a.bin", b"")
    folder.write("b.bin", b"123")
    folder.child("deeper").write("c.bin", b"1", durable=False)
    assert (folder.names(), folder.steady_names(), folder.folders()) == (
        ["a.bin", "b.bin"],
        ["a.bin", "b.bin"],
        ["deeper"],
    )
    assert folder.sizes() == {"a.bin": 0, "b.bin": 3}
    assert (folder.read("b.bin"), folder.child("deeper").read("c.bin")) == (b"123", b"1")
    folder.delete_all(["a.bin", "a.bin", "never"])
    assert folder.names() == ["b.bin"]
    folder.sync()
    assert folder.remove_leftovers() == 0


def test_what_is_not_there_is_a_missing_file(folder: Folder) -> None:
    for name in ("before any write", "after one"):
        with pytest.raises(FileNotFoundError):
            folder.read(name)
        with pytest.raises(FileNotFoundError):
            folder.parquet(name, pq.ParquetFile.read)
        folder.write("something", b"1")


def test_tables_come_back_with_their_metadata(folder: Folder) -> None:
    table = pa.table({"a": ["x", None], "b": [[1.0], None]}).replace_schema_metadata({"k": "v"})
    folder.write_table("t.parquet", table)
    back = folder.parquet("t.parquet", pq.ParquetFile.read)
    assert back.equals(table)
    assert back.schema.metadata[b"k"] == b"v"


def test_row_groups_are_bounded_in_rows_and_in_bytes(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))

    def largest(table: pa.Table) -> tuple[int, int]:
        folder.write_table("t.parquet", table)
        groups = folder.parquet(
            "t.parquet", lambda file: [file.metadata.row_group(n) for n in range(file.num_row_groups)]
        )
        return max(group.num_rows for group in groups), max(group.total_byte_size for group in groups)

    assert largest(pa.table({"a": np.arange(200_000)}))[0] == 1 << 16
    vectors = pa.array(np.random.default_rng(0).standard_normal(10_000 * 1024).astype(np.float32))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, 10_000 * 1024 + 1, 1024), pa.int32()), vectors)
    rows, size = largest(pa.table({"vector": lists}))
    assert rows < 4200
    assert size < 17 << 20


@pytest.mark.parametrize("damage", ["flipped bit", "cut off", "nothing", "text"])
def test_a_damaged_table_is_told_with_its_name_and_the_remedy(folder: Folder, damage: str) -> None:
    folder.write_table("t.parquet", pa.table({"a": [f"{number * 7919:x}" for number in range(10_000)]}))
    data = bytearray(folder.read("t.parquet"))
    data[2000] ^= 1
    broken = {"flipped bit": bytes(data), "cut off": bytes(data[:-9]), "nothing": b"", "text": b"no table at all"}
    folder.write("t.parquet", broken[damage])
    with pytest.raises(DamagedFileError, match=r"t\.parquet is damaged") as caught:
        folder.parquet("t.parquet", pq.ParquetFile.read)
    assert "verify" in caught.value.remedy
    assert "--repair" in caught.value.remedy


def test_a_child_keeps_the_query_and_a_name_shows_none() -> None:
    folder = Folder("s3://bucket/prefix/?region=eu-central-1&scheme=http").child("a").child("b")
    assert folder.uri == "s3://bucket/prefix/a/b?region=eu-central-1&scheme=http"
    assert (str(folder), folder.name) == ("s3://bucket/prefix/a/b", "b")
    assert Folder("memory:///x").child("y").uri == "memory:///x/y"
    assert Folder("file:///x?").local == Path("/x")
    assert Folder("runs/a").child("b").local == Path("runs/a/b")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA123:very-hidden@bucket/prefix",  # pragma: allowlist secret
        "s3://bucket/prefix?secret_key=very-hidden&region=x",
        "s3://bucket/prefix?session_token=very-hidden",
        "abfs://container@account/x?account_key=very-hidden",
        "sftp://me:very-hidden@host/x",  # pragma: allowlist secret
    ],
)
def test_credentials_in_a_uri_are_refused_and_never_shown(uri: str) -> None:
    with pytest.raises(ConfigError, match="holds credentials") as caught:
        Folder(uri)
    assert "very-hidden" not in str(caught.value)


def test_a_user_without_a_password_is_no_secret() -> None:
    assert str(Folder("gs://anonymous@bucket/x")) == "gs://bucket/x"


def test_a_file_system_that_nobody_knows_is_told() -> None:
    with pytest.raises(ConfigError, match=r"nosuch://x: the file system cannot be opened"):
        Folder("nosuch://x").names()


def test_a_bucket_that_is_not_there_is_told_when_it_is_written_to(s3_uri: str) -> None:
    folder = Folder(s3_uri.replace("s3://", "s3://no-such-"))
    assert folder.names() == []
    with pytest.raises(ArtifactError, match="cannot be written to") as caught:
        folder.write("a", b"1")
    assert "endpoint_override" not in str(caught.value)


def test_a_listing_of_more_than_a_thousand_objects_is_complete(s3_uri: str) -> None:
    folder = Folder(s3_uri)
    names = [f"{number:04d}" for number in range(1101)]
    folder.each(lambda name: folder.write(name, b"1"), names)
    assert folder.names() == names
    assert sum(folder.sizes().values()) == len(names)
    folder.delete_all(names[:100])
    assert folder.names() == names[100:]


def test_only_old_temporary_files_are_leftovers_because_others_may_be_writing(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    old, young = tmp_path / ".a.parquet.1.tmp", tmp_path / ".b.parquet.2.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    past = time.time() - LEFTOVER_S - 1
    os.utime(old, (past, past))
    assert folder.names() == []
    assert folder.remove_leftovers() == 1
    assert (old.exists(), young.exists()) == (False, True)
    assert folder.remove_leftovers(older_than_s=0.0) == 1
    assert not young.exists()


def test_a_listing_that_changes_is_taken_again(tmp_path: Path) -> None:
    class Moving(Folder):
        """Each of the first listings is overtaken by a compaction: it misses the new file and the old one."""

        listings = ([], ["merged once"], ["merged twice"], ["merged twice"])

        def names(self) -> list[str]:
            left: list[list[str]] = self.__dict__.setdefault("left", list(self.listings))
            return left.pop(0)

    assert Moving(str(tmp_path)).steady_names() == ["merged twice"]
