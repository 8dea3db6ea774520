"""Quality and thresholds in the line: exactly the failing captions lose their rows, and the report shows it all."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json, read_table
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment
from orchestrator.errors import ConfigError, DataError
from orchestrator.stages import index, line, quality, report, report_captions, text_thresholds
from orchestrator.stages.context import Context, Plan
from tests.smoke_line import SMOKE, quiet_context

NUM_DAX, NUM_WUG = 24, 6  # Medium and Few
SIDES = range(8, 18)
FOLDERS = "{train: train, select: select, report: report}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images of two classes; the width, which captions tell, is told by some images of both classes."""
    root = tmp_path_factory.mktemp("data")
    for split, (dax, wug) in {"train": (NUM_DAX, NUM_WUG), "select": (3, 3), "report": (3, 3)}.items():
        for number in range(dax + wug):
            path = root / split / ("dax" if number < dax else "wug") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (8, SIDES[number % 10], 3), np.uint8)
            Image.fromarray(pixels).save(path)
    return root


def experiment_over(images: Path, *overrides: str) -> Experiment:
    """Smoke over these images; one prompt asks for the class, one always speaks of a dax, one is not embedded."""
    return load_experiment(
        SMOKE,
        [
            f"dataset={{kind: image_folder, root: '{images}', folders: {FOLDERS}}}",
            "captioner.text='{width} wide. {prompt}'",
            "custom_prompts={dax: 'It is a dax', unused: 'Say nothing twice'}",
            "prompts=[targeted_1, dax, unused]",
            "texts={dax: {kind: caption, prompt: dax}, targeted: {kind: caption, prompt: targeted_1}}",
            "text_sources=[dax]",
            "sweep=null",
            "training.epochs=1",
            "losses.text.merge_duplicates=true",
            *overrides,
        ],
    )


def made(context: Context, until: str) -> dict[str, Plan]:
    """The plans of the line up to a stage."""
    return line.run(context, until)


def test_a_threshold_drops_exactly_the_failing_rows_and_the_counts_add_up(images: Path, tmp_path: Path) -> None:
    without = made(quiet_context(experiment_over(images), tmp_path), "quality")
    before = read_table(without["embed"].folder / "text_rows.parquet").to_pylist()
    measures, _ = quality.load(without["quality"])
    assert not (without["embed"].folder / text_thresholds.DROPPED).exists()

    thresholds = "texts.dax.thresholds={must_name_class: true, drop_duplicates_across_classes: true}"
    plans = made(quiet_context(experiment_over(images, thresholds), tmp_path), "quality")
    after = read_table(plans["embed"].folder / "text_rows.parquet").to_pylist()
    # wugs number 24 to 29, so widths 12 to 17 are told of both classes; and no wug is named
    expected = {row["image_id"] for row in before if "wug" in row["image_id"]}
    expected |= {row["image_id"] for row in before if int(Path(row["image_id"]).stem) % 10 >= 4}
    assert {row["image_id"] for row in after if row["dax"] == -1} == expected
    kept = {row["image_id"]: row["dax"] for row in after if row["dax"] != -1}
    assert kept == {row["image_id"]: row["dax"] for row in before if row["image_id"] not in expected}
    assert [row["targeted"] for row in after] == [row["targeted"] for row in before]

    manifest = read_manifest(plans["embed"].folder)
    assert manifest is not None
    counts = {name: number for name, number in manifest.counts.items() if "_dropped" in name}
    doubled = len(expected) - NUM_WUG
    assert counts == {
        "dax_dropped": len(expected),
        "dax_dropped_must_name_class": NUM_WUG,
        "dax_dropped_drop_duplicates_across_classes": doubled,
    }
    told = read_json(plans["embed"].folder / text_thresholds.THRESHOLDS)["dax"]
    assert told["fails"]["drop_duplicates_across_classes"] == len(expected)
    assert told["groups"]["few"] == {"captions": NUM_WUG, "dropped": NUM_WUG}
    assert told["groups"]["medium"] == {"captions": NUM_DAX, "dropped": doubled}
    again, _ = quality.load(plans["quality"])
    assert again.equals(measures)  # dropped captions are measured and scored as before


def test_captions_below_the_clip_score_are_dropped_and_those_above_kept(images: Path, tmp_path: Path) -> None:
    plans = made(quiet_context(experiment_over(images), tmp_path), "quality")
    measures, _ = quality.load(plans["quality"])
    scores = measures[(measures["prompt"] == "targeted_1") & (measures["split"] == "train")].set_index("image_id")
    bound = float(scores["clip_score"].quantile(0.8))
    assert bound > 0
    below = set(scores.index[scores["clip_score"] < bound])
    assert 0 < len(below) < len(scores)
    changed = experiment_over(images, f"texts.targeted.thresholds={{min_clip_score: {bound!r}}}")
    plans = made(quiet_context(changed, tmp_path), "embed")
    rows = read_table(plans["embed"].folder / "text_rows.parquet").to_pylist()
    assert {row["image_id"] for row in rows if row["targeted"] == -1} == below


