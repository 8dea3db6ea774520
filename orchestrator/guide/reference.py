"""The reference of all settings as pages of Markdown, made of the texts of `orchestrator explain`.

Returns texts. Knows nothing of the site that shows them.
"""

from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel

from orchestrator.guide.explain import Explained, explain
from orchestrator.guide.settings import SHEETS, kind_of, models_in

LINK = "[`orchestrator explain PATH`](../tutorial.md) prints the same in the terminal."
TITLES = {"experiment": "Experiment", "execution": "Execution", "space": "Search space"}


@cache
def pages() -> dict[str, tuple[str, str]]:
    """Path -> (title, text): a page for each sheet, and one for each place of a sheet where kinds are chosen."""
    made = {"reference/index.md": ("Settings", "")}
    links = []
    for sheet, model in SHEETS.items():
        path = f"reference/{sheet}.md"
        made[path] = (TITLES[sheet], _page(TITLES[sheet], [_group(model, sheet)]))
        links.append(f"* [{TITLES[sheet]}]({sheet}.md)")
        for name, field in model.model_fields.items():
            if not models_in(field.annotation):
                continue
            prefix = "" if sheet == "experiment" else f"{sheet}."
            page = f"reference/{sheet}_{name}.md"
            title = f"{prefix}{name}"
            made[page] = (title, _page(title, list(_below(field.annotation, title))))
            links.append(f"    * [{title}]({sheet}_{name}.md)")
    head = f"Every setting with its type, range, default and meaning, from the docstrings of its class. {LINK}"
    made["reference/index.md"] = ("Settings", "\n".join(["# Settings", "", head, "", *links, ""]))
    return made


def _below(annotation: object, path: str) -> Iterator[str]:
    """A section for each class that may stand at a place; of what stands below that, too."""
    for model in models_in(annotation):
        kind = kind_of(model)
        here = f"{path}.{kind}" if kind else path
        yield _group(model, here)
        for name, field in model.model_fields.items():
            if models_in(field.annotation) and name != "kind":
                yield from _below(field.annotation, f"{here}.{name}")


def _group(model: type[BaseModel], path: str) -> str:
    found = next((one for one in explain(path) if one.settings), None)
    if found is None or found.title != _first_line(model):
        found = Explained(path=path, sheet="", title=_first_line(model))
    return _section(path, found)


def _first_line(model: type[BaseModel]) -> str:
    from orchestrator.guide.explain import first_sentence

    return first_sentence(model)


def _section(path: str, found: Explained) -> str:
    rows = [
        f"| `{name}` | {_cell(kind)} | {_cell(default)} | {_cell(told)} |"
        for name, kind, default, told in found.settings
    ]
    head = ["| setting | type | default | meaning |", "|---|---|---|---|"] if rows else []
    return "\n".join([f"## {path}", "", _escaped(found.meaning or found.title), "", *head, *rows, ""])


def _page(title: str, sections: list[str]) -> str:
    return "\n".join([f"# {title}", "", *dict.fromkeys(sections)])


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*")
