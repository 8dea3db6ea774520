"""Comparison of what the product computes for one vector with what the vector stores.

Reads a manifest and its arrays, and calls the adapter of its kind in every number format that has a tolerance.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.oracles.adapters import adapters
from tests.oracles.manifest import FOLDER, Outputs, Parameters, arrays_of, inputs_of, manifest_of

DTYPES = {"float64": torch.float64, "float32": torch.float32, "int": torch.float64}


def assert_the_product_agrees(name: str, folder: Path = FOLDER) -> None:
    """An unknown kind, an unread parameter, a missing output or a value outside the tolerance fails."""
    manifest = manifest_of(name, folder)
    adapter = adapters().get(manifest["kind"])
    assert adapter is not None, f"no adapter for vectors of kind {manifest['kind']}"
    stored = arrays_of(name, folder)
    assert {key for key in stored if key.startswith("out_")} == set(manifest["outputs"]), "arrays as the manifest says"
    for number_format, tolerance in manifest["tolerance"].items():
        parameters = Parameters(manifest["parameters"])
        got = adapter(inputs_of(stored, DTYPES[number_format]), parameters)
        assert not parameters.unread, f"parameters that nobody read: {sorted(parameters.unread)}"
        assert_close(got, stored, tolerance, number_format)


def assert_close(got: Outputs, stored: Mapping[str, Tensor], tolerance: Mapping[str, Any], number_format: str) -> None:
    """Every stored output within the tolerance; where `out_agrees` stands, the official values only there."""
    wanted = {key for key in stored if key.startswith("out_")} - {"out_agrees"}
    assert {f"out_{key}" for key in got} == wanted, "every stored output is compared"
    bounds = {"rtol": 0.0, "atol": 0.0} if tolerance.get("exact") else dict(tolerance)
    for key, value in got.items():
        expected = stored[f"out_{key}"]
        actual = torch.as_tensor(value).detach().to(torch.float64)
        if f"out_exact_{key}" in stored and "out_agrees" in stored:
            actual, expected = actual[stored["out_agrees"]], expected[stored["out_agrees"]]
        torch.testing.assert_close(
            {f"{number_format} {key}": actual}, {f"{number_format} {key}": expected.double()}, **bounds
        )
