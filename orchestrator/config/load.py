"""From YAML and `a.b=value` overrides to one frozen tree, validated once; every problem is told at once, with its path.

Reads YAML files. Knows nothing of what the settings do.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from orchestrator.config.execution import Execution
from orchestrator.config.experiment import Experiment
from orchestrator.errors import ConfigError
from orchestrator.secrecy import redacted, secrets_in

Settings = TypeVar("Settings", bound=BaseModel)
MAX_NODES = (
    100_000  # of one sheet; the largest of ours has some hundreds. Aliases of aliases make billions of few lines
)


class _OneKeyEach(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice in one mapping, of which plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    if not path.is_file():
        there = [str(other) for other in sorted(path.parent.glob("*.yaml"))] if path.parent.is_dir() else []
        near = difflib.get_close_matches(str(path), there, n=4) or there[:8]
        raise ConfigError(f"{path}: no such file", expected=", ".join(near) or "the path of a YAML file")
    try:
        tree = _parsed(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or str(error)
        raise ConfigError(
            f"{path}: not YAML{where}: {what}", expected="YAML without tags; tabs do not indent"
        ) from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds {type(tree).__name__}", expected="a mapping of settings")
    return tree


def _parsed(text: str) -> Any:
    """What a YAML text says; YAMLError also for one that is made to exhaust stack or memory."""
    try:
        tree = _OneKeyEach(text).get_single_data()
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of too many digits, an impossible date
        raise yaml.YAMLError(str(error)) from error
    nodes, count = [iter([tree])], 0
    while nodes:
        for node in nodes[-1]:
            count += 1
            if count > MAX_NODES:
                raise yaml.YAMLError(f"more than {MAX_NODES:,} values, aliases counted as often as they stand")
            if isinstance(node, dict | list):
                nodes.append(iter(node.values() if isinstance(node, dict) else node))
                break
        else:
            nodes.pop()
    return tree


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """`a.b=value` arguments as a mapping of dotted path to value; values are read as YAML (`null` removes a loss)."""
    overrides, wrong = {}, []
    for argument in arguments:
        path, sign, value = argument.partition("=")
        if not sign or not path.strip():
            wrong.append(argument)
            continue
        try:
            overrides[path.strip()] = _parsed(value) if value else ""
        except yaml.YAMLError as error:
            why = str(getattr(error, "problem", None) or error)
            raise ConfigError(f"override {argument}: no YAML ({why})", remedy="put texts into quotes") from error
    if wrong:
        raise ConfigError(f"overrides: {', '.join(wrong)}", expected="a.b=value, for example training.epochs=20")
    return overrides


def apply_overrides(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `tree` with the values at dotted paths replaced; missing mappings on the way are made."""
    result = _copy(tree)
    for path, value in overrides.items():
        node = result
        *parents, leaf = path.split(".")
        for name in parents:
            if not isinstance(node.get(name), dict):
                node[name] = {}
            node = node[name]
        node[leaf] = _copy(value)
    return result


def _copy(node: Any) -> Any:
    return {key: _copy(value) for key, value in node.items()} if isinstance(node, Mapping) else node


def validate(kind: type[Settings], tree: Mapping[str, Any], source: str) -> Settings:
    """The settings in `tree`.

    Raises:
        ConfigError: all problems at once, one line each with its path and, for unknown names, the nearest known one;
            a secret among the settings is one.
    """
    problems = [f"{problem}" for problem in secrets_in(tree)]
    try:
        settings = kind.model_validate(tree)
    except ValidationError as error:
        told = [_explain(problem, tree, kind) for problem in error.errors(include_url=False)]
        problems += [line for problem in told for line in problem.splitlines()]
    if not problems:
        return settings
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    raise ConfigError(f"{source}: {count}\n" + "\n".join(f"  {problem}" for problem in problems))


def _explain(problem: Any, tree: Mapping[str, Any], kind: type[BaseModel]) -> str:
    names = [str(part) for part in problem["loc"]]
    path = ".".join(name for name in _without_tags(names, tree)) or "(top level)"
    if problem["type"] == "extra_forbidden":
        known = _known_names(kind, names[:-1])
        near = difflib.get_close_matches(names[-1], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else (f"; known: {', '.join(known)}" if known else "")
        return f"{path}: unknown setting{hint}"
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{path}.kind: {_unknown_kind(problem)}"
    given = problem.get("input")
    shown = f" (given {redacted(repr(given))})" if isinstance(given, str | int | float | bool) else ""
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {message}{shown}" if names else f"{message}{shown}"


def _unknown_kind(problem: Any) -> str:
    """What is wrong with the kind of a setting, and what it could be."""
    context = problem["ctx"]
    if problem["type"] == "union_tag_not_found":
        return "must be given, as {kind: NAME}"
    tag, known = str(context["tag"]), [part.strip("'") for part in str(context["expected_tags"]).split(", ")]
    near = difflib.get_close_matches(tag, known, n=1)
    return f"unknown {redacted(tag)}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")


def _without_tags(names: list[str], tree: Any) -> list[str]:
    """Drop the union tags pydantic puts into a location: they stand in no file."""
    kept, node = [], tree
    for index, name in enumerate(names):
        unknown = isinstance(node, Mapping) and name not in node
        is_tag = unknown and (node.get("kind") == name or ("kind" not in node and index < len(names) - 1))
        if is_tag:
            continue
        kept.append(name)
        node = node.get(name) if isinstance(node, Mapping) else None
    return kept


def _known_names(kind: Any, path: list[str]) -> list[str]:
    """Names of the settings at `path` below `kind`, following annotations; empty where they cannot be known."""
    candidates = [kind]
    for name in path:
        found: list[Any] = []
        for candidate in candidates:
            fields = getattr(candidate, "model_fields", {})
            if name in fields:
                found += _models_in(fields[name].annotation)
            elif getattr(fields.get("kind"), "default", None) == name:
                found.append(candidate)
        candidates = found or candidates
    return sorted({name for candidate in candidates for name in getattr(candidate, "model_fields", {})})


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment sheet at `path` with command-line overrides; its arms and their overrides are checked too."""
    tree = apply_overrides(read_yaml(path), parse_overrides(overrides))
    experiment = validate(Experiment, tree, str(path))
    for name in experiment.arms:
        arm_experiment(experiment, name)
    return experiment


def load_execution(path: Path, overrides: Sequence[str] = ()) -> Execution:
    """The execution sheet at `path` with overrides."""
    return validate(Execution, apply_overrides(read_yaml(path), parse_overrides(overrides)), str(path))


def with_overrides(experiment: Experiment, overrides: Mapping[str, Any], source: str) -> Experiment:
    """A trial or an arm: the experiment with overrides, validated as a whole."""
    return validate(Experiment, apply_overrides(experiment.model_dump(mode="json"), overrides), source)


def arm_experiment(experiment: Experiment, arm: str, extra: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment of one arm, optionally with a sweep's best values on top."""
    source = f"arms.{arm}"
    return with_overrides(experiment, {**experiment.arms[arm], **(extra or {})}, source)
