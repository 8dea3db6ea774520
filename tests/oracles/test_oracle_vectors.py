"""Our formulas against the official codes' outputs and gradients, stored as vectors outside the project.

The folder is ORACLE_VECTORS, else `vectors` of the shared materials; without one every test skips with a reason. Each
manifest's kind selects an adapter (`adapters/`), which calls the product's public functions in float64, and in float32
where the manifest has a tolerance for it. An unknown kind, an unread parameter or a missing output fails.
"""

from typing import Any

import pytest
import torch

from tests.oracles.adapters import adapters
from tests.oracles.manifest import FOLDER, Parameters, arrays_of, inputs_of, manifest_of, names

DTYPES = {"float64": torch.float64, "float32": torch.float32, "int": torch.float64}


@pytest.mark.parametrize("name", names())
def test_outputs_and_gradients_agree_with_the_official_code(name: str) -> None:
    manifest = manifest_of(name)
    adapter = adapters().get(manifest["kind"])
    assert adapter is not None, f"no adapter for vectors of kind {manifest['kind']}"
    for number_format, tolerance in manifest["tolerance"].items():
        stored = arrays_of(name)
        parameters = Parameters(manifest["parameters"])
        got = adapter(inputs_of(stored, DTYPES[number_format]), parameters)
        assert not parameters.unread, f"parameters that nobody read: {sorted(parameters.unread)}"
        wanted = set(manifest["outputs"]) - {"out_agrees"}
        assert {f"out_{key}" for key in got} == wanted, "every stored output is compared"
        for key, value in got.items():
            expected = stored[f"out_{key}"]
            actual = torch.as_tensor(value).detach().to(torch.float64)
            if f"out_exact_{key}" in stored and "out_agrees" in stored:  # official values count only where they agree
                actual, expected = actual[stored["out_agrees"]], expected[stored["out_agrees"]]
            torch.testing.assert_close(
                {f"{number_format} {key}": actual}, {f"{number_format} {key}": expected.double()}, **_bounds(tolerance)
            )


def _bounds(tolerance: dict[str, Any]) -> dict[str, float]:
    return {"rtol": 0.0, "atol": 0.0} if tolerance.get("exact") else tolerance


def test_there_are_vectors() -> None:
    if not names():
        pytest.skip(f"no oracle vectors at {FOLDER}; say where they are with ORACLE_VECTORS")
    assert {manifest_of(name)["kind"] for name in names()} <= set(adapters())


def test_an_unread_parameter_is_known_by_name() -> None:
    parameters = Parameters({"tau": 0.07, "N": 3})
    parameters.sizes(N=3)
    assert parameters.unread == {"tau"}
    with pytest.raises(AssertionError, match="the arrays say 4"):
        parameters.sizes(N=4)
