"""The index: one row per image, addressed by bytes, checked by really decoding it.

Holds the three tables of a `DatasetIndex`, `build_index` that fills them, and the two functions everybody reads
images with (`read_image_bytes`, `decode_rgb`). Reads image bytes; writes nothing. Knows nothing of data set formats.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps, UnidentifiedImageError

from orchestrator.datasets.class_groups import VALIDATION, ClassGroups
from orchestrator.datasets.parquet_cells import PREFIX, read_cell
from orchestrator.errors import DataError
from orchestrator.vocabulary import SPLITS

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("oracle_caption", pa.string()),
    ]
)
CLASS_SCHEMA = pa.schema(
    [
        pa.field("label", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("description", pa.string()),
        pa.field("seen", pa.bool_(), nullable=False),  # in training; false only for unseen classes of an OOD split
    ]
)
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("error_class", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)

MAX_PIXELS = (
    89_478_485  # Pillow's own bound (a quarter of a gibibyte of RGB); above it Pillow warns, here it is an error
)
MAX_IMAGE_BYTES = 256 * 2**20  # of one encoded image; a sparse file can claim any size at no cost
# What Pillow is asked to try, whatever a file's name says. Left out are formats that start other programs (EPS runs
# Ghostscript) and rare ones, whose decoders few people look at. JPEG has MPO in it.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MAX_CLASSES = 1_000_000  # a label is an index: a large one in a list would ask for as many classes

ImageEntry = tuple[
    str, str, int, str, int, int, str | None
]  # image_id, split, label, path, offset, size, oracle_caption
ClassEntry = tuple[int, str, str | None]  # label, name, description

_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_BATCH_SIZE = 4096  # images handed to the threads at once, so that a million entries are not a million waiting futures
_NUM_NAMED = 10  # problems named in one error message


@dataclass(frozen=True)
class DatasetIndex:
    """images (IMAGE_SCHEMA, in the order given), classes (CLASS_SCHEMA, by label), quarantine (QUARANTINE_SCHEMA).

    Where there are validation classes, a column `validation` of the classes says which. `notes` are what the user
    should know of how these came about; they determine nothing.
    """

    images: pa.Table
    classes: pa.Table
    quarantine: pa.Table
    notes: tuple[str, ...] = ()

    def class_groups(self) -> ClassGroups:
        """Which labels are seen in training, which are for validation, and which are the report's."""
        return ClassGroups.of_table(self.classes)

    def class_counts(self, split: str) -> tuple[int, ...]:
        """Number of images of each class (position = label) in one split."""
        chosen = np.asarray(self.images.column("split").to_pylist(), dtype=object) == split
        labels = self.images.column("label").to_numpy()[chosen]
        return tuple(int(count) for count in np.bincount(labels, minlength=self.classes.num_rows))


def content_hash(data: bytes) -> str:
    """blake2b of 16 bytes as 32 hex digits: the identity of an image's bytes, whatever its name."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_image_bytes(path: str, offset: int, size: int) -> bytes:
    """The `size` bytes at `offset` of the file, or the cell of a Parquet file (see parquet_cells.py).

    Raises:
        DataError: the file is shorter than it was; the image has more than MAX_IMAGE_BYTES.
        OSError: it cannot be read.
    """
    if path.startswith(PREFIX):
        return read_cell(path, offset)
    if not 0 <= size <= MAX_IMAGE_BYTES:
        raise DataError(f"an image of {size:,} bytes is too large", expected=f"at most {MAX_IMAGE_BYTES:,} bytes")
    with open(path, "rb", opener=_without_waiting) as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise DataError(
            f"{path}: {len(data)} bytes at offset {offset}",
            expected=f"{size} bytes, as when the index was made",
            remedy="restore the file, or make the index again",
        )
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Open for reading; a named pipe, which has no writer, must not stop us."""
    return os.open(path, flags | os.O_NONBLOCK)


