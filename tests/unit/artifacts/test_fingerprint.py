"""Fingerprints: the same for the same content, different for every other, closed to what JSON cannot say."""

from pathlib import Path

import pytest

from orchestrator.artifacts.fingerprint import (
    differing_fields,
    digest_bytes,
    digest_file,
    digest_folder,
    fingerprint,
)

TREE = {"a": 1, "b": {"c": [1, 2.5, None, True], "d": "ä"}}


def test_the_order_of_keys_does_not_matter_and_that_of_lists_does() -> None:
    assert fingerprint(TREE) == fingerprint({"b": {"d": "ä", "c": [1, 2.5, None, True]}, "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])


def test_values_that_look_alike_have_different_fingerprints() -> None:
    values = [1, "1", True, 1.5, "true", None, "null", [], {}, "", [1], {"a": 1}, {"a": "1"}, {"a": {"1": 1}}]
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize("value", [Path("x"), {1, 2}, object(), b"bytes"])
def test_what_json_cannot_say_is_refused_rather_than_entering_by_its_repr(value: object) -> None:
    with pytest.raises(TypeError):
        fingerprint({"value": value})


def test_digests_are_the_published_blake2b_of_128_bits() -> None:
    assert digest_bytes(b"") == "cae66941d9efbd404e4d88758ea67670"  # BLAKE2b-128 of the empty string


def test_a_file_and_its_bytes_have_one_digest(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000  # more than one chunk of 1 MiB
    (tmp_path / "x").write_bytes(data)
    assert digest_file(tmp_path / "x") == digest_bytes(data)


def test_a_folder_changes_with_a_byte_a_name_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.safetensors").write_bytes(b"abc")
    (tmp_path / "readme.md").write_bytes(b"words")
    first, weights = digest_folder(tmp_path), digest_folder(tmp_path, [".safetensors"])
    (tmp_path / "readme.md").write_bytes(b"other words")
    assert digest_folder(tmp_path) != first
    assert digest_folder(tmp_path, [".safetensors"]) == weights
    (tmp_path / "sub" / "w.safetensors").rename(tmp_path / "w.safetensors")
    assert digest_folder(tmp_path, [".safetensors"]) != weights


def test_differing_fields_are_named_by_path_with_both_values() -> None:
    old = {"training": {"epochs": 3, "seed": 0}, "kind": "a"}
    new = {"training": {"epochs": 5, "seed": 0}, "kind": "a", "extra": [1]}
    assert differing_fields(old, new) == ["extra: null -> [1]", "training.epochs: 3 -> 5"]
    assert differing_fields(TREE, TREE) == []
