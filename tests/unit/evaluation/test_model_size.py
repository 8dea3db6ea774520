"""Model sizes: what counts, in which unit, and the sizes that the report prints."""

from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.evaluation.model_size import model_size_mb, num_parameters
from orchestrator.students import (
    AttentionStudentSettings,
    BottleneckStudentSettings,
    CbamStudentSettings,
    DensenetEmbeddingStudentSettings,
    ProjectionStudentSettings,
    ResnetEmbeddingStudentSettings,
)
from orchestrator.students.context import StudentContext
from orchestrator.students.heads import LinearClassifierSettings

COCO = StudentContext(num_classes=80, image_size=224, teacher_dim=512, text_dim=512, num_texts=1)  # CLIP ViT-B
TINY_IMAGENET = StudentContext(num_classes=200, image_size=64, teacher_dim=768)  # DINO, BEiT: images only
CLASS_HEAD: dict[str, Any] = {"classifier": LinearClassifierSettings(), "embedding": None}


def test_parameters_count_once_in_their_own_format_and_buffers_do_not() -> None:
    norm = nn.BatchNorm1d(512)
    assert num_parameters(norm) == 1024
    assert model_size_mb(norm) == 1024 * 4 / 2**20
    assert model_size_mb(norm.to(torch.bfloat16)) == 1024 * 2 / 2**20
    assert num_parameters(nn.ModuleList([norm, norm])) == 1024


@pytest.mark.parametrize(
    ("settings", "context", "printed"),
    [
        (ProjectionStudentSettings(), COCO, "1.00"),
        (BottleneckStudentSettings(), COCO, "0.75"),
        (AttentionStudentSettings(), COCO, "9.02"),
        (CbamStudentSettings(), COCO, "1.25"),
        (CbamStudentSettings(num_blocks=1, reduction=8), COCO, "1.25"),
        (CbamStudentSettings(num_blocks=4, reduction=32), COCO, "1.25"),
        (ResnetEmbeddingStudentSettings(), COCO, "43.39"),
        (DensenetEmbeddingStudentSettings(), COCO, "27.53"),
        (ProjectionStudentSettings(), TINY_IMAGENET, "0.75"),
        (BottleneckStudentSettings(), TINY_IMAGENET, "0.50"),
        (AttentionStudentSettings(), TINY_IMAGENET, "9.76"),
        (ResnetEmbeddingStudentSettings(**CLASS_HEAD), TINY_IMAGENET, "43.03"),
    ],
    ids=lambda one: one if isinstance(one, str) else getattr(one, "kind", ""),
)
def test_the_students_have_the_sizes_that_the_report_prints(
    settings: Any, context: StudentContext, printed: str
) -> None:
    assert f"{model_size_mb(settings.build(context)):.2f}" == printed


def test_no_simple_head_has_the_reports_27_16_for_densenet_on_tiny_imagenet() -> None:
    # printed without a description of its head; the vision side alone is the nearest, 27.153
    alone = model_size_mb(DensenetEmbeddingStudentSettings().build(TINY_IMAGENET))
    head = model_size_mb(DensenetEmbeddingStudentSettings(**CLASS_HEAD).build(TINY_IMAGENET))
    assert (round(alone, 3), round(head, 3)) == (27.153, 27.309)
