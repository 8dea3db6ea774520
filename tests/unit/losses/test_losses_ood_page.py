"""The page on the OOD paper's losses: its presets are objectives that can be built, and it names the kinds."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter

from orchestrator.losses import LossSettings
from orchestrator.losses.context import LossContext
from orchestrator.losses.objective import Objective

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "losses_ood.md").read_text()
PRESETS: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
N, C, D = 6, 3, 5


@pytest.mark.parametrize("preset", PRESETS, ids=["paper_table", "code", "paper_formulas", "only_proximal"])
def test_a_preset_is_an_objective_that_brings_a_student_to_its_teacher(preset: dict[str, Any]) -> None:
    settings = TypeAdapter(dict[str, LossSettings]).validate_python(preset["losses"])
    context = LossContext((2,) * C, D, D, D, 1, C, embedding_dim=D, num_images=N, batch_size=N)
    objective = Objective.build(settings, context)
    random = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize
    text = unit(torch.randn(C, D, generator=random))
    label = torch.arange(N) % C
    teacher = unit(text[label] + 0.5 * torch.randn(N, D, generator=random))
    student = torch.randn(N, D, generator=random, requires_grad=True)
    batch = {"teacher_image": teacher, "class_text": text, "label": label}
    batch |= {"text": teacher[:, None], "text_id": torch.arange(N)[:, None]}
    optimizer = torch.optim.Adam([student], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        objective({**batch, "student_embedding": student})[0].backward()
        optimizer.step()
    nearest = (unit(student.detach()) @ teacher.T).argmax(dim=1)
    assert nearest.tolist() == list(range(N))


def test_the_page_names_every_kind_of_its_paper() -> None:
    table = set(re.findall(r"`(\w+)`", PAGE))
    ours = {
        "caption_contrastive",
        "embedding_cross_entropy",
        "embedding_mse",
        "image_contrastive",
        "multi_label_asymmetric",
        "neighbourhood_kl",
        "relative_vector",
        "text_hinge",
        "vl_proximity",
    }
    assert ours <= table
