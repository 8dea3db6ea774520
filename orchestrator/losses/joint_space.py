"""Whether what a loss compares by cosine lies in one space.

Holds one check of a loss context, for the settings of losses. Reads and writes nothing. Knows nothing of tensors.
"""

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext


def require_joint_space(kind: str, context: LossContext, *, teacher: bool = True, texts: bool = False) -> None:
    """ConfigError unless the student's embedding is as wide as the image teacher's (`teacher`) and the `texts`.

    A width of 0 is an input that the run does not have; the objective names it with the setting that supplies it.
    """
    widths = {"the image teacher's embedding": context.teacher_dim if teacher else 0}
    widths["a text embedding"] = context.text_dim if texts else 0
    for what, width in widths.items():
        if 0 not in (context.embedding_dim, width) and context.embedding_dim != width:
            raise ConfigError(
                f"{kind} compares the student's embedding ({context.embedding_dim} numbers) with {what} ({width})",
                expected="two vectors of one space",
                remedy="encode images and texts with one teacher, or set the student's embedding to its width",
            )
