"""Which pair of outputs a feature loss compares, and the check that the run has both.

Holds a type and a function for the settings of such losses. Reads and writes nothing. Knows nothing of any loss.
"""

from typing import Literal

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext

Output = Literal["feature", "map"]


def dims_of_pair(kind: str, output: Output, context: LossContext) -> tuple[int, int]:
    """Widths (or channels) of the student's and the teacher's output; ConfigError where the run has no such output."""
    if output == "feature":
        student, teacher = context.feature_dim, context.teacher_feature_dim
        remedy = "set image_teacher.outputs: [embedding, feature]"
    else:
        student, teacher = context.map_dim, context.teacher_map_dim
        remedy = "take a student with a map, and set image_teacher.outputs: [embedding, tokens]"
    for side, dim in (("student", student), ("teacher", teacher)):
        if dim == 0:
            raise ConfigError(f"{kind} compares {output}s but the run's {side} gives no {output}", remedy=remedy)
    return student, teacher
