"""An exported student as one module from one input to named outputs, whatever its kind.

Reads an export. Knows nothing of how it was made.
"""

from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.artifacts.storage import read_json
from orchestrator.exporting.bundle import CONFIG, HEAD, TRAINED_NAME, WHOLE, ExportConfig, rescaled
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


class ExportedStudent(Student):
    """An export in the place of the student that it was made of: the same inputs, the outputs' trained names.

    Attributes:
        class_text: [C, E] unit class texts in the space of its embedding; None: there are none.
    """

    def __init__(self, folder: Path, config: ExportConfig) -> None:
        super().__init__()
        self.network, self.config, self.reads = open_network(folder, config), config, (config.reads,)
        self.embedding_dim = config.embedding_dim
        self.class_text: Tensor | None = getattr(self.network, "class_embeddings", None)

    def makes(self) -> set[str]:
        """See `Student`."""
        heads = {"embedding", *self.config.heads} if self.config.reads != IMAGE else {"feature", *self.config.heads}
        return {TRAINED_NAME[name] for name in ("feature", "embedding") if name in heads} | (
            {v.STUDENT_LOGITS} if self.config.output == "logits" else set()
        )

    def forward(self, given: Tensor) -> dict[str, Tensor]:
        """Images [N, 3, S, S] as training loads them, or a teacher's rows -> what it makes."""
        made = self.network(rescaled(given, self.config) if self.config.reads == IMAGE else given)
        return {trained: made[name] for name, trained in TRAINED_NAME.items() if name in made}


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
