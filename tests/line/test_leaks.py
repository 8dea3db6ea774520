"""`orchestrator leaks` on a folder of images with planted copies: each is found, and nothing else."""

import json
from pathlib import Path

import pyarrow as pa
from PIL import Image
from typer.testing import CliRunner

from orchestrator.artifacts.manifest import write_manifest
from orchestrator.artifacts.storage import read_table, write_table
from orchestrator.cli import app
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.stages import leaks, line
from tests.smoke_line import SMOKE, quiet_context
from tests.unit.evaluation.test_near_duplicates import recompressed, smooth_images


def _photos(root: Path, *, planted: bool) -> None:
    images = smooth_images(24, seed=3)
    for number, image in enumerate(images):
        split = "train" if number < 12 else "select" if number < 16 else "report"
        path = root / split / ("dax", "wug")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    if planted:
        (root / "report" / "dax" / "copy.png").write_bytes((root / "train" / "dax" / "0.png").read_bytes())
        Image.fromarray(recompressed(images[3])).save(root / "report" / "wug" / "near.png")


def _line(tmp_path: Path, name: str) -> Path:
    dataset = {"kind": "image_folder", "root": str(tmp_path / name),
               "folders": {"train": "train", "select": "select", "report": "report"}}  # fmt: skip
    changed = {"name": name, "dataset": dataset, "sweep": None, "image_teacher_views": 0, "text_sources": ["targeted"],
               "texts": {"targeted": {"kind": "caption", "prompt": "targeted_1"}}}  # fmt: skip
    experiment = with_overrides(load_experiment(SMOKE), changed, "test")
    line.run(quiet_context(experiment, tmp_path / "runs"), "shard")
    return tmp_path / "runs" / name


def test_planted_copies_and_label_words_are_found_and_a_clean_experiment_has_none(
    tmp_path: Path,
) -> None:
    _photos(tmp_path / "clean", planted=False)
    assert leaks.find(_line(tmp_path, "clean")) == []
    _photos(tmp_path / "dirty", planted=True)
    folder = _line(tmp_path, "dirty")
    captions = read_table(folder / "captions" / "captions.parquet")
    row = {
        "key": "k",
        "image_id": "report/wug/17.png",
        "split": "report",
        "prompt": "general",
        "prompt_text": "Describe.",
    }
    more = [{**row, "caption": "two wugs on a hill"}, {**row, "caption": "a hill"}]
    added = pa.Table.from_pylist(more, schema=captions.schema)
    write_table(folder / "captions" / "captions.parquet", pa.concat_tables([captions, added]))
    ended = CliRunner().invoke(app, ["leaks", "dirty", "--root", str(tmp_path / "runs"), "--json"])
    told = {one["kind"]: one for one in map(json.loads, ended.stdout.splitlines())}
    assert ended.exit_code == 1
    assert sorted(told) == ["exact_duplicates", "label_words", "near_duplicates"]
    assert told["exact_duplicates"]["examples"] == ["report/dax/copy.png is train/dax/0.png"]
    assert told["near_duplicates"]["examples"][0].startswith("report/wug/near.png looks like train/wug/3.png")
    assert (told["exact_duplicates"]["count"], told["near_duplicates"]["count"], told["label_words"]["count"]) == (
        1,
        1,
        1,
    )
    assert told["label_words"]["examples"] == ["report/wug/17.png: two wugs on a hill"]
    assert "1 images of report are byte for byte in train" in leaks.summary(leaks.find(folder, look_at_pixels=False))


def test_a_perfect_score_is_suspicious_only_over_enough_images(tmp_path: Path) -> None:
    for name, images in (("few", 10), ("many", 200)):
        counts = {"report": images, "select": images, "train": 1, "classes": 1, "quarantined": 0}
        folder = tmp_path / name / "evaluations" / "distilled"
        folder.mkdir(parents=True)
        metrics = {"report/all": 1.0, "report/few": 1.0}
        write_manifest(folder, stage="evaluate", settings={}, parents={}, counts={}, seconds=0, metrics=metrics)
        (tmp_path / name / "index").mkdir()
        write_manifest(tmp_path / name / "index", stage="index", settings={}, parents={}, counts=counts, seconds=0)
    assert list(leaks.perfect_scores(tmp_path / "few")) == []
    assert [one.examples for one in leaks.perfect_scores(tmp_path / "many")] == [
        ("evaluations/distilled report/all 1.0000",)
    ]
