"""What arms and trials may vary of an experiment; all else is made once and read by every one of them.

A sweep may vary more than an arm: for each combination of what decides captions and embeddings there is a variant.

Reads and writes nothing.
"""

from collections.abc import Container, Iterable

OF_AN_ARM = frozenset(
    {
        "student", "adaptor", "losses", "text_sources", "training", "evaluation", "class_prompt", "text_tuning",
        "image_teacher_mode", "image_size", "watch",
    }
)  # fmt: skip

OF_A_VARIANT = frozenset(
    {
        "captioner", "prompts", "custom_prompts", "caption_splits", "texts", "class_text", "domain_texts", "describer",
        "text_encoder", "image_teacher", "image_teacher_views",
    }
)  # fmt: skip
NOT_IN_A_TRIAL = frozenset({"class_prompt", "text_tuning", "image_teacher_mode"})  # of the job that trials vary


def of_an_arm(path: str) -> bool:
    """Whether an arm may have another value of `path` than its experiment."""
    return path.split(".")[0] in OF_AN_ARM


def needs_variant(path: str) -> bool:
    """Whether trials with several values of `path` read other captions or embeddings, or vary another job."""
    return path.split(".")[0] in OF_A_VARIANT | NOT_IN_A_TRIAL


def shared_by_trials(paths: Iterable[str], fields: Container[str]) -> list[str]:
    """Which of these dotted paths no sweep can vary, with the reason; see `shared_by_arms`."""
    return shared_by_arms((path for path in paths if not needs_variant(path)), fields)


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
