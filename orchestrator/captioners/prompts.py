"""The prompts of the methods specification by name, sets of them, what a prompt may say, and the class's injection.

Holds texts. Knows nothing of models. Sources: VLM-KD (2.4, 2.5; the wording of T2 to T4 is inferred there) and the OOD
paper's enrichment of label texts (1.7; the wording of `medium` and `long` is ours, the paper's is not known).
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.errors import ConfigError

CLASS_FIELD = "{class}"
MAX_CHARACTERS = 2000  # a prompt; LLaVA's context of 4,096 tokens must also hold the image
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

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

# The nested sets that VLM-KD compares; no name of a prompt can hold a plus.
PROMPT_SETS: Mapping[str, tuple[str, ...]] = {
    "G": ("general",),
    "G+T1": ("general", "targeted_1"),
    "G+T12": ("general", "targeted_1", "targeted_2"),
    "G+T123": ("general", "targeted_1", "targeted_2", "targeted_3"),
    "G+T1234": ("general", "targeted_1", "targeted_2", "targeted_3", "targeted_4"),
}

# Asked without an image, about a class.
DESCRIPTION_PROMPTS: Mapping[str, str] = {
    "short": (
        "Use a single sentence to describe the appearance and shape of {class}. Only describe the shape and appearance"
    ),
    "medium": "Use at most two sentences to describe the appearance of {class}: its shape, its colors and its texture.",
    "long": "Write one paragraph that describes in detail what {class} looks like: shape, parts, colors and texture.",
}

_FIELD = re.compile(r"\{\s*([A-Za-z_]\w*)\s*\}")


def expand_prompts(names: Iterable[str]) -> tuple[str, ...]:
    """Prompt names with the named sets among them replaced by their members; each once, in order."""
    return tuple(dict.fromkeys(member for name in names for member in PROMPT_SETS.get(name, (name,))))


def unknown_prompts(names: Sequence[str], custom: Mapping[str, str]) -> list[str]:
    """What is no prompt and no set, told in one line with what is near or known; no line if all are known."""
    known = [*dict.fromkeys([*PROMPTS, *custom]), *PROMPT_SETS]
    unknown = [name for name in expand_prompts(names) if name not in known]
    if not unknown:
        return []
    near = [found[0] for name in unknown if (found := difflib.get_close_matches(name, known, n=1))]
    hint = f"did you mean {', '.join(near)}?" if len(near) == len(unknown) else f"known: {', '.join(known)}"
    return [f"prompts: unknown {', '.join(unknown)}; {hint}"]


def resolve_prompts(names: Sequence[str], custom: Mapping[str, str]) -> dict[str, str]:
    """Prompt name -> text with {class} still in it, for built-in and custom prompts and the sets of them.

    Raises:
        ConfigError: unknown names, all of them at once.
    """
    known = {**PROMPTS, **custom}
    if problems := unknown_prompts(names, custom):
        raise ConfigError(
            problems[0].partition(";")[0],
            expected=f"one of {', '.join([*known, *PROMPT_SETS])}",
            remedy="add the text under custom_prompts or correct the name",
        )
    return {name: known[name] for name in expand_prompts(names)}


def inject_class(prompt: str, class_name: str) -> str:
    """The prompt with `{class}` replaced by the class name; other braces stay as they are."""
    return prompt.replace(CLASS_FIELD, class_name)


def text_problems(text: str, fields: Sequence[str] = ("class",)) -> list[str]:
    """What is wrong with a prompt or a template that a user wrote, in words; empty if nothing is.

    A word in braces is a field and must be one of `fields`; other braces (an example of JSON) are left alone.
    """
    problems = []
    if not text.strip():
        return ["is empty"]
    if text != text.strip():
        problems.append("has blanks or line ends around it")
    if len(text) > MAX_CHARACTERS:
        problems.append(f"has {len(text):,} characters, at most {MAX_CHARACTERS:,} are allowed")
    for found in _FIELD.finditer(text):
        if found.group() not in {f"{{{name}}}" for name in fields}:
            near = difflib.get_close_matches(found.group(1).lower(), fields, n=1, cutoff=0.5) or fields[:1]
            problems.append(f"has the unknown field {found.group()}; did you mean {{{near[0]}}}?")
    return list(dict.fromkeys(problems))


def custom_prompt_problems(custom: Mapping[str, str]) -> list[str]:
    """Everything that is wrong with a user's own prompts: names, texts, and one text under two names.

    A custom prompt may take the name of a built-in one and replaces it.
    """
    problems = []
    for name, text in custom.items():
        if not NAME_PATTERN.fullmatch(name):
            problems.append(f"{name!r} is no name (small letters, digits, _ and -, a letter or digit in front)")
        problems += [f"{name} {problem}" for problem in text_problems(text)]
    first: dict[str, str] = {}
    for name, text in {**PROMPTS, **custom}.items():
        other = first.setdefault(" ".join(text.split()), name)
        if other != name:
            problems.append(f"{name} has the same text as {other}")
    return problems
