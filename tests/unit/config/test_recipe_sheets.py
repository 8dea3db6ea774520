"""The sheets of the papers' recipes: every value that the papers tell stands in them, and their students build."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.composition import blueprint, check_composition, supplied
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment, load_experiment
from orchestrator.training.optimizer import build_optimizer

SHEETS = Path(__file__).resolve().parents[3] / "jobs" / "experiments"
TWINS = {
    "proco_imagenet_lt": "proco_imagenet_lt_small", "proco_inaturalist_2018": "proco_inaturalist_2018_small",
    "rise_imagenet_lt": "rise_imagenet_lt_small", "gpaco_places_lt": "gpaco_places_lt_small",
    "gpaco_imagenet_lt": "gpaco_imagenet_lt_small", "livt_imagenet_lt": "livt_imagenet_lt_small",
    "ood_resnet18": "ood_small", "ood_vit_b32": "ood_vit_small", "ood_few_shot_resnet18": "ood_few_shot_small",
    "ood_few_shot_vit_b32": "ood_few_shot_vit_small", "nyu_coco_clip": "nyu_coco_clip_small",
    "nyu_coco_blip": "nyu_coco_blip_small", "nyu_tiny_imagenet_dino": "nyu_tiny_imagenet_small",
    "nyu_tiny_imagenet_beit": "nyu_tiny_imagenet_small",
}  # fmt: skip

SGD = {"kind": "sgd", "momentum": 0.9, "nesterov": False, "decay_all": True}
PROCO = {
    "student.classifier": {"kind": "cosine", "reads": "feature", "scale": 30.0},
    "losses.classification.tau": 1.0,
    "losses.contrast.temperature": 0.07,
    "losses.contrast.head_dim": 1024,
    "losses.contrast.head_hidden_dim": None,
    "losses.contrast.head_batch_norm": True,
    "training.schedule": {"kind": "epoch_cosine", "warmup_epochs": 0},
    "training.views.recipe": "randcls",
}
GPACO = {
    "losses.parametric.kind": "gpaco", "losses.parametric.temperature": 0.2, "losses.parametric.queue_size": 8192,
    "losses.parametric.head_dim": 128, "losses.parametric.head_depth": 2, "losses.parametric.head_batch_norm": False,
    "losses.parametric.beta": 1.0, "losses.parametric.gamma": 1.0, "losses.parametric.supt": 1.0,
}  # fmt: skip
NYU: dict[str, Any] = {
    "training.epochs": 10, "training.batch_size": 64, "training.optimizer.kind": "adamw",
    "training.optimizer.learning_rate": 1e-4, "training.optimizer.weight_decay": 0.01,
}  # fmt: skip
Case = tuple[str, str, dict[str, Any]]
TOLD: list[Case] = [  # sheet, arm, what sections 3, 6 and 11 of the specification tell
    ("proco_imagenet_lt", "proco_90", {
        **PROCO, "student.name": "resnet50", "training.epochs": 90, "training.batch_size": 256,
        "training.optimizer": {**SGD, "learning_rate": 0.1, "weight_decay": 5e-4},
    }),
    ("proco_imagenet_lt", "proco_180", {"training.epochs": 180, "training.batch_size": 256}),
    ("proco_imagenet_lt", "proco_90_x50", {"student.name": "resnext50_32x4d"}),
    ("proco_imagenet_lt", "kd_i_t", {
        **PROCO, "training.epochs": 180, "training.batch_size": 1024, "losses.text.temperature": 0.07,
        "training.optimizer": {**SGD, "learning_rate": 0.4, "weight_decay": 5e-4}, "adaptor.depth": 1,
        "losses.text.weight": 1.0, "losses.image.weight": 1.0, "losses.image.direction": "teacher_to_student",
    }),
    ("proco_imagenet_lt", "kd_i_t_r18", {"student.name": "resnet18"}),
    ("proco_inaturalist_2018", "proco_90", {
        **PROCO, "training.epochs": 90, "training.batch_size": 256,
        "training.optimizer": {**SGD, "learning_rate": 0.2, "weight_decay": 1e-4},
        "student.pixel_mean": (0.466, 0.471, 0.380), "student.pixel_std": (0.195, 0.194, 0.192),
    }),
    ("proco_inaturalist_2018", "kd_i_t", {
        **PROCO, "training.epochs": 90, "training.batch_size": 512, "texts.general.prompt": "prompt_long",
        "training.optimizer": {**SGD, "learning_rate": 0.1, "weight_decay": 1e-4},
    }),
    ("rise_imagenet_lt", "rise", {
        **PROCO, "losses.rise.temperature": 3.0, "losses.rise.ce_weight": 0.0, "class_text.ensemble": "rise",
        "losses.rise.relative_factor": 10.0, "losses.rise.logit_scale": 100.0,
    }),
    ("gpaco_places_lt", "kd_i_t", {
        **GPACO, "training.epochs": 60, "training.batch_size": 256, "losses.parametric.alpha": 0.02,
        "training.optimizer": {**SGD, "learning_rate": 0.02, "weight_decay": 5e-4},
        "training.schedule": {"kind": "epoch_cosine", "warmup_epochs": 5}, "training.precision": "fp16",
        "training.views.recipe": "sim", "student.name": "resnet152.tv_in1k", "student.pretrained": True,
    }),
    ("gpaco_places_lt", "gpaco_30", {"training.epochs": 30, "training.batch_size": 128}),
    ("gpaco_imagenet_lt", "gpaco", {
        **GPACO, "training.epochs": 400, "training.batch_size": 128, "losses.parametric.alpha": 0.045,
        "training.optimizer": {**SGD, "learning_rate": 0.04, "weight_decay": 5e-4},
        "training.schedule": {"kind": "epoch_cosine", "warmup_epochs": 10}, "training.views.recipe": "randcls",
    }),
    ("livt_imagenet_lt", "kd_i_t", {
        "training.epochs": 100, "training.batch_size": 2048, "training.optimizer.kind": "adamw",
        "training.optimizer.learning_rate": 2048 / 256 * 1e-3, "training.optimizer.beta1": 0.9,
        "training.optimizer.beta2": 0.999, "training.optimizer.weight_decay": 0.05,
        "training.optimizer.layer_decay": 0.75, "training.views.recipe": "livt", "student.drop_path": 0.1,
        "training.schedule": {"kind": "livt", "warmup_epochs": 5.0, "final_learning_rate": 1e-6},
        "training.mixing.mixup_alpha": 0.8, "training.mixing.cutmix_alpha": 1.0,
        "training.mixing.label_smoothing": 0.1, "student.global_pool": "avg", "student.classifier.reads": "adaptor",
        "losses.classification.kind": "balanced_binary_cross_entropy", "losses.classification.tau": 1.0,
    }),
    ("livt_imagenet_lt", "base", {"student.classifier.reads": "feature"}),
    ("ood_resnet18", "code", {
        "training.epochs": 90, "training.batch_size": 128, "training.passes_per_epoch": 5,
        "training.optimizer": {**SGD, "learning_rate": 0.05, "weight_decay": 1e-4}, "framing": "stretch",
        "training.schedule.milestones": (30, 60), "training.schedule.gamma": 0.1, "student.pretrained": False,
        "training.views.recipe": "ood_resnet", "training.keep_last_epochs": 5, "image_teacher_views": 0,
        "losses.classes.temperature": 0.07, "losses.images.temperature": 0.07, "losses.images.mode": "bidirectional",
        "losses.proximity.k": 256, "losses.proximity.filter": "teacher_correct", "frame_size": 256,
    }),
    ("ood_vit_b32", "code", {
        "training.epochs": 90, "training.batch_size": 128, "training.optimizer.kind": "adamw",
        "training.optimizer.learning_rate": 1e-4, "training.optimizer.weight_decay": 0.01,
        "training.schedule.kind": "one_cycle", "training.views.recipe": "ood_vit", "training.passes_per_epoch": 5,
    }),
    ("ood_few_shot_resnet18", "code", {
        "training.epochs": 20, "training.optimizer.learning_rate": 1e-3, "training.schedule.kind": "one_cycle",
        "training.sampler.kind": "few_shot", "dataset.ood_split.shots": 5, "training.passes_per_epoch": 1,
    }),
    ("ood_few_shot_vit_b32", "code", {
        "training.epochs": 20, "training.optimizer.learning_rate": 2e-4, "training.schedule.kind": "one_cycle",
        "training.sampler.kind": "few_shot", "dataset.ood_split.shots": 5, "training.passes_per_epoch": 3,
    }),
    ("nyu_coco_clip", "attention", {**NYU, "losses.attention.weight": 1000.0, "student.embedding_dim": 256}),
    ("nyu_coco_blip", "resnet", {**NYU, "losses.matching.weight": 1.0, "losses.contrastive.weight": 1.0}),
    ("nyu_tiny_imagenet_dino", "projection", {**NYU, "losses.matching.pairs": "image_image"}),
    ("nyu_tiny_imagenet_beit", "densenet", {**NYU, "student.embedding": None, "student.classifier.kind": "linear"}),
]  # fmt: skip


def sheet(name: str, arm: str) -> Experiment:
    return arm_experiment(load_experiment(SHEETS / f"{name}.yaml"), arm)


def value_at(experiment: Experiment, path: str) -> Any:
    found: Any = experiment
    for name in path.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return found


@pytest.mark.parametrize(("name", "arm", "values"), TOLD, ids=[f"{name}-{arm}" for name, arm, _ in TOLD])
def test_a_sheet_has_the_values_of_its_paper(name: str, arm: str, values: dict[str, Any]) -> None:
    experiment = sheet(name, arm)
    for path, value in values.items():
        found = value_at(experiment, path)
        if isinstance(value, dict):
            told = found.model_dump()
            assert {key: told[key] for key in value} == value, path
        else:
            assert found == pytest.approx(value), path


@pytest.mark.parametrize("name", TWINS)
def test_every_arm_of_a_sheet_fits_together_and_its_twin_learns_by_the_same_losses(name: str) -> None:
    experiment = load_experiment(SHEETS / f"{name}.yaml")
    check_composition(experiment)
    small = load_experiment(SHEETS / f"{TWINS[name]}.yaml")
    assert small.dataset.kind == "shapes"
    kinds = {loss.kind for arm in small.arms for loss in arm_experiment(small, arm).losses.values()}
    assert kinds >= {loss.kind for loss in experiment.losses.values()} - {"caption_contrastive"}
    assert small.training.schedule.kind in (experiment.training.schedule.kind, "cosine")


def test_the_prompt_sets_are_nested_and_read_shared_separate_or_joined() -> None:
    experiment = load_experiment(SHEETS / "proco_imagenet_lt.yaml")
    read = {arm: arm_experiment(experiment, arm).text_sources for arm in experiment.arms}
    targeted = tuple(f"targeted_{number}" for number in range(1, 5))
    assert [read[arm] for arm in ("kd_i_t", "g_t1", "g_t12", "g_t123", "g_t1234")] == [
        ("general", *targeted[:count]) for count in range(5)
    ]
    separate = arm_experiment(experiment, "separate_g_t1234")
    assert (separate.adaptor.per_prompt, separate.text_sources) == (True, read["g_t1234"])
    assert read["concat_g_t1234"] == ("concat_g_t1234",)


def test_gpaco_on_places_trains_no_convolution_but_those_of_the_last_block_and_every_norm() -> None:
    experiment = sheet("gpaco_places_lt", "kd_i_t")
    model = blueprint(experiment, supplied(experiment))
    of_backbone = dict(model.student.backbone.named_parameters())
    trained = {name for name, parameter in of_backbone.items() if parameter.requires_grad}
    convolutions = {name for name, parameter in of_backbone.items() if parameter.ndim == 4}
    assert len(convolutions) == 155  # 1 + 3 * 50 blocks + 4 downsamplings
    assert convolutions & trained == {f"layer4.2.conv{number}.weight" for number in (1, 2, 3)}
    assert set(of_backbone) - convolutions <= trained
    assert all(parameter.requires_grad for parameter in model.student.classifier.parameters())


def test_livt_s_layers_learn_the_slower_the_nearer_they_are_to_the_patches() -> None:
    experiment = sheet("livt_imagenet_lt", "kd_i_t")
    model = blueprint(experiment, supplied(experiment))
    optimizer = build_optimizer(experiment.training.optimizer, model)
    rate = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    backbone = model.student.backbone
    peak, decay = 8e-3, 0.75
    assert rate[id(backbone.cls_token)] == pytest.approx(peak * decay**13)
    for number in (0, 11):
        assert rate[id(backbone.blocks[number].attn.qkv.weight)] == pytest.approx(peak * decay ** (12 - number))
    assert rate[id(model.student.classifier.weight)] == pytest.approx(peak)
    assert [block.drop_path1.drop_prob for block in list(backbone.blocks)[1:]] == pytest.approx(
        [0.1 * number / 11 for number in range(1, 12)]
    )


def test_the_head_of_proco_is_hidden_2048_output_1024_on_a_resnet_50() -> None:
    experiment = sheet("proco_imagenet_lt", "kd_i_t")
    model = blueprint(experiment, supplied(experiment))
    head = model.objective.losses["contrast"].head
    matrices = [tuple(parameter.shape) for parameter in head.parameters() if parameter.ndim == 2]
    assert matrices == [(2048, 2048), (1024, 2048)]
    assert model.adaptor is not None
    widths = [len(p) for p in model.adaptor.parameters() if p.ndim == 2]
    assert widths[0] == 2048  # hidden width d


def test_few_shot_arms_start_where_the_arms_of_the_zero_shot_sheet_end() -> None:
    for name, zero in (("ood_few_shot_resnet18", "ood_resnet18"), ("ood_few_shot_vit_b32", "ood_vit_b32")):
        few, first = load_experiment(SHEETS / f"{name}.yaml"), load_experiment(SHEETS / f"{zero}.yaml")
        for arm in few.arms:
            start = arm_experiment(few, arm).student.checkpoint
            assert start == f"runs/{zero}_chatgpt/arms/{arm}/student.safetensors"
            assert arm in first.arms
