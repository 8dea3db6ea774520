"""Whether the measures that an experiment names can be taken of its data and its teachers, before a student is trained.

Reads the index and the header of the embeddings, where they are finished. Knows nothing of students' networks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.manifest import Status
from orchestrator.artifacts.storage import read_table
from orchestrator.config.load import arm_experiment
from orchestrator.config.measurable import Sizes, unmeasurable_sizes
from orchestrator.errors import ConfigError
from orchestrator.stages import index
from orchestrator.stages.context import Context, Plan
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.vocabulary import SPLITS


def check(context: Context, plans: Mapping[str, Plan]) -> None:
    """Refuse measures that cannot be taken, as far as the finished artifacts tell.

    Raises:
        ConfigError: all of them, by arm, each with what is missing and the setting that supplies it.
    """
    if plans["index"].status() is not Status.REUSE:
        return
    sizes = _sizes(context, plans)
    problems = [
        f"arms.{arm}: {told}"
        for arm in context.experiment.arms
        for told in unmeasurable_sizes(arm_experiment(context.experiment, arm), sizes)
    ]
    if problems:
        raise ConfigError("; ".join(problems), expected="measures that can be taken of every arm")


def _sizes(context: Context, plans: Mapping[str, Plan]) -> Sizes:
    splits = read_table(plans["index"].folder / "images.parquet", columns=["split"])["split"].to_pylist()
    names, counts = np.unique(splits, return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    encoders: Mapping[str, Mapping[str, Any]] = {}
    if "embed" in plans and plans["embed"].status() is Status.REUSE:
        encoders = Embeddings(plans["embed"].folder, context.hot_copies).header.encoders
    teacher_dim, text_dim = (
        int(encoders.get(name, {}).get("dims", {}).get(EMBEDDING, [0])[0]) for name in ("image_teacher", "text_encoder")
    )
    num_images = {split: int(found.get(split, 0)) for split in SPLITS}
    return Sizes(index.class_groups(plans["index"].folder).num_classes, num_images, teacher_dim, text_dim)
