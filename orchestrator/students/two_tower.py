"""What the settings of students that read a teacher's rows share, and their construction.

Holds a base class. Reads and writes nothing; the networks are in networks/two_tower/.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.students.abilities import Abilities
from orchestrator.students.context import StudentContext

if TYPE_CHECKING:
    from torch import nn

    from orchestrator.students.networks.two_tower.student import TwoTowerStudent

ImageInput = Literal["teacher_image", "teacher_feature", "teacher_map"]
SIZE_OF = {"teacher_image": "teacher_dim", "teacher_feature": "teacher_feature_dim", "teacher_map": "teacher_map_dim"}
SUPPLIED_BY = {
    "teacher_image": "image_teacher",
    "teacher_feature": "image_teacher.outputs: [embedding, feature]",
    "teacher_map": "image_teacher.outputs: [embedding, tokens]",
}


class TwoTowerSettings(Frozen):
    """A small network on the teachers' outputs: an image side, and a text side where the run has texts.

    Widths follow the teachers; both sides end in `embedding_dim` numbers. `text_side: false` leaves the text side out,
    as a teacher of images alone does. `texts` are those of an image that the text side embeds: the first, or all.
    """

    image_input: ImageInput = "teacher_image"
    embedding_dim: int = Field(default=256, ge=1)
    text_side: bool = True
    texts: Literal["first", "all"] = "first"

    def abilities(self, *, has_texts: bool) -> Abilities:
        """What the student will be able to do, where the run has texts or not."""
        has_text_side = self.text_side and has_texts
        return Abilities(self.image_input, False, True, self.embedding_dim, has_text_side, has_text_side)

    def image_width(self, kind: str, image_input: ImageInput, context: StudentContext) -> int:
        """Width of what the image side reads; ConfigError where the run has no such rows."""
        width: int = getattr(context, SIZE_OF[image_input])
        if width == 0:
            raise ConfigError(
                f"student {kind} reads {image_input}, and the run has none",
                remedy=f"set {SUPPLIED_BY[image_input]}, or another image_input",
            )
        return width

    def has_text_side(self, context: StudentContext) -> bool:
        """Whether there are texts, and a side for them is wanted."""
        return self.text_side and context.text_dim > 0

    def two_towers(
        self,
        context: StudentContext,
        *,
        image_input: ImageInput,
        width: int,
        hidden_dim: int | None = None,
        tower: "nn.Module | None" = None,
        text_tower: "nn.Module | None" = None,
    ) -> "TwoTowerStudent":
        """The student with these towers before its projections (through `hidden_dim`, or linear)."""
        from orchestrator.students.networks.two_tower.student import TextSide, TwoTowerStudent, bottleneck

        text_side = None
        if self.has_text_side(context):
            projection = bottleneck(context.text_dim, hidden_dim, self.embedding_dim)
            text_side = TextSide(context.text_dim, projection, text_tower, all_texts=self.texts == "all")
        return TwoTowerStudent(
            image_input=image_input,
            width=width,
            tower=tower,
            projection=bottleneck(width, hidden_dim, self.embedding_dim),
            embedding_dim=self.embedding_dim,
            text_side=text_side,
        )
