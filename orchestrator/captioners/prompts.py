"""The prompts of the methods specification by name, and the injection of the class name.

Holds texts. Knows nothing of models. Source: VLM-KD, sections 2.5; the wording of T2 to T4 is inferred there.
"""

from collections.abc import Mapping, Sequence

from orchestrator.errors import ConfigError

CLASS_FIELD = "{class}"

PROMPTS: Mapping[str, str] = {
    "general": "Please describe the image in one sentence.",
    "prompt_long": "Please describe the image in detail.",
    "keyword_short": "Please describe the image with three keywords.",
    "keyword_long": "Please describe the image with ten keywords.",
    "targeted_1": "Describe the {class} in the image in one sentence.",
    "targeted_2": "Describe the color of the {class} in the image in one sentence.",
    "targeted_3": "Describe the shape of the {class} in the image in one sentence.",
    "targeted_4": "Describe the texture of the {class} in the image in one sentence.",
}


def resolve_prompts(names: Sequence[str], custom: Mapping[str, str]) -> dict[str, str]:
    """Prompt name -> text, for built-in and custom prompts.

    Raises:
        ConfigError: unknown names, all of them at once.
    """
    known = {**PROMPTS, **custom}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"prompts: unknown {', '.join(unknown)}",
            expected=f"one of {', '.join(known)}",
            remedy="add the text under custom_prompts or correct the name",
        )
    return {name: known[name] for name in names}


def inject_class(prompt: str, class_name: str) -> str:
    """The prompt with `{class}` replaced by the class name; other braces stay as they are."""
    return prompt.replace(CLASS_FIELD, class_name)
