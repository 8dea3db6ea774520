"""Settings that losses with a projection head of their own share, and those that also keep a queue of keys.

Holds base classes of settings, no kind. Reads and writes nothing; the networks are in formulas/.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses.context import LossContext

if TYPE_CHECKING:
    from orchestrator.losses.formulas.projection_head import HeadShape


class HeadSettings(Frozen):
    """head_depth x [Linear, BatchNorm, ReLU], then Linear to head_dim; dropped after training.

    A head_hidden_dim of null is the width of the student's feature; depth 0 is a linear head.
    """

    head_depth: int = Field(default=1, ge=0)
    head_hidden_dim: int | None = Field(default=None, gt=0)
    head_dim: int = Field(default=128, ge=2)
    head_batch_norm: bool = False

    def head_shape(self, context: LossContext) -> "HeadShape":
        """The head on this run's feature."""
        from orchestrator.losses.formulas.projection_head import HeadShape

        return HeadShape(
            context.feature_dim, self.head_dim, self.head_depth, self.head_hidden_dim, batch_norm=self.head_batch_norm
        )


class KeyQueueSettings(HeadSettings):
    """A queue of the last queue_size keys, a multiple of the global batch (0: none), and whose rows are keys.

    `negatives` are the batches of all workers, or the worker's own as in the official codes; the queue always holds the
    keys of all workers.
    """

    temperature: float = Field(default=0.2, gt=0)
    queue_size: int = Field(default=8192, ge=0)
    negatives: Literal["global", "per_worker"] = "global"

    def check_queue(self, context: LossContext) -> None:
        """ConfigError unless the queue holds whole global batches, so that all keys of a batch leave it together."""
        batch_size = context.batch_size
        if batch_size > 0 and self.queue_size % batch_size:
            raise ConfigError(
                f"queue_size {self.queue_size} is no multiple of the {batch_size} images that are seen together",
                expected=f"a multiple of {batch_size}, such as {max(1, self.queue_size // batch_size) * batch_size}",
                remedy="set queue_size of this loss, training.batch_size, or training.accumulation_steps",
            )


def check_views(kind: str, context: LossContext, needed: int) -> None:
    """ConfigError unless an image has this many views."""
    if context.num_views < needed:
        raise ConfigError(
            f"{kind} needs {needed} views of an image, and there is {context.num_views}",
            expected=f"at least {needed} views of an image",
            remedy=f"list {needed - 1} or more further views in training.more_views",
        )