def decode_rgb(data: bytes) -> Image.Image:
    """An encoded image as an 8-bit RGB image, turned upright by its EXIF orientation.

    Transparency is composed on white; 16-bit grey is scaled to 8 bits (65535 becomes 255); of an animation the first
    frame is taken. Raises DataError, with the decoder's exception as its cause, for anything that is not wholly
    decodable, is of none of IMAGE_FORMATS, or has more than MAX_PIXELS pixels (told before one of them is decoded).
    """
    _register_formats()
    if not data:
        raise DataError("the image has zero bytes", expected="an encoded image")
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(f"{image.width} x {image.height} pixels")
            image.load()
            return _to_rgb(_upright(image))
    except DataError:
        raise
    except UnidentifiedImageError as error:  # its own message holds a memory address, which would differ in every run
        raise DataError(f"not an image in a format that is read ({', '.join(IMAGE_FORMATS)})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(str(error)) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, IndexError, ... on damaged files
        raise DataError(f"cannot be decoded: {type(error).__name__}: {error}") from error


@cache
def _register_formats() -> None:
    """Pillow looks up the formats that it is given among those that it has loaded.

    It warns once for each broken tag of EXIF data, of which a small file may have 65,535.
    """
    Image.init()
    warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin", category=UserWarning)


def _too_large(what: str) -> DataError:
    return DataError(f"the image is too large: {what}", expected=f"at most {MAX_PIXELS} pixels")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about the pixels, which have been decoded by now
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError("floating-point pixels (mode F) have no fixed range", expected="8-bit or 16-bit pixels")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return image.convert("RGB")


def build_index(
    entries: Iterable[ImageEntry],
    classes: Iterable[ClassEntry],
    *,
    groups: ClassGroups | None = None,
    notes: Iterable[str] = (),
    num_threads: int | None = None,
) -> DatasetIndex:
    """Read, hash and fully decode every image; good ones become `images`, bad ones `quarantine`; no entry is lost.

    `classes` must have the labels 0..C-1, each once. Raises DataError, naming every kind of problem, for a repeated
    image id, an unknown split or an unknown label. Without `groups`
    all classes are seen. Width and height are those of the upright image.
    """
    class_table = _class_table(classes, groups)
    rows = list(entries)
    _check(rows, class_table.num_rows)
    images, quarantine = [IMAGE_SCHEMA.empty_table()], [QUARANTINE_SCHEMA.empty_table()]
    with ThreadPoolExecutor(num_threads or len(os.sched_getaffinity(0))) as threads:
        for batch in _batches(rows):  # each becomes tables at once: rows as dictionaries take ten times the memory
            inspected = list(threads.map(_inspect, batch))
            good, bad = ([row for row, problem in inspected if problem is which] for which in (False, True))
            images.append(pa.Table.from_pylist(good, schema=IMAGE_SCHEMA))
            quarantine.append(pa.Table.from_pylist(bad, schema=QUARANTINE_SCHEMA))
    index = DatasetIndex(pa.concat_tables(images), class_table, pa.concat_tables(quarantine), tuple(notes))
    assert index.images.num_rows + index.quarantine.num_rows == len(rows), "an image was lost on the way to the index"
    return index


def _class_table(classes: Iterable[ClassEntry], groups: ClassGroups | None) -> pa.Table:
    rows = sorted(classes, key=lambda row: row[0])
    labels = [row[0] for row in rows]
    if labels != list(range(len(rows))):
        raise DataError(f"class labels are {labels[:_NUM_NAMED]} ...", expected=f"0 to {len(rows) - 1}, each once")
    groups = groups or ClassGroups(len(rows), 0, len(rows))
    return pa.Table.from_pylist(
        [
            {"label": label, "name": name, "description": text, "seen": label in groups.seen,
             VALIDATION.name: label in groups.validation}
            for label, name, text in rows
        ],
        schema=CLASS_SCHEMA.append(VALIDATION) if groups.validation else CLASS_SCHEMA,
    )  # fmt: skip


def _check(rows: list[ImageEntry], num_classes: int) -> None:
    seen: set[str] = set()
    problems: list[str] = []
    for image_id, split, label, path, _, _, _ in rows:
        if image_id in seen:
            problems.append(f"image id {image_id!r} occurs more than once (again at {path})")
        seen.add(image_id)
        if split not in SPLITS:
            problems.append(f"{image_id}: unknown split {split!r}")
        if not 0 <= label < num_classes:
            problems.append(f"{image_id}: label {label} outside 0..{num_classes - 1}")
    raise_problems(problems, what="the entries of the index", remedy="give every image one id, one split and one class")


def raise_problems(problems: list[str], *, what: str, remedy: str) -> None:
    """Raise one DataError naming the first problems and the total; nothing when there are none."""
    if not problems:
        return
    named = "\n".join(f"    {problem}" for problem in problems[:_NUM_NAMED])
    rest = f"\n    ... and {len(problems) - _NUM_NAMED} more" if len(problems) > _NUM_NAMED else ""
    raise DataError(f"{len(problems)} problem(s) in {what}:\n{named}{rest}", remedy=remedy)


def _batches(rows: list[ImageEntry]) -> Iterator[list[ImageEntry]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH_SIZE)):
        yield batch


def _inspect(entry: ImageEntry) -> tuple[dict[str, object], bool]:
    """One row and whether it belongs into the quarantine."""
    image_id, split, label, path, offset, size, caption = entry
    try:
        data = read_image_bytes(path, offset, size)
        width, height = decode_rgb(data).size
    except (DataError, OSError) as error:
        cause = error.__cause__ or error
        message = error.wrong if isinstance(error, DataError) else f"cannot be read: {error.strerror or error}"
        name = type(cause).__name__
        return {"image_id": image_id, "split": split, "path": path, "error_class": name, "message": message}, True
    address = {"path": path, "offset": offset, "size": size, "content_hash": content_hash(data)}
    pixels = {"width": width, "height": height, "oracle_caption": caption}
    return {"image_id": image_id, "split": split, "label": label, **address, **pixels}, False
