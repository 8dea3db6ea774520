"""A commented experiment sheet for a folder that was looked at: a beginning that validates, runs, and can be read.

Writes one YAML file, and never over another. Knows nothing of stages.
"""

import json
import os
import re
import unicodedata
from pathlib import Path

from orchestrator.config.load import load_experiment
from orchestrator.errors import ConfigError
from orchestrator.guide.first_look import DRAFTED_REPORT_FRACTION, FirstLook
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_SELECT

SHEETS, SCHEMA = Path("jobs/experiments"), Path("schemas/experiment.json")
SMALL_SIDE = 96  # pixels; up to here a network made for small images suits


def draft(found: FirstLook, name: str | None, output: Path | None, *, force: bool = False) -> Path:
    """Write the sheet, and prove that it validates.

    Args:
        name: of the experiment; None: made of the folder's name.
        output: where; None: among the project's experiments, else here.
        force: write over a file.

    Raises:
        ConfigError: a file lies there already.
    """
    name = name or experiment_name(found.root)
    path = output or (SHEETS if SHEETS.is_dir() else Path()) / f"{name}.yaml"
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already", remedy="give --name or --output, or --force to write over it")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = sheet(found, name, path)
    staged = path.with_name(f".{path.name}.staged")
    staged.write_text(text, encoding="utf-8")
    try:
        load_experiment(staged)
    except ConfigError:
        staged.unlink()
        raise
    staged.rename(path)
    return path


def experiment_name(root: Path) -> str:
    """A name for an experiment from a folder's: small letters, digits, _ and -."""
    plain = unicodedata.normalize("NFKD", root.resolve().name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:40]
    return slug or "my_images"


def sheet(found: FirstLook, name: str, path: Path) -> str:
    """The text of the sheet."""
    small = found.median_side <= SMALL_SIDE
    image_size = 64 if small else 128
    num_train = sum(found.classes.values())
    batch = max(16, min(64, 2 ** max(3, (num_train // 4).bit_length() - 1)))
    epochs = 60 if num_train < 2000 else 30 if num_train < 20_000 else 12
    return f"""{_schema_line(path)}# Question: do captions help a student on the rare classes of {found.root.name}?
# Expected: unknown; `baseline` learns from labels alone, `distilled` from labels, class names and captions.
# Cost: `orchestrator plan {path}` says it, from a probe of your images whose captions are kept.
# Command: orchestrator run {path}
# Every setting is explained by `orchestrator explain`, for example `orchestrator explain losses.text`.
name: {name}
description: {_quoted(_described(found))}

{_dataset(found)}

# Who describes the images. The embedded VLM needs no download and no GPU, but it knows only its own drawn world, so its
# captions of photographs mean little: it shows that the line holds. A real one, from a directory or a model hub:
#   captioner: {{kind: transformers, model: /models/llava-v1.6-mistral-7b-hf, dtype: bfloat16, max_new_tokens: 100}}
captioner: {{kind: transformers, model: "embedded:tiny_vlm", max_new_tokens: 40}}
prompts: [general]                    # orchestrator list prompts

# What the student learns from beside labels; text_sources names those that the text loss reads.
texts:
  class_name: {{kind: class_name, template: "a photo of a {{class}}."}}
  general: {{kind: caption, prompt: general}}
text_sources: [class_name, general]
# Who makes vectors of the texts; real ones: docs/encoders.md
text_encoder: {{kind: open_clip, model: "embedded:tiny_clip"}}
image_teacher: null                   # an encoder of images to learn from as well: docs/teachers.md

image_size: {image_size:<27}# pixels; yours are {found.median_side} on the shorter side (median)
# orchestrator list students; with `pretrained: true` it starts from timm's weights, which are fetched
student: {{kind: timm, name: mobilenetv3_small_050}}
adaptor: {{depth: 1}}
losses:
  classification: {{kind: logit_adjusted_cross_entropy}}   # cross-entropy that does not forget rare classes
  text: {{kind: text_contrastive, weight: 0.3, merge_duplicates: true}}
training:
  epochs: {epochs}
  batch_size: {batch}
  optimizer: {{kind: adamw, learning_rate: 1.0e-3, weight_decay: 0.05}}
  schedule: {{warmup_fraction: 0.1}}
  views: {{pad: {image_size // 8}, flip: true}}       # flip: false where left and right matter (letters, signs)
  evaluate_every_epochs: {max(1, epochs // 6)}
  checkpoint_every_epochs: 1
# Variants of this experiment; the first is what the others are compared with.
arms:
  baseline: {{losses.text: null}}
  distilled: {{}}
# Uncomment to search the text loss's weight, temperature and depth first (docs/sweeps.md):
# sweep: {{space: search_spaces/text.yaml, arm: distilled}}
"""


def _dataset(found: FirstLook) -> str:
    root = _quoted(_root(found.root))
    lines = ["# Where the images are (docs/datasets.md).", "dataset:", "  kind: image_folder", f"  root: {root}"]
    if found.folders:
        named = ", ".join(f"{split}: {_quoted(folder)}" for split, folder in found.folders.items())
        lines.append(f"  folders: {{{named}}}    # our splits and your folders")
        for split, what in ((SPLIT_SELECT, "settings are chosen on it"), (SPLIT_REPORT, "results are reported on it")):
            if split not in found.folders:
                lines.append(f"  # there is no folder for the split {split}; {what}")
    else:
        lines += [
            "  select_fraction: 0.1    # of each class: settings are chosen on these images",
            f"  report_fraction: {DRAFTED_REPORT_FRACTION}    # of each class: results are reported on these",
        ]
    if found.empty:
        lines.append("  empty_classes: leave_out    # folders without an image, instead of an error")
    return "\n".join(lines)


def _described(found: FirstLook) -> str:
    counts = sorted(found.classes.values())
    return f"{len(counts)} classes of {counts[0]:,} to {counts[-1]:,} images, {found.num_images:,} in all."


def _root(root: Path) -> str:
    """Relative where the folder lies below the working directory, so that both can be moved together."""
    full, here = root.resolve(), Path.cwd()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(full)


def _schema_line(path: Path) -> str:
    """The line that lets editors check the sheet, where the schema is at hand."""
    if not SCHEMA.is_file():
        return ""
    return f"# yaml-language-server: $schema={Path(os.path.relpath(SCHEMA, path.parent)).as_posix()}\n"


def _quoted(text: str) -> str:
    """A text that YAML takes as it is, whatever it holds."""
    return json.dumps(text, ensure_ascii=False)
