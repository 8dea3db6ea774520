"""Vectors of every kind with other seeds, shapes and parameter values pass unchanged.

A second, independent implementation (`references/`) stands in for the official codes: it gives what the shipped vectors
store, and then writes further vectors, which the product must pass as it passes the shipped ones.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.oracles.adapters import adapters
from tests.oracles.comparison import assert_close, assert_the_product_agrees
from tests.oracles.manifest import arrays_of, inputs_of, manifest_of, names
from tests.oracles.references import references
from tests.oracles.references.reference import Draw, Reference

SEEDS = range(3)


def test_every_kind_that_has_an_adapter_has_a_reference() -> None:
    assert set(references()) == set(adapters())


@pytest.mark.parametrize("name", names())
def test_the_reference_gives_what_the_official_code_gave(name: str) -> None:
    manifest, stored = manifest_of(name), arrays_of(name)
    got = references()[manifest["kind"]].outputs(inputs_of(stored, torch.float64), manifest["parameters"])
    tolerance = manifest["tolerance"].get("float64") or manifest["tolerance"]["int"]
    assert_close(got, stored, tolerance, "float64")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", sorted(references()))
def test_a_vector_of_other_shapes_and_parameters_passes(kind: str, seed: int, tmp_path: Path) -> None:
    write_vector(tmp_path, kind, references()[kind], seed)
    assert_the_product_agrees(kind, tmp_path)


def write_vector(folder: Path, kind: str, reference: Reference, seed: int) -> None:
    """A manifest and its arrays, as the shipped ones are."""
    inputs, parameters = reference.draw(Draw(seed))
    outputs = reference.outputs({name: tensor.clone() for name, tensor in inputs.items()}, parameters)
    given = {f"in_{name}": tensor.numpy() for name, tensor in inputs.items()}
    made = {f"out_{name}": torch.as_tensor(value).detach().numpy() for name, value in outputs.items()}
    np.savez(folder / f"{kind}.npz", **given, **made)  # type: ignore[arg-type]
    manifest = {
        "kind": kind,
        "parameters": parameters,
        "outputs": {name: {"shape": array.shape} for name, array in made.items()},
        "tolerance": reference.tolerance,
    }
    (folder / f"{kind}.json").write_text(json.dumps(manifest))
