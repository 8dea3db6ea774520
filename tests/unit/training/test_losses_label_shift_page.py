"""The page on long-tailed losses and schedules: its recipes train, its settings are those of the product."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter

from orchestrator.errors import ConfigError
from orchestrator.losses import LossSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.objective import Objective
from orchestrator.students.context import StudentContext
from orchestrator.students.timm_student import TimmStudentSettings
from orchestrator.students.tiny import TinyStudentSettings
from orchestrator.training.mixing import check_mixing
from orchestrator.training.model import DistillationModel
from orchestrator.training.optimizer import build_optimizer
from orchestrator.training.parameters import freeze
from orchestrator.training.settings import TrainingSettings

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "losses_label_shift.md").read_text()
RECIPES: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
LOSSES = TypeAdapter(dict[str, LossSettings])
N, C, D, K = 6, 3, 5, 4
CONTEXT = LossContext((40, 20, 5), D, D, D, 1, C, embedding_dim=D, num_domains=K, batch_size=N)


@pytest.mark.parametrize("recipe", [one for one in RECIPES if "losses" in one], ids=lambda one: "-".join(one["losses"]))
def test_a_recipes_objective_brings_logits_to_the_labels(recipe: dict[str, Any]) -> None:
    objective = Objective.build(LOSSES.validate_python(recipe["losses"]), CONTEXT)
    TrainingSettings.model_validate(recipe.get("training", {}))
    random = torch.Generator().manual_seed(0)
    class_text = torch.nn.functional.normalize(torch.randn(C, D, generator=random), dim=1)
    label = torch.arange(N) % C
    logits, embedding = (torch.randn(N, width, generator=random, requires_grad=True) for width in (C, D))
    batch = {"label": label, "teacher_image": class_text[label], "class_text": class_text}
    batch["domain_text"] = class_text[:, None] + 0.3 * torch.randn(C, K, D, generator=random)
    optimizer = torch.optim.Adam([logits, embedding], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        objective({**batch, "student_logits": logits, "student_embedding": embedding})[0].backward()
        optimizer.step()
    assert logits.argmax(dim=1).tolist() == label.tolist()


def test_every_line_of_the_table_is_a_loss() -> None:
    told = re.findall(r"`(\{kind: .*?\})`", PAGE)
    kinds = {LOSSES.validate_python({"one": yaml.safe_load(text)})["one"].kind for text in told}
    assert kinds == {
        "balanced_binary_cross_entropy", "binary_cross_entropy", "label_aware_smoothing", "lade", "ldam",
        "logit_adjusted_cross_entropy", "rise",
    }  # fmt: skip


def small(student: Any, losses: dict[str, Any]) -> DistillationModel:
    objective = Objective.build(LOSSES.validate_python(losses), CONTEXT)
    return DistillationModel(student.build(StudentContext(C)), None, objective)


@pytest.mark.parametrize("recipe", [one for one in RECIPES if "losses" not in one], ids=["places_lt", "slow_backbone"])
def test_a_recipe_for_parts_fits_a_residual_networks_names(recipe: dict[str, Any]) -> None:
    settings = TrainingSettings.model_validate(recipe["training"])
    model = small(TimmStudentSettings(name="resnet50"), {"one": {"kind": "logit_adjusted_cross_entropy"}})
    freeze(model, settings.freeze)
    trained = [
        parameter for group in build_optimizer(settings.optimizer, model).param_groups for parameter in group["params"]
    ]
    four_dimensional = sum(parameter.ndim == 4 for parameter in trained)
    assert four_dimensional == (3 if settings.freeze else 53)  # a bottleneck block has three convolutions


def test_targets_are_smoothed_in_one_place_only() -> None:
    model = small(TinyStudentSettings(), {"one": {"kind": "binary_cross_entropy", "label_smoothing": 0.1}})
    check_mixing(model, TrainingSettings.model_validate({"mixing": {}}))
    with pytest.raises(ConfigError, match=r"losses\.one\.label_smoothing would smooth the targets again"):
        check_mixing(model, TrainingSettings.model_validate({"mixing": {"label_smoothing": 0.1}}))


def test_lade_takes_hard_labels_only() -> None:
    model = small(TinyStudentSettings(), {"one": {"kind": "lade"}})
    with pytest.raises(ConfigError, match=r"losses\.one takes no mixed targets"):
        check_mixing(model, TrainingSettings.model_validate({"mixing": {}}))
