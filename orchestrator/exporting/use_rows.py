"""The student of this folder, which reads a teacher's rows; needs the package `orchestrator` that trained it.

    python use_rows.py ROWS.npy      prints the class and score of each row of the teacher's output that it reads

Part of this student is no timm model (its backbone is the teacher), so its weights are one plain state dict.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.training.student_file import load_student


class Student:
    """An exported student of a teacher's rows."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        self.network = load_student(self.folder / "student.safetensors").eval()
        self.classes: list[str] = self.config["classes"]
        self.class_embeddings: Tensor | None = load_file(self.folder / "head.safetensors").get("class_embeddings")

    @torch.inference_mode()
    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows of the teacher's output that config.json names as `reads` -> `embedding` [N, E], `cosines` [N, C]."""
        made = {"embedding": self.network(rows)["student_embedding"]}
        if self.class_embeddings is not None:
            made["cosines"] = F.normalize(made["embedding"], dim=1) @ self.class_embeddings.T
        return made


if __name__ == "__main__":
    student = Student(Path(__file__).resolve().parent)
    outputs = student(torch.from_numpy(np.load(sys.argv[1], allow_pickle=False)))
    if "cosines" not in outputs:
        sys.exit("this student has no class texts: it makes embeddings only")
    score, label = (outputs["cosines"] / student.config["temperature"]).softmax(dim=1).max(dim=1)
    for one, value in zip(label.tolist(), score.tolist(), strict=True):
        print(f"{student.classes[one]}\t{value:.4f}")
