"""Sets of keys in 16 bytes each: the same answers as Python's own sets."""

import random

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.artifacts.key_set import KeySet, order_of, pack_keys
from tests.stores import key, keys


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_a_set_of_keys_answers_like_a_python_set(size: int) -> None:
    draw = random.Random(size)
    inside = keys(draw.sample(range(5000), size))
    asked = keys(draw.choices(range(5000), k=700))
    assert KeySet(pa.array(inside, pa.string())).has(pa.array(asked, pa.string())).tolist() == [
        asked_key in set(inside) for asked_key in asked
    ]


def test_keys_that_begin_alike_are_told_apart() -> None:
    same = "0123456789abcdef"
    inside = pa.array([same + f"{number:016x}" for number in (3, 1, 1, 7)])
    found = KeySet(inside).has(pa.array([same + f"{number:016x}" for number in range(9)]))
    assert np.flatnonzero(found).tolist() == [1, 3, 7]


def test_strings_that_are_no_digests_are_keys_as_well_and_in_any_company() -> None:
    odd = ["", "a", "A" * 32, "g" * 32, "0" * 31, "0" * 33, " " * 32]
    mixed = KeySet(pa.chunked_array([pa.array([*odd, key(1)]), pa.array([key(2)])]))
    assert mixed.has(pa.array([*odd, key(1), key(2)])).all()
    assert not mixed.has(pa.array(["b", "a" * 32, key(3)])).any()


def test_slices_of_arrays_are_packed_from_their_start() -> None:
    array = pa.array(keys(range(10)))
    assert pack_keys(array.slice(3, 4)).tolist() == pack_keys(array)[3:7].tolist()
    assert (
        pack_keys(pa.chunked_array([array.slice(3, 2), array.slice(5, 2)])).tolist() == pack_keys(array)[3:7].tolist()
    )


def test_packed_keys_are_ordered_like_their_digits() -> None:
    names = [*keys(range(200)), *keys(range(50))]
    assert [names[place] for place in order_of(pack_keys(pa.array(names)))] == sorted(names)
