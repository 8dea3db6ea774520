"""What a judge counts of seen and of validation classes, by hand."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.students.networks.student import Student
from orchestrator.training.judge import Judge

GROUPS = ClassGroups(2, 2, 5)  # 0 and 1 are trained, 2 and 3 for validation, 4 is the report's
TEXTS = torch.eye(5)[:4]
LABELS = np.array([0, 2, 0, 3, 1, 3, 1, 3], np.int64)
ROWS = np.array(
    [
        [2, 1, 9, 9, 9],  # 0: right among seen ones, whatever the others say
        [9, 9, 2, 1, 9],  # 2: right among validation classes, although a seen one and the report's are nearer
        [1, 2, 0, 0, 0],  # 0: wrong
        [9, 9, 2, 1, 9],  # 3: wrong
        [1, 2, 9, 9, 9],  # 1: right
        [9, 9, 1, 2, 9],  # 3: right
        [1, 2, 9, 9, 9],  # 1: right
        [9, 9, 2, 1, 9],  # 3: wrong
    ],
    np.float32,
)


class Same(Student):
    """The rows that it is given, as an embedding or as logits."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self.embedding_dim = 5 if output == v.STUDENT_EMBEDDING else 0
        self.output, self.nothing = output, nn.Parameter(torch.zeros(()))

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        return {self.output: rows}

    def makes(self) -> set[str]:
        return {self.output}


def supply(rows: np.ndarray) -> Mapping[str, Tensor]:
    return {"image": torch.from_numpy(ROWS[rows])}


def judged(output: str, groups: ClassGroups = GROUPS, texts: Tensor | None = TEXTS) -> dict[str, float]:
    trained = np.array([120, 3, 0, 0, 0])
    return Judge(Same(output), supply, LABELS, trained, groups, texts)()


def test_seen_classes_are_told_apart_among_themselves_and_validation_classes_too() -> None:
    found = judged(v.STUDENT_EMBEDDING)
    assert math.isnan(found.pop("select/medium"))
    assert found == {
        "select/all": 3 / 4,
        "select/mean_per_class": 3 / 4,
        "select/many": 1 / 2,  # class 0
        "select/few": 1.0,  # class 1
        "select/unseen_all": 2 / 4,
        "select/unseen_mean_per_class": (1 + 1 / 3) / 2,
    }


def test_a_classifier_is_judged_on_seen_classes_alone() -> None:
    found = judged(v.STUDENT_LOGITS)
    assert found["select/all"] == 3 / 4
    assert [name for name in found if "unseen" in name] == []


def test_without_validation_classes_there_is_no_accuracy_on_them() -> None:
    found = judged(v.STUDENT_EMBEDDING, ClassGroups(4, 0, 5))
    assert found["select/all"] == 0.0  # among four classes the columns of 9 win, whichever come first
    assert [name for name in found if "unseen" in name] == []
    assert judged(v.STUDENT_EMBEDDING, texts=None) == {}
