"""The variants of a sweep: its combinations of settings that decide captions and embeddings.

Reads and writes nothing.
"""

import itertools
from collections.abc import Mapping
from typing import Any

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.config.arms import needs_variant
from orchestrator.search.space import SearchSpace

ABSENT = object()


def variants(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """Name -> values of every variant that a trial may be of; none where all trials share (see `wrong_variants`)."""
    paths = [path for path in space.order if needs_variant(path)]
    cells = [(*(space.parameters[path].cells() or ()), *([ABSENT] if space.parameters[path].when else []))
             for path in paths]  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for combination in itertools.product(*cells):
        values = {path: value for path, value in zip(paths, combination, strict=True) if value is not ABSENT}
        if name := variant_of(space, values):
            found[name] = values
    return found


def variant_of(space: SearchSpace, values: Mapping[str, Any]) -> str:
    """The name of the variant that a trial's values are of; "" where the space has none."""
    found = variant_values(values)
    return f"{space.name}-{fingerprint(found)[:8]}" if found else ""


def variant_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a trial's values makes its variant."""
    return {path: value for path, value in values.items() if needs_variant(path)}


def wrong_variants(space: SearchSpace) -> list[str]:
    """Why a space's variants cannot be made, in words."""
    endless = [path for path in space.uncountable() if needs_variant(path)]
    found = [f"{path}: each value needs captions or embeddings of its own; give a choice" for path in endless]
    return found + [
        f"fixed.{path}: trials would read other captions or embeddings than the final student; set it in the experiment"
        for path in space.fixed
        if needs_variant(path)
    ]
