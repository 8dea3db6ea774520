"""What the losses for long-tailed data demand of the class counts.

Holds one check. Reads and writes nothing. Knows nothing of tensors.
"""

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext


def refuse_absent_classes(context: LossContext, why: str, remedy: str = "") -> None:
    """ConfigError naming the classes without a training image; `why` completes "so ..." (methods, section 7)."""
    absent = [label for label, count in enumerate(context.class_count) if count == 0]
    if absent:
        raise ConfigError(
            f"{len(absent)} classes have no training image, so {why} (labels {absent[:10]})",
            expected="at least one training image for each class",
            remedy=f"remove the classes{remedy and ', or '}{remedy}",
        )
