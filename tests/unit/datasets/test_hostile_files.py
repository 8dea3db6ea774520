"""Data sets made to reach out of their folder, or to exhaust memory, stack or time: each is told, and nothing hangs."""

import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter

from orchestrator.datasets import DatasetSettings
from orchestrator.datasets.index import MAX_IMAGE_BYTES, DatasetIndex, decode_rgb
from orchestrator.datasets.tar_members import member_addresses
from orchestrator.errors import DataError

NEGATIVE = b"\xff\xff\xff\xff" + struct.pack(">q", -512)  # sizes in the form for large numbers
HUGE = b"\x80\0\0\0" + struct.pack(">q", 1 << 60)
EMPTY = b"00000000000\0"


def png(side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(buffer, "PNG")
    return buffer.getvalue()


def index(folder: Path, **settings: Any) -> DatasetIndex:
    """The index of a data set in `folder`."""
    source = TypeAdapter(DatasetSettings).validate_python({"root": str(folder / "root"), **settings})
    return source.index(folder / "work")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with one good image, and a secret beside the root."""
    (tmp_path / "root" / "train" / "ant").mkdir(parents=True)
    (tmp_path / "root" / "train" / "ant" / "good.png").write_bytes(png())
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.png").write_bytes(png(9))
    return tmp_path


def list_of(*lines: str) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        (root / "train.txt").write_text("\n".join(lines))
        return {"kind": "list_file", "lists": {"train": "train.txt"}}

    return make


def coco(name: str) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        (root / "captions.json").write_text(json.dumps({"images": [{"id": 1, "file_name": name}], "annotations": []}))
        return {"kind": "coco_captions", "images": {"train": "train"}, "captions": {"train": "captions.json"}}

    return make


def inaturalist(name: str) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        rows = {"annotations": [{"category_id": 1, "fpath": name}]}
        (root / "train2018.json").write_text(json.dumps(rows))
        (root / "val2018.json").write_text(json.dumps({"annotations": []}))
        return {"kind": "inaturalist", "images": "train"}

    return make


def tiny_imagenet(name: str) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        (root / "train" / "n1" / "images").mkdir(parents=True)
        (root / "train" / "n1" / "images" / "a.JPEG").write_bytes(png())
        (root / "val").mkdir()
        (root / "wnids.txt").write_text("n1\n")
        (root / "words.txt").write_text("n1\tant\n")
        (root / "val" / "val_annotations.txt").write_text(f"{name}\tn1\t0\t0\t1\t1\n")
        return {"kind": "tiny_imagenet"}

    return make


def image_folder(link: str | None = None, split: str = "train") -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        if link == "file":
            (root / "train" / "ant" / "x.png").symlink_to(root.parent / "secret" / "key.png")
        elif link == "class":
            (root / "train" / "bee").symlink_to(root.parent / "secret")
        return {"kind": "image_folder", "folders": {"train": split}}

    return make


def pattern(kind: str, name: str, *, link: bool = False) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        if link:
            (root / name).symlink_to(root.parent / "secret" / "key.png")
        return {"kind": kind, ("shards" if kind == "webdataset" else "files"): {"train": name}}

    return make


@pytest.mark.parametrize(
    "attack",
    [
        list_of("../secret/key.png 0"),
        list_of("/etc/hostname 0"),
        list_of("train/../../secret/key.png 0"),
        list_of("train/ant/x\0.png 0"),
        coco("../../secret/key.png"),
        coco("/etc/hostname"),
        inaturalist("../../secret/key.png"),
        inaturalist("/train_val2018/../../secret/key.png"),
        tiny_imagenet("../../../secret/key.png"),
        image_folder(split="../secret"),
        image_folder("file"),
        image_folder("class"),
        pattern("webdataset", "../secret/*"),
        pattern("webdataset", "shard.tar", link=True),
        pattern("parquet", "/etc/host*"),
        pattern("parquet", "rows.parquet", link=True),
    ],
)
def test_no_reader_leaves_its_root(folder: Path, attack: Callable[[Path], dict[str, Any]]) -> None:
    settings = attack(folder / "root")
    with pytest.raises(DataError, match=r"leaves the root|is not `|is missing"):
        index(folder, **settings)


@pytest.mark.parametrize("name", ["shard.tar", "rows.parquet"])
def test_links_out_of_the_root_are_followed_where_they_are_asked_for(folder: Path, name: str) -> None:
    settings = pattern("webdataset" if name.endswith("tar") else "parquet", name, link=True)(folder / "root")
    with pytest.raises(DataError, match=r"cannot be read as a tar|Parquet magic bytes"):  # it was opened, and is a PNG
        index(folder, **settings, follow_links=True)


def test_members_of_a_tar_that_point_elsewhere_cannot_be_named(folder: Path) -> None:
    path = folder / "root" / "images.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in [
            ("hard.png", tarfile.LNKTYPE, "../secret/key.png"),
            ("soft.png", tarfile.SYMTYPE, "/etc/hostname"),
            ("device.png", tarfile.CHRTYPE, ""),
            ("pipe.png", tarfile.FIFOTYPE, ""),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
        for name in ("../up.png", "/root.png", "a/../../up.png", "good.png"):
            member = tarfile.TarInfo(name)
            member.size = len(png())
            archive.addfile(member, io.BytesIO(png()))
    assert list(member_addresses(path)) == ["good.png"]


def header(size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header whose size field is what we say, with a right checksum."""
    member = tarfile.TarInfo("a")
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136], block[148:156] = size, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "blocks",
    [
        header(NEGATIVE),
        header(EMPTY) + header(NEGATIVE, b"Z"),
        header(NEGATIVE, b"x"),
        header(HUGE),
        header(HUGE, b"x"),
        header(HUGE, b"L"),
        header(EMPTY, b"x") * 3000,
    ],
    ids=["negative", "backwards", "negative extension", "huge", "huge extension", "huge name", "deep"],
)
def test_tar_headers_made_to_exhaust_us_are_refused(tmp_path: Path, blocks: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(blocks + header(EMPTY) + b"\0" * 1024)
    with pytest.raises(DataError, match="cannot be read as a tar file"):
        member_addresses(tmp_path / "x.tar")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bombs() -> dict[str, bytes]:
    """Small files that unfold to much."""
    head, *_ = png().split(b"\x00\x00\x00\x0dIHDR")
    tail = png()[png().index(b"IDAT") - 4 :]
    grey = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    small = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    text = zlib.compress(b"\0" * (32 << 20), 9)
    sizes = [(256, 8), (257, 8), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags = [*sizes, (322, 60_000), (323, 60_000), (324, 8), (325, 8)]
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + b"\0\0\0\0"
    return {
        "pixels.png": head
        + chunk(b"IHDR", grey)
        + chunk(b"IDAT", zlib.compress(b"\0" * 6251 * 50, 9))
        + chunk(b"IEND", b""),
        "text.png": head + chunk(b"IHDR", small) + chunk(b"zTXt", b"a\0\0" + text) + tail,
        "profile.png": head + chunk(b"IHDR", small) + chunk(b"iCCP", b"a\0\0" + text) + tail,
        "tiles.tif": tiff,
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%id) (w) file\n",
        "pixels.ppm": b"P6\n60000 60000\n255\n",
    }


def test_image_bombs_go_to_the_quarantine_with_their_reason_and_the_good_image_stays(folder: Path) -> None:
    resource = pytest.importorskip("resource")
    root = folder / "root" / "train" / "ant"
    for name, data in bombs().items():
        assert len(data) < 1 << 20
        (root / name).write_bytes(data)
    with (root / "sparse.png").open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)
    os.mkfifo(root / "pipe.png")  # opening one waits for a writer, who never comes
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = index(folder, kind="image_folder", folders={"train": "train"}, extensions=[".png", ".jpg", ".tif", ".ppm"])
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    told = {Path(row["path"]).name: row["message"] for row in found.quarantine.to_pylist()}
    good = {Path(path).name for path in found.images["path"].to_pylist()}
    assert "2500000000" in told["pixels.png"] or "50000 x 50000" in told["pixels.png"]
    assert "60000 x 60000" in told["pixels.ppm"] or "3600000000" in told["pixels.ppm"]
    assert told["script.jpg"].startswith("not an image in a format that is read")
    assert told["sparse.png"] == f"an image of {MAX_IMAGE_BYTES + 1:,} bytes is too large"
    assert told["pipe.png"].startswith("cannot be read")
    assert {"text.png", "tiles.tif"} <= set(told)
    assert "too large" in told["profile.png"], "an ICC profile that unfolds to 32 MiB"
    assert "good.png" in good
    assert grown_mib < 256, f"a bomb of less than a MiB took {grown_mib:.0f} MiB"


