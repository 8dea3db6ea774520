"""`orchestrator leaks`: what an evaluation may owe to images, words or scores that should not be there.

Reads the index and, where they are there, shards, captions and evaluations; writes nothing. Exact copies are found by
the content hashes of the index, near ones by a perceptual hash of the shards' pixels (see near_duplicates.py).
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_table
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.class_mentions import names_class
from orchestrator.evaluation.near_duplicates import difference_hash, near_pairs
from orchestrator.training.data import load_split
from orchestrator.vocabulary import SPLIT_TRAIN, SPLITS

PERFECT = 0.999
FEWEST_IMAGES = 50  # below which a perfect score is no wonder
EXAMPLES = 5
DECODED_AT_ONCE = 512


@dataclass(frozen=True)
class Finding:
    """One kind of leak.

    Attributes:
        kind: exact_duplicates, near_duplicates, label_words or perfect_scores.
        is_leak: it makes an evaluation wrong; otherwise a person should look.
        told: what was found, in a sentence.
        examples: a few, in words.
        count: of images, captions or scores.
    """

    kind: str
    is_leak: bool
    told: str
    examples: tuple[str, ...]
    count: int


def find(folder: Path, *, look_at_pixels: bool = True) -> list[Finding]:
    """The leaks of the experiment in `folder`.

    Args:
        look_at_pixels: search for near duplicates too, which decodes every image that is not kept as pixels.

    Raises:
        ArtifactError: the experiment has no index.
    """
    if read_manifest(folder / "index") is None:
        raise ArtifactError(
            f"{folder} has no finished index", expected="an experiment that was begun",
            remedy="make it first: orchestrator index EXPERIMENT.yaml",
        )  # fmt: skip
    images = read_table(folder / "index" / "images.parquet")
    names = read_table(folder / "index" / "classes.parquet")["name"].to_pylist()
    found = [*_exact(images)]
    if look_at_pixels and read_manifest(folder / "shards") is not None:
        found += _near(folder / "shards", images)
    if read_manifest(folder / "captions") is not None:
        found += _label_words(read_table(folder / "captions" / "captions.parquet"), images, names)
    return [*found, *perfect_scores(folder)]


def summary(found: list[Finding]) -> str:
    """One line for a report; "" when nothing was found."""
    return "Possible leaks: " + " ".join(one.told for one in found) if found else ""


def _split_pairs() -> Iterator[tuple[str, str]]:
    return itertools.combinations((SPLIT_TRAIN, *(split for split in SPLITS if split != SPLIT_TRAIN)), 2)


def _exact(images: pa.Table) -> Iterator[Finding]:
    holders: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    columns = (images[name].to_pylist() for name in ("content_hash", "split", "image_id"))
    for digest, split, image_id in zip(*columns, strict=True):
        holders[digest][split].append(image_id)
    for first, second in _split_pairs():
        both = [held for held in holders.values() if held.get(first) and held.get(second)]
        count = sum(len(held[second]) for held in both)
        if count:
            examples = tuple(f"{held[second][0]} is {held[first][0]}" for held in both[:EXAMPLES])
            told = f"{count} images of {second} are byte for byte in {first}."
            yield Finding("exact_duplicates", True, told, examples, count)


def _near(shards: Path, images: pa.Table) -> Iterator[Finding]:
    data = {split: load_split(shards, split) for split in SPLITS}
    hashed = {}
    for split, rows in data.items():
        if not len(rows.labels):
            continue
        starts = range(0, len(rows.labels), DECODED_AT_ONCE)
        parts = [
            difference_hash(rows.pixels[np.arange(at, min(at + DECODED_AT_ONCE, len(rows.labels)))]) for at in starts
        ]
        hashed[split] = (np.concatenate([one[0] for one in parts]), np.concatenate([one[1] for one in parts]))
    digests = dict(zip(images["image_id"].to_pylist(), images["content_hash"].to_pylist(), strict=True))
    for first, second in _split_pairs():
        if first not in hashed or second not in hashed:
            continue
        best: dict[str, tuple[float, str, int]] = {}
        for row, column, distance, correlation in near_pairs(hashed[first], hashed[second]):
            mine, theirs = data[first].image_ids[row], data[second].image_ids[column]
            if digests.get(mine) != digests.get(theirs) and correlation > best.get(theirs, (0.0, "", 0))[0]:
                best[theirs] = (correlation, mine, distance)
        if best:
            ordered = sorted(best.items(), key=lambda item: -item[1][0])
            examples = tuple(
                f"{theirs} looks like {mine} ({distance} of 64 bits differ, correlation {correlation:.3f})"
                for theirs, (correlation, mine, distance) in ordered[:EXAMPLES]
            )
            told = f"{len(best)} images of {second} look nearly like one of {first}."
            yield Finding("near_duplicates", False, told, examples, len(best))


def _label_words(captions: pa.Table, images: pa.Table, names: list[str]) -> Iterator[Finding]:
    labels = dict(zip(images["image_id"].to_pylist(), images["label"].to_pylist(), strict=True))
    prompted: dict[str, list[str]] = defaultdict(list)
    named: dict[str, list[str]] = defaultdict(list)
    totals: dict[str, int] = defaultdict(int)
    columns = (captions[name].to_pylist() for name in ("split", "image_id", "prompt_text", "caption"))
    for split, image_id, prompt, caption in zip(*columns, strict=True):
        if split == SPLIT_TRAIN or image_id not in labels:
            continue
        totals[split] += 1
        name = names[labels[image_id]]
        if names_class(prompt or "", name):
            prompted[split].append(f"{image_id}: {prompt}")
        elif names_class(caption or "", name):
            named[split].append(f"{image_id}: {caption}")
    for split, found in prompted.items():
        told = f"{len(found)} captions of {split} were asked for with the name of the image's class in the prompt."
        yield Finding("label_words", True, told, tuple(found[:EXAMPLES]), len(found))
    for split, found in named.items():
        told = f"{len(found)} of {totals[split]} captions of {split} name the image's class: their reader is told it."
        yield Finding("label_words", False, told, tuple(found[:EXAMPLES]), len(found))


def perfect_scores(folder: Path) -> Iterator[Finding]:
    """Accuracies of 99.9 % or more on at least fifty images, of the experiment's students."""
    scores: dict[str, float] = {}
    for path in sorted([*folder.glob("evaluations/*"), *folder.glob("arms/*"), *folder.glob("cells/*/*")]):
        manifest = read_manifest(path)
        metrics: Mapping[str, float] = {} if manifest is None else manifest.metrics
        for name, value in metrics.items():
            if name in ("report/all", "select/all") and value >= PERFECT and _num_images(folder, name) >= FEWEST_IMAGES:
                scores[f"{path.parent.name}/{path.name} {name}"] = value
    if scores:
        examples = tuple(f"{name} {value:.4f}" for name, value in list(scores.items())[:EXAMPLES])
        told = f"{len(scores)} scores are suspiciously perfect ({PERFECT:.1%} or more)."
        yield Finding("perfect_scores", False, told, examples, len(scores))


def _num_images(folder: Path, metric: str) -> int:
    manifest = read_manifest(folder / "index")
    return 0 if manifest is None else manifest.counts.get(metric.split("/")[0], 0)
