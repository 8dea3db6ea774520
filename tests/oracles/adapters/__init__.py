"""Adapters from a manifest's kind to the product's public functions: one file per family, one ADAPTERS mapping each.

An adapter takes (inputs, parameters), both as stored, and returns every output of the manifest by name. Sizes among the
parameters are read with `parameters.sizes(...)`. It computes in the number format of its inputs.
"""

import importlib
import pkgutil

from tests.oracles.manifest import Adapter


def adapters() -> dict[str, Adapter]:
    """Adapter by kind, of all families."""
    found: dict[str, Adapter] = {}
    for module in pkgutil.iter_modules(__path__):
        family: dict[str, Adapter] = importlib.import_module(f"{__name__}.{module.name}").ADAPTERS
        assert not set(family) & set(found), f"{module.name} repeats a kind of another family"
        found |= family
    return found
