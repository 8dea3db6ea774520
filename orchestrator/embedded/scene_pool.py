"""A pool of rendered scenes to train the embedded teachers on: balanced over all 1,024 attribute combinations.

Reads nothing; writes one .npy of pixels into the work folder, renamed when complete and reused afterwards. Its scenes
come from seeds of their own (TEACHER_SEED), never from a split of a data set. Knows nothing of models.
"""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets.shapes_grammar import Scene, random_attributes, scene_of
from orchestrator.datasets.shapes_render import SIZE, render

TEACHER_SEED = 990_001  # data sets take seeds below 990,000
_CHUNK = 500


def pool_scene(index: int, split: str = "teacher") -> Scene:
    """Scene `index` of the pool, or of another stream (`split`) that no training touches."""
    return scene_of(TEACHER_SEED, split, index, random_attributes(TEACHER_SEED, split, index))


def render_pool(
    folder: Path, num_scenes: int, *, num_processes: int, progress: Callable[[int, int], None], split: str = "teacher"
) -> NDArray[np.uint8]:
    """Pixels of scenes 0..num_scenes-1, uint8 [num_scenes, 64, 64, 3], mapped from disk."""
    path = folder / f"{split}_{num_scenes}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        pixels = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(num_scenes, SIZE, SIZE, 3))
        jobs = [(split, start, min(start + _CHUNK, num_scenes)) for start in range(0, num_scenes, _CHUNK)]
        with get_context("spawn").Pool(num_processes) as processes:
            for (_, start, stop), chunk in zip(jobs, processes.imap(_render_chunk, jobs), strict=True):
                pixels[start:stop] = chunk
                progress(stop, num_scenes)
        pixels.flush()
        part.rename(path)
    return np.load(path, mmap_mode="r")


def _render_chunk(job: tuple[str, int, int]) -> NDArray[np.uint8]:
    split, start, stop = job
    return np.stack([render(pool_scene(i, split)) for i in range(start, stop)])
