"""Our losses beside those of installed libraries, on fresh random inputs: values and gradients, one table.

Each row is an entry of `parity_rows/`: our function with the switch that reproduces the peer, and the peer's. Prints
the seed of the inputs (give it back with --seed) and ends with 1 where a row does not agree.
"""

import argparse
import secrets
import sys

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.parity_rows import rows
from benchmarks.parity_rows.row import Difference, Row, compare

AGREES, DIFFERS, ABSENT = "agrees", "DIFFERS", "not installed"
Result = tuple[Row, Difference | None, str]


def result_of(row: Row, seed: int, num_inputs: int) -> Result:
    """The worst difference over some draws, and the verdict; a row's draws do not depend on the other rows."""
    if row.version() is None:
        return row, None, ABSENT
    generator = torch.Generator().manual_seed(seed)
    found = compare(row, generator)
    for _ in range(num_inputs - 1):
        found = found.worst(compare(row, generator))
    return row, found, AGREES if found.within(row.tolerance) else DIFFERS


def table_of(results: list[Result]) -> Table:
    """What is printed."""
    table = Table(title="float64; largest differences, relative to the peer's largest entry")
    for column in ("ours", "peer", "library"):
        table.add_column(column, overflow="fold")
    for column in ("value abs", "rel", "gradient abs", "rel"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for row, found, verdict in results:
        numbers = (
            ["-"] * 4
            if found is None
            else [
                f"{number:.0e}"
                for number in (found.value, found.value_relative, found.gradient, found.gradient_relative)
            ]
        )
        colour = {AGREES: "green", DIFFERS: "bold red", ABSENT: "yellow"}[verdict]
        library = f"{row.package} {row.version() or ''}".strip()
        table.add_row(row.ours, row.peer, library, *numbers, f"[{colour}]{verdict}[/]")
    return table


def board(chosen: list[Row], seed: int, num_inputs: int, console: Console) -> int:
    """Compare, print, and give the exit code."""
    results = [result_of(row, seed, num_inputs) for row in chosen]
    console.print(table_of(results))
    verdicts = [verdict for *_, verdict in results]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in (AGREES, DIFFERS, ABSENT))
    console.print(f"{len(results)} rows, {num_inputs} inputs each, seed {seed}: {counts}")
    return 1 if DIFFERS in verdicts else 0


def main() -> int:
    """Read arguments, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, help="of the inputs; fresh if not given")
    parser.add_argument("--inputs", type=int, default=5, help="draws of each row")
    arguments = parser.parse_args()
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    torch.set_num_threads(1)
    width = None if sys.stdout.isatty() else 140
    return board(rows(), seed, arguments.inputs, Console(width=width))


if __name__ == "__main__":
    raise SystemExit(main())
