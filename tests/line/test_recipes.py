"""The small twins of the recipes: each walks the whole line in process, over few images and a single epoch.

Every arm's losses are computed and finite, its student is evaluated, and the report has a row for it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from jobs.teachers_extra import main as make_extra_teachers
from orchestrator.artifacts.storage import read_json
from orchestrator.config.composition import check_composition
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment, load_experiment, with_overrides
from orchestrator.stages import line
from orchestrator.stages.evaluate import EVALUATION
from orchestrator.students.networks.mae_checkpoint import convert_mae
from orchestrator.training.run import HISTORY
from tests.smoke_line import PROJECT, quiet_context

SHEETS = PROJECT / "jobs" / "experiments"
FEWER: Mapping[str, Any] = {
    "dataset.num_classes": 8, "dataset.max_count": 12, "dataset.num_select_per_class": 2,
    "dataset.num_report_per_class": 3, "training.epochs": 1, "training.batch_size": 16, "training.keep_last_epochs": 1,
    "training.evaluate_every_epochs": 1, "training.checkpoint_every_epochs": 1,
}  # fmt: skip
SHIPPED = (
    "proco_imagenet_lt_small", "proco_inaturalist_2018_small", "rise_imagenet_lt_small", "gpaco_places_lt_small",
    "gpaco_imagenet_lt_small", "nyu_coco_clip_small",
)  # fmt: skip


def shortened(name: str, **changes: Any) -> Experiment:
    """The twin `name` with the fewest images and steps that it walks with."""
    experiment = load_experiment(SHEETS / f"{name}.yaml")
    fewer = {**FEWER, **changes}
    if experiment.teacher_tuning is not None:
        fewer["teacher_tuning.epochs"] = 1
    if experiment.training.schedule.kind == "epoch_cosine":
        fewer["training.schedule.warmup_epochs"] = 0
    return with_overrides(experiment, fewer, name)


def some_arms(experiment: Experiment, *names: str) -> Experiment:
    return experiment.model_copy(update={"arms": {name: experiment.arms[name] for name in names}})


def walked(experiment: Experiment, root: Path) -> dict[str, dict[str, Any]]:
    """The whole line below `root`; what was evaluated, by arm. Fails where a loss was not computed."""
    check_composition(experiment)
    plans = line.run(quiet_context(experiment, root), "report")
    found = {}
    for arm in experiment.arms:
        last = read_json(plans[f"train/{arm}"].folder / HISTORY)[-1]
        for loss in arm_experiment(experiment, arm).losses:
            assert math.isfinite(last[f"train/{loss}"]), f"{arm}: {loss}"
        found[arm] = read_json(plans[f"evaluate/{arm}"].folder / EVALUATION)
    report = read_json(plans["report"].folder / "report.json")
    assert [row["name"] for row in report["arms"]] == list(experiment.arms)
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_a_twin_walks_the_whole_line(name: str, tmp_path: Path) -> None:
    experiment = shortened(name)
    for arm, evaluated in walked(experiment, tmp_path).items():
        measured = evaluated["measures"] if "retrieval" in experiment.evaluation.measures else evaluated["metrics"]
        told = "report/in_batch_acc@64" if "retrieval" in experiment.evaluation.measures else "all"
        assert 0 <= measured[told] <= 1, arm


def test_livt_s_twin_starts_from_a_converted_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = timm.create_model("test_vit", num_classes=0, img_size=64)
    torch.save({"model": {**encoder.state_dict(), "mask_token": torch.zeros(1, 1, 8)}}, tmp_path / "mae.pth")
    convert_mae(tmp_path / "mae.pth", tmp_path / "mae.safetensors", model="test_vit", image_size=64)
    checkpoint = str(tmp_path / "mae.safetensors")
    evaluated = walked(shortened("livt_imagenet_lt_small", **{"student.checkpoint": checkpoint}), tmp_path / "runs")
    assert set(evaluated) == {"base", "kd_t", "kd_i", "kd_i_t", "g_t1"}


def test_the_vit_of_the_ood_twin_goes_on_with_five_images_of_each_unseen_class(tmp_path: Path) -> None:
    zero = walked(shortened("ood_vit_small"), tmp_path)
    few = shortened("ood_few_shot_vit_small")
    arms = {
        arm: {**changes, "student.checkpoint": str(tmp_path / f"ood_vit_small/arms/{arm}/student.safetensors")}
        for arm, changes in few.arms.items()
    }
    evaluated = walked(few.model_copy(update={"arms": arms}), tmp_path)
    for arm, told in evaluated.items():
        # the student that a training starts from is the one that the first twin ended with, on other unseen images
        assert 0 <= told["measures"]["report/start_few_shot_retrieval"] <= 1
        assert math.isfinite(zero[arm]["metrics"]["unseen_mean_per_class"])


def test_the_twins_of_other_teachers_walk_the_line_with_teachers_of_a_few_steps(tmp_path: Path) -> None:
    made, work = tmp_path / "teachers-extra", tmp_path / "teachers"
    make_extra_teachers(["--quick", "--part", "blip", "--part", "dino", "--output", str(made), "--work", str(work)])
    blip, dino = str(made / "blip"), str(made / "dino")
    clip = shortened("nyu_coco_blip_small", **{"text_encoder.model": blip, "image_teacher.model": blip})
    walked(some_arms(clip, "projection", "cbam"), tmp_path / "runs")
    vision = shortened("nyu_tiny_imagenet_small", **{"image_teacher.model": dino})
    for arm, told in walked(some_arms(vision, "projection", "attention", "resnet"), tmp_path / "runs").items():
        assert ("report/self_match_acc" in told["measures"]) == (arm != "resnet")
