"""JSON schemas of the sheets, made from the settings' classes, so that an editor completes names and marks mistakes.

Writes `schemas/*.json`. A test holds the shipped files against the classes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.guide.explain import first_sentence, meaning_of
from orchestrator.guide.settings import SHEETS, models_in

FILLED_IN = {"ListFileSettings": "lists"}  # settings that a class takes from another one where a sheet leaves them out
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema(sheet: str) -> dict[str, Any]:
    """The schema of one sort of sheet: experiment, execution or space."""
    model = SHEETS[sheet]
    made = model.model_json_schema(mode="validation")
    meanings = {one.__name__: one for one in _below(model, set())}
    for name, definition in {model.__name__: made, **made.get("$defs", {})}.items():
        if name in meanings:
            _describe(definition, meanings[name])
        if name in FILLED_IN:
            definition["required"].remove(FILLED_IN[name])
    if sheet == "experiment":
        _let_null_remove_a_loss(made)
    return {"$schema": DRAFT, **made}


def schema_files(folder: Path) -> list[Path]:
    """Where `write_schemas` writes."""
    return [folder / f"{sheet}.json" for sheet in SHEETS]


def write_schemas(folder: Path) -> list[Path]:
    """Write the schema of each sort of sheet; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = schema_files(folder)
    for sheet, path in zip(SHEETS, paths, strict=True):
        path.write_text(
            json.dumps(schema(sheet), indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return paths


def _below(model: type[Any], seen: set[type[Any]]) -> Iterator[type[Any]]:
    """A class and all that its fields name, each once."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            yield from _below(inner, seen)


def _describe(definition: dict[str, Any], model: type[Any]) -> None:
    """What editors show beside a class and its settings: the texts of `orchestrator explain`."""
    definition["description"] = first_sentence(model)
    for name, told in definition.get("properties", {}).items():
        if name in model.model_fields and (meaning := meaning_of(model, name)):
            told["description"] = meaning


def _let_null_remove_a_loss(made: dict[str, Any]) -> None:
    """A sheet may take a loss away by `NAME: null`, which the class sees only after that."""
    losses = made["properties"]["losses"]
    losses["additionalProperties"] = {"anyOf": [losses["additionalProperties"], {"type": "null"}]}
