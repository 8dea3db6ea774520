"""Rows of the parity board: one file per peer library, one ROWS list each. A further row is one entry.

A file imports its library where a row calls it, so that the board can say what is not installed.
"""

import importlib
import pkgutil

from benchmarks.parity_rows.row import Row


def rows() -> list[Row]:
    """The rows of all peers."""
    found: list[Row] = []
    for module in pkgutil.iter_modules(__path__):
        found += getattr(importlib.import_module(f"{__name__}.{module.name}"), "ROWS", [])
    return found
