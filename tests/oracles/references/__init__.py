"""What the vectors store, computed a second time: plain float64 formulas of the methods, written for clarity alone.

One file per family, one REFERENCES mapping from a manifest's kind each. They call nothing of the product, and are
themselves checked against the shipped vectors; then they stand in for the official codes on other seeds, shapes and
parameter values.
"""

import importlib
import pkgutil

from tests.oracles.references.reference import Reference


def references() -> dict[str, Reference]:
    """Reference by kind, of all families."""
    found: dict[str, Reference] = {}
    for module in pkgutil.iter_modules(__path__):
        family: dict[str, Reference] = getattr(importlib.import_module(f"{__name__}.{module.name}"), "REFERENCES", {})
        assert not set(family) & set(found), f"{module.name} repeats a kind of another family"
        found |= family
    return found
