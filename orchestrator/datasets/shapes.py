"""The embedded data set `shapes`: settings, and the pictures as one tar of PNGs for each split.

Reads nothing but its own tars; writes workdir/{split}.tar under a temporary name and renames it, so that a finished
split is never drawn again. Every picture is a pure function of the seed. Knows nothing of captions models make, or of
training.
"""

import io
import os
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.datasets.shapes_classes import ClassDefinition, class_definitions
from orchestrator.datasets.shapes_grammar import (
    CLASS_NAMES,
    Scene,
    general_caption,
    key_of,
    scene_of,
)
from orchestrator.datasets.source import DatasetSource, Listing
from orchestrator.datasets.written_tar import written_tar
from orchestrator.errors import ConfigError
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_SELECT, SPLIT_TRAIN

if TYPE_CHECKING:
    from orchestrator.datasets.index import ImageEntry

MAX_SEED = 989_999  # the embedded teachers were trained on scenes of seed 990,001
RENDERER = 1  # raise it when a picture changes, so that stale tars are not reused


class ShapesSettings(DatasetSource):
    """A procedural long-tailed world; class c has max_count / imbalance_ratio^(c / (num_classes - 1)) images.

    With `imbalance_ratio` 1 it is balanced.
    """

    kind: Literal["shapes"] = "shapes"
    seed: int = Field(default=7, ge=0, le=MAX_SEED)
    num_classes: int = Field(default=48, ge=2, le=len(CLASS_NAMES), description="kinds of shapes")
    max_count: int = Field(default=350, ge=1, description="training images of the most frequent class")
    imbalance_ratio: float = Field(default=100.0, ge=1.0)
    num_select_per_class: int = Field(default=50, ge=1, description="images of each class in the selection split")
    num_report_per_class: int = Field(default=200, ge=1, description="images of each class in the report split")

    def train_counts(self) -> tuple[int, ...]:
        """Training images of each class: the exponential profile of Cui et al. (CVPR 2019), at least one."""
        steps = range(self.num_classes)
        return tuple(
            max(1, int(self.max_count * (1 / self.imbalance_ratio) ** (c / (self.num_classes - 1)) + 1e-9))
            for c in steps
        )

    def definitions(self) -> list[ClassDefinition]:
        """What defines each class, most frequent class first."""
        return class_definitions(self.num_classes, self.seed)

    def split_counts(self) -> dict[str, tuple[int, ...]]:
        """Images of each class in each split."""
        return {
            SPLIT_TRAIN: self.train_counts(),
            SPLIT_SELECT: (self.num_select_per_class,) * self.num_classes,
            SPLIT_REPORT: (self.num_report_per_class,) * self.num_classes,
        }

    def scenes(self, split: str) -> Iterator[tuple[str, int, Scene]]:
        """(image id, label, scene) of every picture of a split, class by class. No two splits share a scene."""
        definitions = self.definitions()
        for label, count in enumerate(self.split_counts()[split]):
            for i in range(count):
                image_id = f"{split}/{CLASS_NAMES[label]}/{i:05d}.png"
                attributes = definitions[label].example(self.seed, split, label, i)
                yield image_id, label, scene_of(self.seed, f"{split}/{label}", i, attributes)

    def listing_stamp(self) -> str:
        """See `DatasetSource`: the renderer's version and the classes' definitions."""
        return f"renderer {RENDERER}: " + "; ".join(each.describe() for each in self.definitions())

    def listing(self, workdir: Path) -> Listing:
        """See `DatasetSource`. Draws what is missing under `workdir` (about 1.5 ms a picture and core)."""
        from orchestrator.datasets.tar_members import member_addresses

        entries: list[ImageEntry] = []
        for split in self.split_counts():
            path = self._drawn(split, workdir).absolute()
            addresses = member_addresses(path)
            for image_id, label, scene in self.scenes(split):
                if image_id not in addresses:
                    raise ConfigError(f"{path} has no {image_id}", remedy="delete that tar; it is drawn again")
                offset, size = addresses[image_id]
                entries.append((image_id, split, label, str(path), offset, size, general_caption(scene)))
        classes = [(c, CLASS_NAMES[c], a.describe()) for c, a in enumerate(self.definitions())]
        return Listing(entries, list(classes))

    def _drawn(self, split: str, workdir: Path) -> Path:
        counts = self.split_counts()[split]
        identity = key_of(RENDERER, self.seed, split, counts, [a.describe() for a in self.definitions()])

        def members() -> Iterator[tuple[str, bytes]]:
            scenes = list(self.scenes(split))
            return zip((image_id for image_id, _, _ in scenes), _pngs([s for _, _, s in scenes]), strict=True)

        return written_tar(workdir / f"{split}.tar", f"{identity:016x}", members)


def png_of(scene: Scene) -> bytes:
    """The picture of a scene as PNG bytes (about 8 kB)."""
    from PIL import Image

    from orchestrator.datasets.shapes_render import render

    buffer = io.BytesIO()
    Image.fromarray(render(scene)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _pngs(scenes: list[Scene]) -> Iterator[bytes]:
    """PNGs in order; in as many processes as cores when there are enough pictures to repay starting them (2 s)."""
    cores = len(os.sched_getaffinity(0))
    if len(scenes) < 5000 or cores == 1:
        yield from map(png_of, scenes)
        return
    with get_context("spawn").Pool(cores) as processes:
        yield from processes.imap(png_of, scenes, chunksize=200)
