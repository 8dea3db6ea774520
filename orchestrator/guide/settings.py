"""The settings of all sheets as one tree that dotted paths lead through, as a reader of a sheet sees it.

Holds the walk from a path to the classes and fields it names. Reads and writes nothing.
"""

import difflib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.config.execution import Execution
from orchestrator.config.experiment import Experiment
from orchestrator.errors import ConfigError
from orchestrator.search.space import SearchSpace

SHEETS: Mapping[str, type[BaseModel]] = {"experiment": Experiment, "execution": Execution, "space": SearchSpace}
# What the shipped sheets call a loss; a path through such a name means the kind that it customarily has.
CUSTOMARY = {
    "losses.classification": "logit_adjusted_cross_entropy",
    "losses.text": "text_contrastive",
    "losses.image": "image_distillation",
}
KIND = "kind"


@dataclass(frozen=True)
class Found:
    """What a path leads to.

    Attributes:
        path: from the sheet's top, with the kind in the place of a name that the user chose.
        sheet: experiment, execution or space.
        owner: the class that has the setting; None at the top.
        field: the setting; None where the path ends in the name of a kind.
        models: the classes that may stand there; none where a plain value does.
    """

    path: str
    sheet: str
    owner: type[BaseModel] | None
    field: FieldInfo | None
    models: tuple[type[BaseModel], ...]


def find(path: str, tree: Mapping[str, Any] | None = None) -> list[Found]:
    """Where a dotted path leads, in each sheet that has it, the experiment first.

    Args:
        path: as in a sheet or an override (`losses.text.weight`), with the name of a kind in the place of a name where
            that is meant (`losses.text_contrastive`), and perhaps the sheet in front (`execution.training`).
        tree: a sheet's content, whose kinds are meant where a path goes through them.

    Raises:
        ConfigError: no sheet has it; names what is near.
    """
    names = [name for name in path.split(".") if name]
    wanted, rest = ([names[0]], names[1:]) if names and names[0] in SHEETS else (list(SHEETS), names)
    found = [hit for sheet in wanted for hit in _walk(sheet, rest, tree or {})]
    if not found:
        raise ConfigError(f"{path}: no such setting", expected=_near(names))
    return found


def _walk(sheet: str, names: list[str], tree: Mapping[str, Any]) -> list[Found]:
    hits = [Found("", sheet, None, None, (SHEETS[sheet],))]
    node: Any = tree
    for index, name in enumerate(names):
        node = node.get(name) if isinstance(node, Mapping) else None
        told = node.get(KIND) if isinstance(node, Mapping) else None
        kind = str(told or CUSTOMARY.get(".".join(names[: index + 1]), ""))
        hits = [step for hit in hits for step in _step(hit, name, kind)]
    return _merged(hits)


def _step(hit: Found, name: str, kind: str) -> Iterator[Found]:
    """The ways on from a place by one name: a field, a kind, or a name that the user chose."""
    if hit.field is not None and is_map(hit.field.annotation):
        chosen = [model for model in hit.models if kind_of(model) in (name, kind)]
        if not chosen and difflib.get_close_matches(name, map(kind_of, hit.models), n=1, cutoff=0.85):
            return  # a misspelt kind rather than a name of the user's
        shown = kind_of(chosen[0]) if chosen else "NAME"
        yield Found(_joined(hit.path, shown), hit.sheet, hit.owner, None, tuple(chosen) or hit.models)
        return
    for model in hit.models:
        if name in model.model_fields:
            field = model.model_fields[name]
            models = tuple(models_in(field.annotation))
            narrowed = tuple(one for one in models if kind and kind_of(one) == kind)
            known = is_map(field.annotation) or not narrowed
            yield Found(_joined(hit.path, name), hit.sheet, model, field, models if known else narrowed)
        elif kind_of(model) == name:
            yield Found(_joined(hit.path, name), hit.sheet, hit.owner, None, (model,))


def _merged(hits: list[Found]) -> list[Found]:
    """One of each: a setting that several kinds inherit is told once for each class that declares it differently."""
    seen: dict[tuple[str, str, str], Found] = {}
    for hit in hits:
        seen.setdefault((hit.sheet, hit.path, repr(hit.field)), hit)
    return list(seen.values())


def every_path(depth: int = 4) -> Iterator[str]:
    """The paths of all settings, kinds in the place of chosen names, at most `depth` names long."""
    for sheet, model in SHEETS.items():
        yield from _below(model, "" if sheet == "experiment" else sheet, depth)


def _below(model: type[BaseModel], path: str, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    for name, field in model.model_fields.items():
        if name == KIND:
            continue
        here = _joined(path, name)
        yield here
        for inner in models_in(field.annotation):
            kind = kind_of(inner)
            yield from _below(inner, _joined(here, kind) if kind else here, depth - 1 - bool(kind))


def _near(names: list[str]) -> str:
    """What stands beside it and is spelt likewise, else settings whose last name is the one asked for or near."""
    leaf = names[-1] if names else ""
    if beside := _spelt_likewise(names[:-1], leaf):
        return " or ".join(beside)
    paths = list(dict.fromkeys(every_path()))
    same = [path for path in paths if path.split(".")[-1] == leaf]
    spelt = difflib.get_close_matches(".".join(names), paths, n=3, cutoff=0.6)
    leaves = {path.split(".")[-1]: path for path in reversed(paths)}
    by_leaf = [leaves[near] for near in difflib.get_close_matches(leaf, leaves, n=2, cutoff=0.75)]
    near = list(dict.fromkeys([*same[:6], *spelt, *by_leaf]))
    return " or ".join(near) if near else f"a path into {', '.join(SHEETS)}, as losses.text.weight"


def _spelt_likewise(parents: list[str], leaf: str) -> list[str]:
    """Paths of settings and kinds below `parents` whose name is near; none where `parents` lead nowhere."""
    paths = {
        name: _joined(hit.path, name)
        for sheet in SHEETS
        for hit in _walk(sheet, parents, {})
        for model in hit.models
        for name in (*model.model_fields, kind_of(model))
    }
    return [paths[near] for near in difflib.get_close_matches(leaf, paths, n=3, cutoff=0.75)]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that an annotation names, in its order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def is_map(annotation: Any) -> bool:
    """Whether names of the user's stand there."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(is_map(part) for part in get_args(annotation))
    return get_origin(annotation) is dict


def kind_of(model: type[BaseModel]) -> str:
    """The name by which YAML chooses a class; empty for one that is not chosen."""
    field = model.model_fields.get(KIND)
    return str(field.default) if field is not None and get_origin(field.annotation) is Literal else ""


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
