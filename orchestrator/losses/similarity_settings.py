"""Settings that the losses on image-text similarities share, and the checks of the spaces they compare in.

Holds a base class. Reads and writes nothing; the formulas are in formulas/clip_*.py and formulas/similarity*.py.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext
from orchestrator.losses.joint_space import require_joint_space

if TYPE_CHECKING:
    from orchestrator.losses.formulas.similarity import LogitScale

LARGEST_SCALE = 100.0  # to which a learnt scale is clamped (Radford et al. 2021, section 2.5)


class SimilaritySettings(Frozen):
    """Student images are compared with its own texts (`text: student`), or with the text teacher's (`text: teacher`).

    `scale` multiplies the student's cosines; it is the start of exp(s) where `learnable_scale`, clamped to 100. Images
    without a text are left out as rows and as candidates. `negatives` are those of all workers, or of the worker's own
    batch (as the official codes do without gathering).
    """

    weight: float = Field(default=1.0, ge=0)
    scale: float = Field(default=1 / 0.07, gt=0)
    learnable_scale: bool = True
    text: Literal["student", "teacher"] = "student"
    negatives: Literal["global", "per_worker"] = "global"

    @model_validator(mode="after")
    def _start_is_inside_the_clamp(self) -> Self:
        if self.learnable_scale and self.scale > LARGEST_SCALE:
            raise ValueError(
                f"scale {self.scale} is above {LARGEST_SCALE:g}, to which a learnt one is clamped; lower it or set"
                " learnable_scale: false"
            )
        return self

    def logit_scale(self) -> "LogitScale":
        """The module of the student's scale."""
        from orchestrator.losses.formulas.similarity import LogitScale

        return LogitScale(self.scale, learnable=self.learnable_scale, largest=LARGEST_SCALE)

    def require_student_space(self, kind: str, context: LossContext) -> None:
        """ConfigError where the student's embedding cannot be compared with the text teacher's texts."""
        if self.text == "teacher":
            require_joint_space(kind, context, teacher=False, texts=True)


def require_teacher_space(kind: str, context: LossContext) -> None:
    """ConfigError where the teachers' image and text embeddings are not of one space (of one width)."""
    sizes = context.teacher_dim, context.text_dim
    if all(sizes) and sizes[0] != sizes[1]:
        raise ConfigError(
            f"{kind} compares the teacher's images (width {sizes[0]}) with its texts (width {sizes[1]})",
            expected="an image teacher and a text teacher of one space",
            remedy="choose both towers of one model",
        )
