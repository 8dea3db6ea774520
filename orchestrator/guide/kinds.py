"""What there is to choose from: kinds by their place in a sheet, prompts, and the sheets that lie in the folders.

Reads sheets' headers. Writes nothing.
"""

import difflib
from pathlib import Path
from typing import Any

import yaml

from orchestrator.captioners import CaptionerSettings
from orchestrator.captioners.prompts import DESCRIPTION_PROMPTS, PROMPT_SETS, PROMPTS
from orchestrator.captioners.texts import TextSettings
from orchestrator.datasets import DatasetSettings
from orchestrator.errors import ConfigError
from orchestrator.guide.explain import first_sentence
from orchestrator.guide.settings import kind_of, models_in
from orchestrator.losses import LossSettings
from orchestrator.students import StudentSettings
from orchestrator.teachers import ImageEncoderSettings, TextEncoderSettings

UNIONS: dict[str, Any] = {
    "losses": LossSettings,
    "students": StudentSettings,
    "captioners": CaptionerSettings,
    "datasets": DatasetSettings,
    "texts": TextSettings,
}
FOLDERS = {"recipes": Path("jobs/experiments"), "executions": Path("jobs/executions"), "spaces": Path("search_spaces")}
WORDS = ("losses", "students", "teachers", "captioners", "datasets", "texts", "prompts", *FOLDERS)
Row = tuple[str, str]


def listed(what: str, root: Path = Path()) -> list[Row]:
    """(name, what it is) of everything of one sort.

    Args:
        what: one of WORDS.
        root: the directory in which the folders of sheets are looked for.

    Raises:
        ConfigError: another word, or no sheets there.
    """
    if what in UNIONS:
        return _kinds(UNIONS[what])
    if what == "teachers":
        return _teachers()
    if what == "prompts":
        return _prompts()
    if what in FOLDERS:
        return _sheets(root / FOLDERS[what])
    near = difflib.get_close_matches(what, WORDS, n=1)
    raise ConfigError(f"there are no {what} to list", expected=f"{near[0]}?" if near else " | ".join(WORDS))


def _kinds(union: Any) -> list[Row]:
    return sorted((kind_of(model), first_sentence(model)) for model in models_in(union))


def _teachers() -> list[Row]:
    """Encoders, with what each encodes."""
    of_images, of_texts = (dict(_kinds(union)) for union in (ImageEncoderSettings, TextEncoderSettings))
    rows = []
    for kind, told in {**of_images, **of_texts}.items():
        what = [word for word, there in (("images", of_images), ("texts", of_texts)) if kind in there]
        rows.append((kind, f"[{' and '.join(what)}] {told}"))
    return rows


def _prompts() -> list[Row]:
    sets = [(name, " + ".join(members)) for name, members in PROMPT_SETS.items()]
    of_classes = [(f"description {name}", text) for name, text in DESCRIPTION_PROMPTS.items()]
    return [*PROMPTS.items(), *sets, *of_classes]


def _sheets(folder: Path) -> list[Row]:
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ConfigError(f"{folder}: no sheets there", expected="to be called in the project's directory")
    return [(str(path), _headline(path)) for path in paths]


def _headline(path: Path) -> str:
    """The question of a sheet's header, else its description, else its first comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ") for line in lines if line.startswith("#") and "yaml-language-server" not in line]
    asked = next((line.partition(":")[2].strip() for line in comments if line.startswith("Question:")), "")
    return asked or _described(path) or (comments[0] if comments else "")


def _described(path: Path) -> str:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    told = (tree.get("description") or tree.get("question")) if isinstance(tree, dict) else None
    return str(told or "")
