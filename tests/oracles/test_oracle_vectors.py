"""Our formulas against the official codes' outputs and gradients, stored as vectors outside the project.

The folder is ORACLE_VECTORS, else `vectors` of the shared materials; without one every test skips with a reason. Each
manifest's kind selects an adapter (`adapters/`), which calls the product's public functions in float64, and in float32
where the manifest has a tolerance for it. An unknown kind, an unread parameter or a missing output fails.
"""

import pytest

from tests.oracles.adapters import adapters
from tests.oracles.comparison import assert_the_product_agrees
from tests.oracles.manifest import FOLDER, Parameters, manifest_of, names


@pytest.mark.parametrize("name", names())
def test_outputs_and_gradients_agree_with_the_official_code(name: str) -> None:
    assert_the_product_agrees(name)


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
