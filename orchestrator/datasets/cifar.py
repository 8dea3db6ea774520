"""CIFAR-10 and CIFAR-100 in the binary version of their authors.

Holds the settings of the kind `cifar`. Reads the `.bin` files; writes their images as PNG into one tar for each split,
because raw planes of pixels are no image file. The python version is not read: it is pickles, and unpickling a file
from outside runs whatever it says. Source: the data sets' page (Krizhevsky, 2009).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from orchestrator.datasets.source import Listing, SelectFromTrain
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ImageEntry

SIDE = 32
NUM_PIXEL_BYTES = 3 * SIDE * SIDE
FORMAT = 1  # raise it when the PNGs change, so that stale tars are not reused
_FILES: dict[int, dict[str, tuple[str, ...]]] = {
    10: {SPLIT_TRAIN: tuple(f"data_batch_{i}.bin" for i in range(1, 6)), SPLIT_REPORT: ("test_batch.bin",)},
    100: {SPLIT_TRAIN: ("train.bin",), SPLIT_REPORT: ("test.bin",)},
}
_NAMES = {(10, "fine"): "batches.meta.txt", (100, "fine"): "fine_label_names.txt"}
_NAMES |= {(100, "coarse"): "coarse_label_names.txt"}


class CifarSettings(SelectFromTrain):
    """`root` is the unpacked folder (`cifar-10-batches-bin`, `cifar-100-binary`); `num_classes` says which it is.

    The test images are the report split; `select_fraction` sets a part of train aside. Image ids are
    `{split}/{class name}/{number}.png` with the number of the image in its split, counted through the files in order.
    `labels: coarse` takes the 20 super-classes of CIFAR-100. With `long_tail: {ratio: 0.01}` this is CIFAR-LT.
    """

    kind: Literal["cifar"] = "cifar"
    root: str
    num_classes: Literal[10, 100] = 10
    labels: Literal["fine", "coarse"] = "fine"

    @model_validator(mode="after")
    def _coarse_labels_exist(self) -> Self:
        if (self.num_classes, self.labels) not in _NAMES:
            raise ValueError("only CIFAR-100 has coarse labels")
        return self

    def _paths(self, split: str) -> list[Path]:
        return [Path(self.root).resolve() / name for name in _FILES[self.num_classes][split]]

    def _names_path(self) -> Path:
        return Path(self.root).resolve() / _NAMES[self.num_classes, self.labels]

    def listing_stamp(self) -> str:
        """See `DatasetSource`."""
        from orchestrator.datasets.stamp import stamp_files

        files = [path for split in _FILES[self.num_classes] for path in self._paths(split)]
        return f"format {FORMAT} {stamp_files([*files, self._names_path()])}"

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`. Writes what is missing of the tars under `workdir`, about 0.6 ms an image."""
        from orchestrator.artifacts.fingerprint import digest_file
        from orchestrator.datasets.index import raise_problems
        from orchestrator.datasets.tar_members import member_addresses
        from orchestrator.datasets.written_tar import written_tar

        paths = [path for split in _FILES[self.num_classes] for path in self._paths(split)]
        absent = [f"{path} is not a file" for path in [*paths, self._names_path()] if not path.is_file()]
        raise_problems(absent, what="CIFAR", remedy="unpack the binary version, and set dataset.root to its folder")
        problems: list[str] = []
        names = self._names(problems)
        labels = {split: self._labels(split, len(names), problems) for split in _FILES[self.num_classes]}
        raise_problems(problems, what="CIFAR", remedy="use the files of the binary version as they were published")
        entries: list[ImageEntry] = []
        for split, of_split in labels.items():
            ids = [f"{split}/{names[label]}/{number:05d}.png" for number, label in enumerate(of_split)]
            contents = "".join(digest_file(path) for path in [*self._paths(split), self._names_path()])
            tar = (workdir / f"{split}.tar").absolute()
            written_tar(tar, f"{FORMAT} {self.labels} {contents}", partial(self._members, split, ids))
            addresses = member_addresses(tar)
            entries += [
                (image_id, split, label, str(tar), *addresses[image_id], None)
                for image_id, label in zip(ids, of_split, strict=True)
            ]
        return self.with_select(Listing(entries, [(label, name, None) for label, name in enumerate(names)]))

    def _names(self, problems: list[str]) -> list[str]:
        path = self._names_path()
        names = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        names = [name for name in names if name]
        expected = 20 if self.labels == "coarse" else self.num_classes
        if len(names) != expected:
            problems.append(f"{path.name}: {len(names)} names, expected {expected}")
        if bad := [name for name in names if "/" in name or name in (".", "..")]:
            problems.append(f"{path.name}: names with a slash: {', '.join(bad[:3])}")
        if len(set(names)) != len(names):
            problems.append(f"{path.name}: a name stands there twice")
        return names

    def _num_label_bytes(self) -> int:
        return 1 if self.num_classes == 10 else 2  # CIFAR-100: the coarse label, then the fine one

    def _labels(self, split: str, num_names: int, problems: list[str]) -> list[int]:
        labels: list[int] = []
        head, size = self._num_label_bytes(), self._num_label_bytes() + NUM_PIXEL_BYTES
        for path in self._paths(split):
            data = path.read_bytes()
            if not data or len(data) % size:
                problems.append(f"{path.name}: {len(data):,} bytes are not records of {size:,} bytes")
                continue
            found = list(data[0 if self.labels == "coarse" else head - 1 :: size])
            if max(found) >= num_names:
                problems.append(f"{path.name}: label {max(found)} is outside 0..{num_names - 1}")
            labels += found
        return labels

    def _members(self, split: str, ids: list[str]) -> Iterator[tuple[str, bytes]]:
        """Name and PNG of every image, in order."""
        import io

        import numpy as np
        from PIL import Image

        head, names = self._num_label_bytes(), iter(ids)
        for path in self._paths(split):
            records = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, head + NUM_PIXEL_BYTES)
            for planes in records[:, head:].reshape(-1, 3, SIDE, SIDE):
                buffer = io.BytesIO()
                Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(buffer, "PNG", compress_level=1)
                yield next(names), buffer.getvalue()
