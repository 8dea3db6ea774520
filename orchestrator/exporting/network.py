"""An exported student as one module from one input to named outputs, whatever its kind.

Reads an export. Knows nothing of how it was made.
"""

from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.artifacts.storage import read_json
from orchestrator.exporting.bundle import CONFIG, HEAD, WHOLE, ExportConfig
from orchestrator.exporting.use_student import Network
from orchestrator.students.networks.student import IMAGE, Student

ROWS = "rows"  # the input of students that read a teacher's output


class RowsNetwork(nn.Module):
    """A teacher's rows -> `embedding`, and `cosines` where there are class texts."""

    class_embeddings: Tensor | None

    def __init__(self, student: Student, class_embeddings: Tensor | None) -> None:
        super().__init__()
        self.student = student
        self.register_buffer("class_embeddings", class_embeddings)

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        """See the class."""
        made = {"embedding": self.student(rows)[v.STUDENT_EMBEDDING]}
        if self.class_embeddings is not None:
            made["cosines"] = F.normalize(made["embedding"], dim=1) @ self.class_embeddings.T
        return made


class Outputs(nn.Module):
    """The network with its outputs as a tuple, in the order of `names`, as graphs have them."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        made = self.network(given)
        return tuple(made[name] for name in self.names)


def open_network(folder: Path, config: ExportConfig) -> nn.Module:
    """The network in evaluation mode, on the CPU."""
    if config.reads == IMAGE:
        return Network(read_json(folder / CONFIG)).load(folder).eval()
    from orchestrator.training.student_file import load_student

    return RowsNetwork(load_student(folder / WHOLE), load_file(folder / HEAD).get("class_embeddings")).eval()


def output_names(config: ExportConfig) -> tuple[str, ...]:
    """What a graph gives: the scores, and the embedding, or the feature where there is none."""
    scores = () if config.output == "embedding" else (config.output,)
    has_embedding = "embedding" in config.heads or config.reads != IMAGE
    return (*scores, "embedding" if has_embedding else "feature")


def input_name(config: ExportConfig) -> str:
    """The name of a graph's input."""
    return IMAGE if config.reads == IMAGE else ROWS
