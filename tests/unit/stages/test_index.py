"""The stage `index`: what it tells, when it is made anew, and that later stages take a split of classes as it is."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.artifacts.storage import read_table
from orchestrator.captioners.texts import DescriptionFilesText
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.errors import DataError
from orchestrator.stages import index, line
from orchestrator.stages.context import Context
from orchestrator.stages.train import make_job
from orchestrator.training.run import train
from tests.smoke_line import SMOKE, quiet_context
from tests.tiny_datasets import list_file


def telling_context(root: Path, overrides: dict[str, Any]) -> tuple[Context, io.StringIO]:
    """A context of the smoke experiment with overrides, and what it prints."""
    context = quiet_context(with_overrides(load_experiment(SMOKE), overrides, "test"), root)
    said = io.StringIO()
    context.feedback.quiet, context.feedback.console = False, Console(file=said, width=400)
    return context, said


def test_counts_that_differ_from_the_published_ones_are_told_when_made_and_when_reused(tmp_path: Path) -> None:
    dataset = list_file(tmp_path / "data")
    for what in ("3 images", "reused"):
        context, said = telling_context(tmp_path / "runs", {"dataset": dataset})
        index.make(context)
        assert "note: this is not imagenet_lt as published: 15 train images, published 115,846" in said.getvalue(), what
    assert "reused" in said.getvalue()
    strict, _ = telling_context(tmp_path / "runs", {"dataset": dataset | {"strict_counts": True}})
    with pytest.raises(DataError, match="published 115,846"):
        index.make(strict)


def test_images_that_cannot_be_read_are_named_with_the_command_that_has_the_reasons(tmp_path: Path) -> None:
    dataset = list_file(tmp_path / "data")
    bad = sorted((tmp_path / "data").rglob("*.JPEG"))[0]
    bad.write_bytes(b"no image")
    context, said = telling_context(tmp_path / "runs", {"dataset": dataset})
    folder = index.make(context).folder
    [name] = read_table(folder / "quarantine.parquet")["image_id"].to_pylist()
    assert f"left out: {name} (orchestrator show {folder} has the reasons)" in said.getvalue()


def test_a_data_set_as_it_should_be_has_no_notes(tmp_path: Path) -> None:
    context, said = telling_context(tmp_path, {})
    index.make(context)
    assert "note:" not in said.getvalue()


def test_a_split_of_classes_goes_through_captions_embeddings_shards_and_few_shot_training(tmp_path: Path) -> None:
    overrides = {"dataset.ood_split": {"seed": 1, "shots": 2}, "image_teacher_views": 0}
    context, _ = telling_context(tmp_path, overrides)
    plans = line.run(context, "shard")
    data = index.load(context)
    assert data.class_groups() == index.class_groups(plans["index"].folder) == ClassGroups(3, 0, 6)
    assert data.class_counts("train")[3:] == (2, 2, 2)
    assert data.class_counts("select")[3:] == data.class_counts("report")[:3] == (0, 0, 0)
    captioned = read_table(plans["caption"].folder / "captions.parquet")["image_id"].to_pylist()
    job = make_job(context, context.experiment, plans, tmp_path / "student", "smoke/test/few_shot")
    assert (job.num_classes, job.num_seen_classes) == (6, 3)
    *_, last = train(job)
    assert last.epoch == 3
    assert set(captioned) == {r["image_id"] for r in data.images.to_pylist() if r["split"] == "train"}


def test_label_texts_of_the_ood_paper_follow_the_order_of_seen_and_unseen_classes(tmp_path: Path) -> None:
    context, _ = telling_context(tmp_path, {"dataset.ood_split": {"seed": 1}})
    index.make(context)
    classes = index.load(context).classes
    names = classes["name"].to_pylist()
    assert names != sorted(names)
    in_file = sorted(names, reverse=True)  # the order of the file is another one than that of the labels
    lines = [f"{name} {number} the_{name}_bird" for number, name in enumerate(in_file, start=1)]
    (tmp_path / "label2text.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "chatgpt.txt").write_text("\n\n".join(f"The {name} has wings." for name in in_file))
    labels, sentences = (str(tmp_path / name) for name in ("label2text.txt", "chatgpt.txt"))
    source = DescriptionFilesText(labels=labels, sentences=sentences)
    assert source.texts_of_classes(classes, None) == [
        (f"a photo of the {name} bird . The {name} has wings.",) for name in names
    ]
    (tmp_path / "chatgpt.txt").write_text("\n".join("The end." for _ in names[1:]))
    with pytest.raises(DataError, match=f"{len(names) - 1} sentences, .* but {len(names)} classes"):
        source.texts_of_classes(classes, None)
