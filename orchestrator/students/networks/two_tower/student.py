"""The student of a teacher's rows: an image side and, where there are texts, a text side, into one space.

Holds the two modules. Reads and writes nothing. Knows nothing of losses, of which it is told by name only.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.students.networks.student import Student
from orchestrator.students.networks.two_tower.towers import Unchanged


def bottleneck(width: int, hidden_dim: int | None, embedding_dim: int) -> nn.Module:
    """Linear - ReLU - Linear through `hidden_dim`; without one a single Linear."""
    if hidden_dim is None:
        return nn.Linear(width, embedding_dim)
    return nn.Sequential(nn.Linear(width, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, embedding_dim))


def like_weights(rows: Tensor, module: nn.Module) -> Tensor:
    """A teacher's rows, which may be kept in half precision, in the number format of a module's weights."""
    return rows.to(next(module.parameters()).dtype)


class TextSide(nn.Module):
    """A text teacher's rows [..., e] to the student's text embeddings [..., E], not normalised."""

    def __init__(
        self, text_dim: int, projection: nn.Module, tower: nn.Module | None = None, *, all_texts: bool = False
    ) -> None:
        super().__init__()
        self.text_dim = text_dim
        self.tower = tower or Unchanged()
        self.projection = projection
        self.all_texts = all_texts

    def forward(self, text: Tensor) -> Tensor:
        rows = like_weights(text, self.projection).flatten(0, -2)
        embedding: Tensor = self.projection(self.tower(rows)[0])
        return embedding.unflatten(0, text.shape[:-1])

    def of_images(self, text: Tensor) -> Tensor:
        """[N, Q, e] texts of the images: [N, E] of the first of each, or [N, Q, E] of all where the side takes all."""
        chosen: Tensor = self(text if self.all_texts else text[:, 0])
        return chosen

    def of_classes(self, class_text: Tensor) -> Tensor | None:
        """[C, E] unit embeddings of class texts [C, D]; None where they are not as wide as the side's texts."""
        return F.normalize(self(class_text), dim=-1) if class_text.shape[1] == self.text_dim else None


class TwoTowerStudent(Student):
    """A teacher's image rows (`image_input`), and its texts, to student_embedding [N, E] and student_text.

    Towers with weights also give student_feature [N, d] (what the projection reads) and, on a map, student_map.
    """

    def __init__(
        self,
        *,
        image_input: str,
        width: int,
        tower: nn.Module | None,
        projection: nn.Module,
        embedding_dim: int,
        text_side: TextSide | None,
    ) -> None:
        super().__init__()
        self.reads = (image_input,) if text_side is None else (image_input, v.TEXT)
        self.tower = tower or Unchanged()
        self.projection = projection
        self.text_side = text_side
        self.embedding_dim = embedding_dim
        self.feature_dim = 0 if tower is None else width
        self.map_dim = width if tower is not None and image_input == v.TEACHER_MAP else 0

    def forward(self, rows: Tensor, text: Tensor | None = None) -> dict[str, Tensor]:
        """rows [N, d] or [N, d, h, w]; text [N, Q, e]. See the class."""
        feature, positions = self.tower(like_weights(rows, self.projection))
        made = {v.STUDENT_EMBEDDING: self.projection(feature)}
        if self.feature_dim:
            made[v.STUDENT_FEATURE] = feature
        if positions is not None:
            made[v.STUDENT_MAP] = positions
        if self.text_side is not None and text is not None:
            made[v.STUDENT_TEXT] = self.text_side.of_images(text)
        return made

    def class_embeddings(self, class_text: Tensor) -> Tensor | None:
        """See `Student`: by the text side."""
        return None if self.text_side is None else self.text_side.of_classes(class_text)

    def makes(self) -> set[str]:
        """See `Student`."""
        own = {v.STUDENT_FEATURE: self.feature_dim, v.STUDENT_MAP: self.map_dim, v.STUDENT_TEXT: self.text_side}
        return {v.STUDENT_EMBEDDING, *(name for name, there in own.items() if there)}

    def heads(self) -> dict[str, nn.Module]:
        """See `Student`."""
        found = {v.STUDENT_EMBEDDING: self.projection, v.STUDENT_TEXT: self.text_side}
        return {output: module for output, module in found.items() if module is not None}
