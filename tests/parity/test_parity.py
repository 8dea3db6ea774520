"""Our losses agree with those of installed libraries on fresh inputs; the board says so, and ends with 1 where not."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from benchmarks.parity import board, result_of
from benchmarks.parity_rows import rows
from benchmarks.parity_rows.row import Row, compare
from orchestrator.losses.formulas.similarity_preserving import similarity_preserving


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_value_and_gradient_agree_with_the_peer(row: Row) -> None:
    if row.version() is None:
        pytest.skip(f"{row.package} is not installed; `pip install -c constraints.txt -e .[dev]` brings it")
    _, found, verdict = result_of(row, seed=int(torch.randint(2**31, ()).item()), num_inputs=2)
    assert verdict == "agrees", found


def printed(*chosen: Row) -> tuple[int, str]:
    """Exit code and text of the board."""
    console = Console(file=io.StringIO(), width=200)
    code = board(list(chosen), 3, 1, console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def spkd() -> Row:
    """The row of SP, whose peer uses another norm than the paper."""
    found = next(row for row in rows() if row.peer == "SPKDLoss")
    if found.version() is None:
        pytest.skip(f"{found.package} is not installed")
    return found


def test_without_the_switch_the_known_deviation_is_a_mismatch_with_exit_code_1() -> None:
    code, text = printed(spkd(), replace(spkd(), call_ours=similarity_preserving))
    assert code == 1
    assert "1 agrees, 1 DIFFERS" in text
    assert printed(spkd())[0] == 0


def test_a_peer_that_is_not_installed_is_told_and_is_no_mismatch() -> None:
    code, text = printed(replace(spkd(), package="no-such-package-of-losses"))
    assert code == 0
    assert "1 not installed" in text


def test_a_value_or_gradient_that_is_no_number_never_agrees() -> None:
    value = replace(spkd(), call_ours=lambda student, teacher: student.sum() * torch.nan)
    gradient = replace(spkd(), call_ours=lambda student, teacher: (student - student.detach()).square().sum().sqrt())
    for row in (value, gradient):
        found = compare(row, torch.Generator().manual_seed(0))
        assert found.worst(found).gradient == torch.inf
        assert not found.within(1e9)
