"""What every data set must keep, run on a tiny one of each kind in its real layout."""

import os
import random
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from orchestrator.datasets import DatasetSettings
from orchestrator.datasets.index import content_hash, decode_rgb, read_image_bytes
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_SELECT, SPLIT_TRAIN, SPLITS
from tests.tiny_datasets import MAKERS

KINDS = sorted(kind.model_fields["kind"].default for kind in get_args(get_args(DatasetSettings)[0]))
SETTINGS: TypeAdapter[Any] = TypeAdapter(DatasetSettings)
each_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: str, root: Path, **options: Any) -> Any:
    """Settings of a tiny data set on disk."""
    return SETTINGS.validate_python({**MAKERS[kind](root), **options})


def rows(index: Any) -> dict[str, tuple[str, int]]:
    """Split and label of each image."""
    return {row["image_id"]: (row["split"], row["label"]) for row in index.images.to_pylist()}


@each_kind
def test_every_image_is_addressed_by_bytes_that_decode_and_is_the_same_each_time(kind: str, tmp_path: Path) -> None:
    settings = made(kind, tmp_path / "data")
    index = settings.index(tmp_path / "work")
    assert index.quarantine.num_rows == 0
    assert index.images.num_rows >= 15
    for row in index.images.to_pylist():
        data = read_image_bytes(row["path"], row["offset"], row["size"])
        assert content_hash(data) == row["content_hash"]
        assert decode_rgb(data).size == (row["width"], row["height"])
    again = settings.index(tmp_path / "work")
    assert again.images.equals(index.images)
    assert again.classes.equals(index.classes)
    assert len(set(index.images["content_hash"].to_pylist())) == index.images.num_rows
    assert all(index.classes["seen"].to_pylist())
    assert index.class_groups().num_seen == index.classes.num_rows


@each_kind
def test_ids_do_not_depend_on_where_the_data_set_lies(kind: str, tmp_path: Path) -> None:
    here, there = (made(kind, tmp_path / place).index(tmp_path / place / "work") for place in ("here", "there"))
    assert rows(here) == rows(there)
    assert str(tmp_path) not in " ".join(rows(here))


@each_kind
def test_the_stamp_changes_with_the_files_and_only_with_them(kind: str, tmp_path: Path) -> None:
    settings = made(kind, tmp_path / "data")
    stamp = settings.stamp()
    assert settings.stamp() == stamp
    for path in sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file() and "test" not in path.parts):
        if path.name.endswith("boxes.txt"):
            continue
        status = path.stat()
        if kind == "coco_captions" and path.name.startswith("instances") and settings.instances is None:
            continue
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        assert settings.stamp() != stamp, path
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert settings.stamp() == stamp, path


@each_kind
def test_a_long_tail_thins_train_only_and_a_longer_one_keeps_a_subset(kind: str, tmp_path: Path) -> None:
    whole = rows(made(kind, tmp_path / "data").index(tmp_path / "work"))
    tails = {"long_tail": {"ratio": 0.5, "max_per_class": 2}}, {"long_tail": {"ratio": 1.0, "max_per_class": 2}}
    longer, shorter = (rows(made(kind, tmp_path / "data", **tail).index(tmp_path / "work")) for tail in tails)
    assert set(longer) <= set(shorter) <= set(whole)
    for kept in (longer, shorter):
        assert all(whole[name] == row for name, row in kept.items())
        assert {n for n, (split, _) in whole.items() if split != SPLIT_TRAIN} <= set(kept)
    counts = [sum(row == (SPLIT_TRAIN, label) for row in shorter.values()) for label in range(3)]
    assert max(counts) <= 2


@each_kind
def test_an_ood_split_shows_unseen_classes_in_the_report_only(kind: str, tmp_path: Path) -> None:
    whole = made(kind, tmp_path / "data").index(tmp_path / "work")
    index = made(kind, tmp_path / "data", ood_split={"seed": 3}).index(tmp_path / "work")
    seen = index.class_groups().num_seen
    assert seen == (whole.classes.num_rows + 1) // 2
    assert set(rows(index)) == set(rows(whole))
    names, old_names = index.classes["name"].to_pylist(), whole.classes["name"].to_pylist()
    assert names[:seen] == sorted(names[:seen])
    assert names[seen:] == sorted(names[seen:])
    assert sorted(names) == sorted(old_names)
    old = rows(whole)
    for image_id, (split, label) in rows(index).items():
        assert names[label] == old_names[old[image_id][1]]
        assert (split == SPLIT_REPORT) == (label >= seen)
    described = dict(zip(old_names, whole.classes["description"].to_pylist(), strict=True))
    assert index.classes["description"].to_pylist() == [described[name] for name in names]
    pooled = [sum(index.class_counts(split)[label] for split in SPLITS) for label in range(seen)]
    assert index.class_counts(SPLIT_TRAIN)[:seen] == tuple(-(-7 * n // 10) for n in pooled)
    assert index.class_counts(SPLIT_SELECT)[:seen] == tuple(n - -(-7 * n // 10) for n in pooled)


@pytest.mark.parametrize("kind", ["cifar", "coco_captions", "inaturalist", "tiny_imagenet"])
def test_select_is_drawn_from_train_class_by_class_and_the_rare_classes_are_told(kind: str, tmp_path: Path) -> None:
    whole = made(kind, tmp_path / "data").index(tmp_path / "work")
    index = made(kind, tmp_path / "data", select_fraction=0.2).index(tmp_path / "work")
    counts = whole.class_counts(SPLIT_TRAIN)
    assert index.class_counts(SPLIT_SELECT) == tuple(n // 5 for n in counts)
    assert index.class_counts(SPLIT_TRAIN) == tuple(n - n // 5 for n in counts)
    assert index.class_counts(SPLIT_REPORT) == whole.class_counts(SPLIT_REPORT)
    rare = sum(0 < n < 5 for n in counts)
    assert rare > 0
    assert [f"{rare} of " in note for note in index.notes if "select_fraction" in note] == [True]


def test_draws_depend_on_names_and_seed_and_not_on_the_order_of_files() -> None:
    from orchestrator.datasets.draws import ranked

    names = [f"a/{i}.jpg" for i in range(50)]
    shuffled = random.Random(0).sample(names, len(names))
    assert ranked(shuffled, "seed 1") == ranked(names, "seed 1") != ranked(names, "seed 2")
    half = set(names[::2])
    assert [name for name in ranked(names, "seed 1") if name in half] == ranked(half, "seed 1")
