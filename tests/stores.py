"""Small teacher stores for tests: rows whose values follow from their numbers.

Writes stores. Knows nothing of single tests.
"""

import hashlib
import uuid
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from orchestrator.artifacts.ledger import CommitRecord
from orchestrator.artifacts.teacher_store import TeacherStore

DIM = 4


def key(number: int) -> str:
    """The key of a row."""
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def keys(numbers: Iterable[int]) -> list[str]:
    """The keys of rows."""
    return [key(number) for number in numbers]


def caption(number: int) -> str:
    """The value of a row."""
    return f"picture {number}: ein Müller at the café"


def rows(numbers: Sequence[int]) -> pa.Table:
    """Captions and vectors."""
    vectors = np.array([[number + place / 8 for place in range(DIM)] for number in numbers], np.float32)
    return pa.table(
        {
            "key": pa.array(keys(numbers), pa.string()),
            "caption": pa.array([caption(number) for number in numbers], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), DIM),
        }
    )


def refusals(numbers: Sequence[int], error_class: str = "DataError", *, transient: bool = False) -> pa.Table:
    """Rows without a value."""
    return pa.table(
        {
            "key": pa.array(keys(numbers), pa.string()),
            "caption": pa.nulls(len(numbers), pa.string()),
            "vector": pa.nulls(len(numbers), pa.list_(pa.float32(), DIM)),
            "error_class": [error_class] * len(numbers),
            "error_message": [f"cannot read image {number}" for number in numbers],
            "transient": [transient] * len(numbers),
            "path": [f"images/{number}.png" for number in numbers],
        }
    )


def record(done: int = 0, refused: int = 0, *, run: str = "0123456789ab", **more: object) -> CommitRecord:
    """What a commit cost: one call of the model."""
    cost = {"forwards": 1.0, "model_rows": done + refused, "usage": {"tokens": 10.0 * done}}
    return CommitRecord(id=uuid.uuid4().hex, run=run, done=done, refused=refused, **{**cost, **more})


def commit(store: TeacherStore, numbers: Sequence[int], **more: object) -> str:
    """Commit rows with their values."""
    return store.commit(rows(numbers), record(len(numbers), **more))


def refuse(
    store: TeacherStore, numbers: Sequence[int], error_class: str = "DataError", *, transient: bool = False
) -> str:
    """Commit rows without a value."""
    return store.commit(refusals(numbers, error_class, transient=transient), record(0, len(numbers)))
