"""What arms and trials may vary of an experiment; all else is made once and read by every one of them.

Reads and writes nothing.
"""

from collections.abc import Container, Iterable

OF_AN_ARM = frozenset(
    {
        "student", "adaptor", "losses", "text_sources", "training", "evaluation", "class_prompt", "text_tuning",
        "image_teacher_mode", "image_size", "watch",
    }
)  # fmt: skip


def shared_by_arms(paths: Iterable[str], fields: Container[str]) -> list[str]:
    """Which of these dotted paths no arm can vary, with the reason.

    Args:
        fields: names of the experiment's fields; what is not among them is told elsewhere, with the nearest name.
    """
    firsts = {path: path.split(".")[0] for path in paths}
    return [
        f"{path}: all arms share {first}; another value needs an experiment of its own"
        for path, first in firsts.items()
        if first in fields and first not in OF_AN_ARM
    ]