def test_exif_data_made_of_broken_tags_changes_nothing_and_says_nothing(tmp_path: Path) -> None:
    count = 65_535  # each claims two billion values
    tags = b"".join(struct.pack("<HHII", number, 5 + 2 * (number % 2), (1 << 31) - 1, 8) for number in range(count))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", count) + tags + struct.pack("<I", 8)
    Image.new("RGB", (8, 4), "red").save(tmp_path / "tags.png", exif=exif)
    code = (
        "import sys; from pathlib import Path; from orchestrator.datasets.index import decode_rgb;"
        "print(decode_rgb(Path(sys.argv[1]).read_bytes()).size)"
    )
    command = [sys.executable, "-W", "always", "-c", code, str(tmp_path / "tags.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(8, 4)\n", "")


def test_a_label_does_not_ask_for_a_billion_classes(folder: Path) -> None:
    for label in ("99999999", "9" * 5000):
        with pytest.raises(DataError, match=r"label 99,999,999 is above|is not `relative/path label`"):
            index(folder, **list_of(f"train/ant/good.png {label}")(folder / "root"))
    with tarfile.open(folder / "root" / "a.tar", "w") as archive:
        for name, data in (("a.png", png()), ("a.cls", b"99999999")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(DataError, match="the largest label is 99999999"):
        index(folder, kind="webdataset", shards={"train": "a.tar"})


def test_json_that_is_too_deep_or_too_long_a_number_is_told(folder: Path) -> None:
    settings = coco("good.png")(folder / "root")
    for text in ("[" * 100_000, '{"images": [{"id": ' + "9" * 5000 + "}]}"):
        (folder / "root" / "captions.json").write_text(text)
        with pytest.raises(DataError, match="is not JSON"):
            index(folder, **settings)


def test_a_parquet_file_with_more_rows_than_bytes_is_refused(folder: Path) -> None:
    rows = 100_000
    one = pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()).fill_null(0), pa.array([png()]))
    table = pa.table({"image": one.cast(pa.binary()), "label": pa.nulls(rows, pa.int32()).fill_null(0)})
    pq.write_table(table, folder / "root" / "a.parquet")
    assert (folder / "root" / "a.parquet").stat().st_size < rows
    with pytest.raises(DataError, match=r"100,000 rows in [\d,]+ bytes"):
        index(folder, kind="parquet", files={"train": "a.parquet"}, image_column="image")


def test_the_first_bytes_decide_what_an_image_is_and_not_its_name() -> None:
    with pytest.raises(DataError, match="not an image in a format that is read"):
        decode_rgb(bombs()["script.jpg"])
