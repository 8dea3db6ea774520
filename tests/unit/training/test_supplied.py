"""What the settings promise of a batch is what the batch of a real run holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config.composition import problems_of, supplied
from orchestrator.config.load import with_overrides
from orchestrator.students.networks.student import IMAGE
from orchestrator.training.assembly import build_model
from orchestrator.training.data import load_split, load_teacher
from orchestrator.training.loop import Trainer
from orchestrator.training.model import MORE_VIEWS, check_inputs, made_by
from orchestrator.training.order import Place
from tests.smoke_line import SmokeLine, make_smoke_line

EVERYTHING: dict[str, Any] = {
    "image_teacher.outputs": ["embedding", "feature", "tokens"], "domain_texts": ["a dark {class}.", "a {class}."],
    "losses": {"classification": {"kind": "logit_adjusted_cross_entropy"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def rich_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """The smoke line with every output of the teacher, and domain texts."""
    return make_smoke_line(tmp_path_factory.mktemp("rich_line"), overrides=EVERYTHING)


@pytest.mark.parametrize("kind", ["plain", "rich"])
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"text_sources": []},
        {"training.mixing": {"mixup_alpha": 0.8}, "losses.image": None},
        {"student": {"kind": "attention"}, "losses": {"match": {"kind": "similarity_matching"}}},
        {"student": {"kind": "tiny", "width": 8, "embedding": {}}, "training.more_views": [{"kind": "shift"}]},
    ],
    ids=["as-it-is", "no-texts", "mixing", "two-tower", "views"],
)
def test_settings_tell_what_a_batch_and_a_student_will_hold(
    smoke_line: SmokeLine, rich_line: SmokeLine, tmp_path: Path, kind: str, overrides: dict[str, Any]
) -> None:
    line = {"plain": smoke_line, "rich": rich_line}[kind]
    if "text_sources" in overrides:
        overrides = {**overrides, "losses.text": None}
    experiment = with_overrides(line.context.experiment, overrides, "test")
    job = line.job(tmp_path / "job", overrides)
    images = load_split(Path(job.shards), "train")
    teacher = load_teacher(Path(job.embeddings), job.text_sources, None, job.num_classes)
    model = build_model(job, tuple(np.bincount(images.labels).tolist()), teacher.dims, num_domains=2)
    import torch

    trainer = Trainer(model, job.training, images, teacher, device=torch.device("cpu"), num_classes=job.num_classes)
    batch = trainer.make_batch(np.arange(4), Place(0, 0))
    promised = supplied(experiment)
    assert set(batch) - {IMAGE, MORE_VIEWS} == promised
    with_views = bool(job.training.more_views)
    check_inputs(model, promised, with_views=with_views)
    assert problems_of(experiment) == []
    made = model.inputs(batch)
    read = model.objective.required_inputs()
    assert read <= set(made)
    assert read <= promised | made_by(model, with_views=with_views)
