"""What actors open to fill a teacher store: plain data that loads a model and pays for each row once.

Reads and commits to a teacher store. Knows nothing of plans.
"""

from abc import abstractmethod
from typing import Any

import pyarrow as pa

from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.executors.pay_once import PayOnce, TeacherFunction
from orchestrator.executors.protocol import TableFunction
from orchestrator.frozen import Frozen


class PayingWorker(Frozen):
    """Base of those workers (see `TableWorker`).

    Attributes:
        store: folder or URI; run, known: see `PayOnce`.
        timeout_s: of a micro-batch in the model.
    """

    store: str
    timeout_s: float
    run: str = ""
    known: tuple[str, ...] = ()

    def fetch(self, rows: pa.Table) -> pa.Table:
        """See `TableWorker`; here there is nothing to fetch."""
        return rows

    def reads(self) -> Any:
        """See `TableWorker`: whatever text the settings hold may be a path."""
        return self.model_dump(mode="json")

    def open(self, *, own_process: bool) -> TableFunction:
        """See `TableWorker`."""
        limit = self.timeout_s if own_process else None
        return PayOnce(TeacherStore(self.store), self.run, self.known, self.load(), limit)

    @abstractmethod
    def load(self) -> TeacherFunction:
        """Load the model."""
