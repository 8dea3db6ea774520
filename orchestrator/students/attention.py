"""Settings of the attention student: self-attention before the linear map of each modality.

Holds the settings of one kind. Reads and writes nothing; the network is in networks/two_tower/.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.two_tower import TwoTowerSettings

if TYPE_CHECKING:
    from orchestrator.students.networks.two_tower.student import TwoTowerStudent


class AttentionStudentSettings(TwoTowerSettings):
    """Multi-head self-attention of an image's tokens, their mean, Linear ("MultiheadAttention" of the report).

    `image_input: teacher_map` reads the teacher's tokens, and its output map is `student_map`, for attention transfer;
    a pooled row is a sequence of one token, as the texts' are. Images never attend to one another, as they do where an
    [N, D] batch is taken for one sequence (which may explain the report's odd constant of 0.2004).
    """

    kind: Literal["attention"] = "attention"
    num_heads: int = Field(
        default=8, ge=1, description="of the self-attention; has to divide the width of what it reads"
    )

    def build(self, context: StudentContext, adaptor: AdaptorSettings | None = None) -> "TwoTowerStudent":
        from orchestrator.students.networks.two_tower.towers import SelfAttention

        width = self.image_width(self.kind, self.image_input, context)
        return self.two_towers(
            context,
            image_input=self.image_input,
            width=width,
            tower=SelfAttention(width, self.num_heads),
            text_tower=SelfAttention(context.text_dim, self.num_heads) if self.has_text_side(context) else None,
        )
