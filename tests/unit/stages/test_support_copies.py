"""Retrieval over copies of support images: the teacher's rows of the very views, paid once, in the formula."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from orchestrator import vocabulary as v
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.storage import read_json
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.evaluation.few_shot import retrieval_scores
from orchestrator.stages import index, line
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.support_copies import encoded_copies, support_copies
from orchestrator.teachers import HashedEncoderSettings
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.training.augmentations import draw_augmented
from orchestrator.training.data import load_split
from orchestrator.training.draws import image_keys
from orchestrator.training.student_file import STUDENT, load_student
from orchestrator.training.teacher_views import render_for_teacher, teacher_frame
from orchestrator.training.view_settings import AugmentedViews
from orchestrator.training.views import scale_pixels
from tests.smoke_line import SMOKE, quiet_context

SHOTS, COPIES, NUM_SEEN, NUM_CLASSES = 2, 3, 3, 6
MEASURE = {"evaluation.measures": ["few_shot_retrieval"]}
WORLD: dict[str, Any] = {
    "name": "copies",
    "dataset.ood_split": {"seed": 1, "shots": SHOTS},
    "image_teacher_views": 0,
    "text_sources": [],
    "sweep": None,
    "student": {"kind": "tiny", "width": 8, "embedding": {}},
    "losses": {"classes": {"kind": "embedding_cross_entropy"}},
    "training.epochs": 1,
    "arms": {
        "plain": {**MEASURE, "evaluation.few_shot_copies": 0},
        "copies": {**MEASURE, "evaluation.few_shot_copies": COPIES},
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, dict[str, Plan]]:
    """The line up to the evaluations of both arms."""
    experiment = with_overrides(load_experiment(SMOKE), WORLD, "test")
    context = quiet_context(experiment, tmp_path_factory.mktemp("copies"))
    return context, line.run(context, "evaluate")


def test_a_copy_is_the_teachers_row_of_randaugment_and_a_crop_drawn_by_seed_and_image(
    finished: tuple[Context, dict[str, Plan]], tmp_path: Path
) -> None:
    context, _ = finished
    found = support_copies(context, COPIES, tmp_path)
    images = index.load(context).images
    support = images.filter(pc.and_(pc.equal(images["split"], "train"), pc.greater_equal(images["label"], NUM_SEEN)))
    rows = support.to_pylist()
    assert found.shape == (SHOTS * (NUM_CLASSES - NUM_SEEN), COPIES, 16)
    encoder, seed = HashedEncoderSettings(dim=16).build_image(), context.experiment.training.data_seed
    for number, row in enumerate(rows):
        frame = teacher_frame(decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"])))
        for copy in range(COPIES):
            drawn = draw_augmented(image_keys([row["image_id"]]), AugmentedViews(recipe="ood_vit"), seed, copy)
            expected = encoder([render_for_teacher(frame, drawn)])[EMBEDDING][0]
            np.testing.assert_allclose(found[number, copy], expected, atol=1e-3)  # kept in half precision
    assert len(np.unique(found.reshape(-1, 16), axis=0)) == len(rows) * COPIES


def test_copies_are_paid_once_and_more_of_them_cost_only_what_is_new(
    finished: tuple[Context, dict[str, Plan]], tmp_path: Path
) -> None:
    context, _ = finished
    assert encoded_copies(context, COPIES).make_missing(context, folder=tmp_path) == 0  # the evaluation has made them
    before = support_copies(context, COPIES, tmp_path)
    more = encoded_copies(context, COPIES + 1)
    assert more.make_missing(context, folder=tmp_path) == more.images.num_rows
    np.testing.assert_array_equal(support_copies(context, COPIES + 1, tmp_path)[:, :COPIES], before)


@pytest.mark.parametrize("arm", ["plain", "copies"])
def test_the_measure_is_the_formula_over_the_images_and_their_copies(
    arm: str, finished: tuple[Context, dict[str, Plan]], tmp_path: Path
) -> None:
    context, plans = finished
    report, train = (load_split(plans["shard"].folder, split) for split in (v.SPLIT_REPORT, v.SPLIT_TRAIN))
    made = Embeddings(plans["embed"].folder)
    of_train = np.array(made.open(f"images/train/{EMBEDDING}").array, np.float32)
    unseen = train.labels >= NUM_SEEN
    stored = of_train[unseen][:, None]
    if arm == "copies":
        stored = np.concatenate([stored, support_copies(context, COPIES, tmp_path)], axis=1)
    text = made.vectors("classes")
    assert text is not None
    offered = torch.from_numpy(np.array(text[NUM_SEEN:], np.float32))
    student = load_student(plans[f"train/{arm}"].folder / STUDENT).eval()
    with torch.no_grad():
        shown = torch.nn.functional.normalize(
            student(scale_pixels(np.array(report.pixels)))[v.STUDENT_EMBEDDING], dim=1
        )
    support = torch.nn.functional.normalize(torch.from_numpy(stored), dim=2)
    told = read_json(plans[f"evaluate/{arm}"].folder / "evaluation.json")["measures"]
    truth = torch.from_numpy(report.labels) - NUM_SEEN
    of_class = torch.from_numpy(train.labels[unseen]) - NUM_SEEN
    for name, as_code in (("few_shot_retrieval", False), ("few_shot_retrieval_as_code", True)):
        hits = retrieval_scores(shown, offered, support, of_class, as_code=as_code).argmax(1) == truth
        expected = np.mean([float(hits[truth == number].float().mean()) for number in truth.unique()])
        assert told[f"report/{name}"] == pytest.approx(expected, abs=1e-9)
