"""Unit vectors and blocks: what every metric of embeddings takes."""

import numpy as np
import pytest
import torch

from orchestrator.evaluation import unit_vectors as module
from orchestrator.evaluation.unit_vectors import as_labels, row_blocks, unit_vectors


@pytest.mark.parametrize(("given", "made"), [(np.float16, "float32"), (np.float32, "float32"), (np.float64, "float64")])
def test_half_is_cast_up_and_nothing_is_cast_down(given: type, made: str) -> None:
    rows = unit_vectors(np.random.default_rng(0).normal(size=(5, 7)).astype(given))
    assert rows.dtype is getattr(torch, made)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(5, dtype=rows.dtype))


def test_a_zero_row_stays_zero_and_a_tiny_one_gets_its_direction() -> None:
    rows = unit_vectors(torch.tensor([[0.0, 0.0], [3e-9, 4e-9]]))
    torch.testing.assert_close(rows, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))


def test_rows_and_labels_mapped_from_a_file_are_read_without_a_warning() -> None:
    rows, labels = np.eye(3, dtype=np.float16), np.arange(3, dtype=np.uint8)
    rows.flags.writeable = labels.flags.writeable = False
    found = unit_vectors(rows)
    assert as_labels(labels, found).tolist() == [0, 1, 2]
    assert np.array_equal(found.numpy(), np.eye(3))


def test_no_gradient_passes() -> None:
    assert not unit_vectors(torch.ones(2, 3, requires_grad=True)).requires_grad


def test_blocks_cover_all_rows_once_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 100)
    for num_rows, num_columns in ((0, 5), (7, 30), (9, 1000), (101, 1)):
        blocks = list(row_blocks(num_rows, num_columns))
        assert [row for block in blocks for row in range(num_rows)[block]] == list(range(num_rows))
        assert all(block.stop - block.start <= max(1, 100 // num_columns) for block in blocks)
