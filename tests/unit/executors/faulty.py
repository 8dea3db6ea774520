"""A teacher function whose items misbehave as their names say, in a process that can be ended.

`python -m tests.unit.executors.faulty STORE RUN NAMES` pays for one micro-batch and prints its receipt.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.captioners import Refusal, Usage
from orchestrator.errors import ConfigError
from orchestrator.executors.pay_once import PayOnce, Row


class Faulty:
    """Answers an item named `x` with `X`; names that begin with a fault's name show it."""

    def __init__(self, room: int = 1000) -> None:
        self.usage, self.room, self.calls = Usage(), room, 0

    def prepare(self, row: Row) -> Any:
        if row["name"].startswith("unreadable"):
            raise FileNotFoundError(row["name"])
        if row["name"].startswith("damaged"):
            raise ValueError("cannot be decoded")
        return row["name"]

    def compute(self, items: Sequence[tuple[Row, Any]]) -> list[list[Any]]:
        self.usage.add(forwards=1)
        names = [name for _, name in items]
        if len(names) > self.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        for name in names:
            if name.startswith("kills"):
                os._exit(9)
            if name.startswith("hangs"):
                time.sleep(3600)
            if name.startswith("raises"):
                raise KeyError(name)
            if name.startswith("greedy"):
                raise MemoryError(name)
            if name.startswith("account"):
                raise ConfigError("the account is closed")
        answers: list[list[Any]] = []
        for row, name in items:
            if name.startswith("refused"):
                answers.append([Refusal("Filtered", "not allowed")] * len(row["keys"]))
            elif name.startswith("busy"):
                answers.append([Refusal("Busy", "try later", transient=True)] * len(row["keys"]))
            else:
                answers.append([f"{name.upper()} {position}" for position in row["positions"]])
        return answers

    def columns(self, rows: Sequence[tuple[Row, int]], values: Sequence[Any]) -> dict[str, pa.Array]:
        return {"answer": pa.array(values, pa.string())}


def key(name: str, position: int = 0) -> str:
    """The key of an item's question."""
    return f"{abs(hash_name(name)):030x}{position:02x}"


def hash_name(name: str) -> int:
    """A stable number of a name."""
    return int.from_bytes(name.encode()[:15].ljust(15, b"."), "big")


def items(*names: str, questions: int = 1) -> pa.Table:
    """A micro-batch."""
    return pa.table({"name": list(names), "keys": [[key(name, q) for q in range(questions)] for name in names]})


def main(store: str, run: str, names: str, timeout_s: str) -> None:
    """One micro-batch in this process."""
    limit = float(timeout_s) or None
    pay = PayOnce(TeacherStore(store), run, (), Faulty(), limit)
    print(json.dumps(pay(items(*names.split(","))).to_pylist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
