"""The index: real good and bad files, made here, through the real decoder."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.datasets.index import (
    CLASS_SCHEMA,
    IMAGE_SCHEMA,
    QUARANTINE_SCHEMA,
    ImageEntry,
    build_index,
    content_hash,
    decode_rgb,
    read_image_bytes,
)
from orchestrator.errors import DataError

CLASSES = [(0, "dax", "a red star"), (1, "wug", None)]


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def picture(size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def entry(path: Path, data: bytes, *, split: str = "train", label: int = 0) -> ImageEntry:
    path.write_bytes(data)
    return (path.name, split, label, str(path), 0, len(data), None)


def test_good_images_keep_their_order_size_hash_and_caption(tmp_path: Path) -> None:
    data = [encoded(picture((40 + i, 30)), "PNG") for i in range(5)]
    archive = tmp_path / "all.bin"
    archive.write_bytes(b"".join(data))
    entries: list[ImageEntry] = []
    offset = 0
    for i, one in enumerate(data):
        entries.append((f"id{i}", "train", i % 2, str(archive), offset, len(one), f"caption {i}"))
        offset += len(one)
    index = build_index(entries, CLASSES)
    assert index.images.schema == IMAGE_SCHEMA
    assert index.classes.schema == CLASS_SCHEMA
    assert index.quarantine.schema == QUARANTINE_SCHEMA
    assert index.quarantine.num_rows == 0
    assert index.images.column("image_id").to_pylist() == [f"id{i}" for i in range(5)]
    assert index.images.column("width").to_pylist() == [40, 41, 42, 43, 44]
    assert index.images.column("content_hash").to_pylist() == [content_hash(one) for one in data]
    assert index.images.column("oracle_caption").to_pylist() == [f"caption {i}" for i in range(5)]
    assert index.classes.to_pylist()[0] == {"label": 0, "name": "dax", "description": "a red star", "seen": True}
    assert index.class_counts("train") == (3, 2)
    assert index.class_counts("report") == (0, 0)


def test_bad_files_go_to_the_quarantine_with_the_reason_and_none_is_lost(tmp_path: Path) -> None:
    jpeg = encoded(picture(), "JPEG")
    png = encoded(picture(), "PNG")
    entries = [
        entry(tmp_path / "good.jpg", jpeg),
        entry(tmp_path / "truncated.jpg", jpeg[: len(jpeg) // 2]),
        entry(tmp_path / "truncated.png", png[: len(png) // 2]),
        entry(tmp_path / "zero.jpg", b""),
        entry(tmp_path / "page.jpg", b"<html>not found</html>"),
        entry(tmp_path / "wrong_extension.jpg", png),
        ("gone.jpg", "report", 1, str(tmp_path / "gone.jpg"), 0, 10, None),
    ]
    index = build_index(entries, CLASSES)
    assert index.images.column("image_id").to_pylist() == ["good.jpg", "wrong_extension.jpg"]
    quarantine = {row["image_id"]: row for row in index.quarantine.to_pylist()}
    assert sorted(quarantine) == ["gone.jpg", "page.jpg", "truncated.jpg", "truncated.png", "zero.jpg"]
    assert quarantine["truncated.jpg"]["error_class"] == "OSError"
    assert "truncated" in quarantine["truncated.jpg"]["message"]
    assert quarantine["page.jpg"]["error_class"] == "UnidentifiedImageError"
    assert quarantine["zero.jpg"]["message"] == "the image has zero bytes"
    assert quarantine["gone.jpg"]["error_class"] == "FileNotFoundError"
    assert quarantine["gone.jpg"]["split"] == "report"
    assert quarantine["gone.jpg"]["path"] == str(tmp_path / "gone.jpg")


def test_the_same_bad_file_gives_the_same_message_twice(tmp_path: Path) -> None:
    entries = [entry(tmp_path / "page.jpg", b"<html>")]
    assert build_index(entries, CLASSES).quarantine == build_index(entries, CLASSES).quarantine


def test_repeated_ids_unknown_splits_and_labels_are_named_together(tmp_path: Path) -> None:
    data = encoded(picture(), "PNG")
    one = entry(tmp_path / "a.png", data)
    other = entry(tmp_path / "b.png", data, split="test")
    third = entry(tmp_path / "c.png", data, label=2)
    with pytest.raises(DataError) as caught:
        build_index([one, one, other, third], CLASSES)
    text = str(caught.value)
    assert "3 problem(s)" in text
    assert "'a.png' occurs more than once" in text
    assert "unknown split 'test'" in text
    assert "label 2 outside 0..1" in text


def test_class_labels_with_a_gap_are_refused() -> None:
    with pytest.raises(DataError, match="0 to 1, each once"):
        build_index([], [(0, "dax", None), (2, "wug", None)])


def test_a_short_file_is_an_error_not_a_short_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_image_bytes(str(tmp_path / "x"), 1, 3) == b"234"
    with pytest.raises(DataError, match="2 bytes at offset 3"):
        read_image_bytes(str(tmp_path / "x"), 3, 5)


def test_exif_orientation_is_applied_and_the_index_has_the_upright_size(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste((255, 255, 255), (0, 0, 20, 20))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes top
    data = encoded(image, "JPEG", exif=exif, quality=95)
    upright = decode_rgb(data)
    assert upright.size == (20, 40)
    assert np.asarray(upright)[:18].min() > 240
    assert np.asarray(upright)[22:].max() < 15
    row = build_index([entry(tmp_path / "turned.jpg", data)], CLASSES).images.to_pylist()[0]
    assert (row["width"], row["height"]) == (20, 40)


def test_cmyk_becomes_the_same_colours() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = np.asarray(decode_rgb(encoded(red, "JPEG", quality=95))).reshape(-1, 3).astype(int)
    assert pixels[:, 0].min() > 245
    assert pixels[:, 1:].max() < 12


def test_palette_transparency_is_composed_on_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 4, 8))
    pixels = np.asarray(decode_rgb(encoded(image, "PNG", transparency=0)))
    assert pixels[0, 0].tolist() == [200, 100, 50]
    assert pixels[0, 7].tolist() == [255, 255, 255]
    opaque = np.asarray(decode_rgb(encoded(image, "PNG")))
    assert opaque[0, 7].tolist() == [10, 20, 30]


def test_half_transparent_black_is_half_grey() -> None:
    pixels = np.asarray(decode_rgb(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG")))
    assert np.unique(pixels).tolist() == [127]
    grey = np.asarray(decode_rgb(encoded(Image.new("LA", (4, 4), (0, 128)), "PNG")))
    assert np.unique(grey).tolist() == [127]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    pixels = np.asarray(decode_rgb(encoded(Image.fromarray(values), "PNG")))
    assert pixels[0].tolist() == [[0, 0, 0], [1, 1, 1], [128, 128, 128], [255, 255, 255]]


def test_one_bit_and_eight_bit_grey_become_rgb() -> None:
    assert np.asarray(decode_rgb(encoded(Image.new("1", (2, 2), 1), "PNG")))[0, 0].tolist() == [255, 255, 255]
    assert np.asarray(decode_rgb(encoded(Image.new("L", (2, 2), 77), "PNG")))[0, 0].tolist() == [77, 77, 77]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert np.asarray(decode_rgb(data))[0, 0].tolist() == [255, 0, 0]


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="no fixed range"):
        decode_rgb(encoded(Image.new("F", (4, 4), 0.5), "TIFF"))


@pytest.mark.parametrize("side", [10_000, 40_000])
def test_a_decompression_bomb_is_an_error(side: int) -> None:
    # A one-bit PNG of 100 million pixels is about 12 kB; Pillow only warns about it, and raises from 179 million on.
    bomb = encoded(Image.new("1", (10_000, 10_000)), "PNG")
    bomb = bomb[:16] + side.to_bytes(4, "big") * 2 + bomb[24:]
    bomb = bomb[:29] + zlib.crc32(bomb[12:29]).to_bytes(4, "big") + bomb[33:]
    with pytest.raises(DataError, match="too large"):
        decode_rgb(bomb)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow warns of it, rightly; the pixels are whole
def test_damaged_exif_does_not_cost_the_image() -> None:
    data = encoded(picture(), "JPEG")
    broken = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\xff\xff"
    segment = b"\xff\xe1" + (len(broken) + 2).to_bytes(2, "big") + broken
    assert decode_rgb(data[:2] + segment + data[2:]).size == (40, 30)