def test_a_permuted_source_loses_the_same_captions_as_its_original(images: Path, tmp_path: Path) -> None:
    thresholds = "thresholds: {must_name_class: true, min_clip_score: 0.1}"
    given = {"plain": "none", "over_all": "all", "within": "within_class"}
    texts = ", ".join(f"{n}: {{kind: caption, prompt: dax, permute: {p}, {thresholds}}}" for n, p in given.items())
    context = quiet_context(experiment_over(images, f"texts={{{texts}}}", "text_sources=[plain]"), tmp_path)
    folder = made(context, "quality")["embed"].folder
    rows = read_table(folder / "text_rows.parquet")
    assert 0 < Counter(rows["plain"].to_pylist())[-1] < rows.num_rows
    for name in ("over_all", "within"):
        assert Counter(rows[name].to_pylist()) == Counter(rows["plain"].to_pylist())
        assert rows[name].to_pylist() != rows["plain"].to_pylist()
    dropped = read_table(folder / text_thresholds.DROPPED).to_pylist()
    by_source = {name: [row["image_id"] for row in dropped if row["source"] == name] for name in given}
    assert by_source["plain"] == by_source["over_all"] == by_source["within"]


def test_joined_answers_are_judged_as_one_text_and_are_no_embedding_of_either(images: Path, tmp_path: Path) -> None:
    both = "both: {kind: caption, prompt: [dax, unused], thresholds: {min_words: 11, max_words: 11}}"
    context = quiet_context(experiment_over(images, f"texts={{{both}}}", "text_sources=[both]"), tmp_path)
    plans = made(context, "quality")  # "8 wide. It is a dax 8 wide. Say nothing twice": 11 words, dropped were it two
    told = read_json(plans["embed"].folder / text_thresholds.THRESHOLDS)["both"]
    assert (told["prompt"], told["dropped"]) == ("dax + unused", 0)
    measures, sums = quality.load(plans["quality"])
    assert measures["clip_score"].isna().all()
    assert "no text source holds just its captions" in sums["unscored"][0]


def test_thresholds_that_drop_everything_or_cannot_be_measured_are_refused(images: Path, tmp_path: Path) -> None:
    nothing = experiment_over(images, "texts.dax.thresholds={min_words: 99}")
    with pytest.raises(DataError, match=r"texts\.dax\.thresholds drop every one of 30 captions \(fail: min_words 30\)"):
        made(quiet_context(nothing, tmp_path), "embed")
    score = "texts.dax.thresholds={min_clip_score: 0.5}"
    with pytest.raises(ConfigError, match="without image_teacher"):
        experiment_over(images, score, "image_teacher=null", "losses.image=null")
    with pytest.raises(ConfigError, match="image_teacher and text_encoder differ"):
        experiment_over(images, score, "image_teacher.dim=8")
    experiment_over(images, score, "image_teacher.logit_scale=7")


def test_captions_that_cannot_be_scored_are_measured_all_the_same_and_the_sums_say_why(
    images: Path, tmp_path: Path
) -> None:
    experiment = experiment_over(images, "caption_splits=[train, select]")
    measures, sums = quality.load(made(quiet_context(experiment, tmp_path), "quality")["quality"])
    assert len(measures) == 3 * 36
    scored = measures["clip_score"].notna()
    assert set(measures["prompt"][scored]) == {"dax", "targeted_1"}
    assert set(measures["split"][scored]) == {"train"}
    assert scored.sum() == 60
    assert [note.split(":")[0] for note in sums["unscored"]] == [
        "No CLIP score for unused", "No CLIP score outside the training split",
    ]  # fmt: skip
    assert sums["prompts"]["unused"]["all"]["clip_score_mean"] is None
    assert sums["prompts"]["dax"]["few"]["captions"] == sums["prompts"]["dax"]["few"]["images"] == 9
    assert sums["class_in_prompt"] == ["targeted_1"]

    apart = experiment_over(images, "image_teacher=null", "losses.image=null")
    measures, sums = quality.load(made(quiet_context(apart, tmp_path), "quality")["quality"])
    assert measures["clip_score"].isna().all()
    assert "are not one encoder" in sums["unscored"][0]


def test_the_report_holds_the_tables_and_the_gallery_and_loads_nothing(images: Path, tmp_path: Path) -> None:
    thresholds = "texts.dax.thresholds={must_name_class: true}"
    context = quiet_context(experiment_over(images, thresholds), tmp_path)
    plans = made(context, "report")
    page = (plans["report"].folder / report.HTML).read_text()
    section = page[page.index('<section id="captions"') : page.index('<section id="made"')]
    assert "Caption quality by prompt and frequency group" in section
    assert section.count("asked with the class") == 1
    assert "rare classes lose more of their text" in section
    assert "must name class: 6" in section
    assert section.count("<details>") == 3
    pictures = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', section)
    assert 10 < len(pictures) <= 20
    assert all(source.startswith("data:image/webp;base64,") and words for source, words in pictures)
    assert sum(len(source) for source, _ in pictures) < 2 * 1024 * 1024
    for why in ("best", "median", "worst"):
        assert f"{why} by CLIP score" in section
    assert '<span class="flag good">names the class</span>' in section
    assert '<span class="flag bad">said of another class</span>' in section
    assert not re.search(r"(?:src|href|action|srcset)=\"(?!data:image/webp;base64,|#)", section)
    assert "http" not in section
    assert all(f'data-for="{name}"' in page for name in ("caption:words", "caption:clip"))
    _, cards = report_captions.collect(plans, index.load(context), max_gallery_bytes=3000)
    assert 0 < len(cards) < len(pictures)
    data = report.load(plans["report"])
    assert data.caption_quality is not None
    assert [row.group for row in data.caption_quality.prompts if row.prompt == "dax"] == ["All", "Medium", "Few"]
    assert data.caption_quality.thresholds[0].is_lopsided()
