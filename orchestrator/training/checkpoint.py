"""Checkpoints of a training: whole or not there, with a checksum, found again by number, as `latest` and as `best`.

Reads and writes `run.json`, `step-*.pt`, `step-*.json`, `latest.json` and `best.json` in one folder: local, NFS or an
object store. Knows nothing of what the state holds. Loads with `weights_only`.
"""

import io
import json
import math
import mmap
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import torch

from orchestrator.artifacts.fingerprint import differing_fields, digest_bytes, fingerprint
from orchestrator.artifacts.folder import Folder
from orchestrator.errors import ArtifactError
from orchestrator.training.checkpoint_settings import CheckpointSettings

RUN, LATEST, BEST = "run.json", "latest.json", "best.json"
GO_ON = "where only training.epochs grew, training.extended_from=[EPOCHS IT HAD] goes on from its last epoch"


class Checkpoints:
    """The checkpoints of one run. A context: it is left when the last save is on disk.

    A save first copies the state to a nameless file of the node, which ends with the process; a thread then writes it
    to the folder: state, header, pointers, in this order, so that a kill at any moment leaves the earlier ones as they
    were. The next save waits for the one before it.

    Args:
        folder: created on the first save.
        content: what determines the run, as plain JSON; it and its fingerprint are kept in `run.json`.
        earlier: contents of runs whose checkpoints this one may go on from.
    """

    def __init__(
        self,
        folder: Path | str,
        content: Mapping[str, Any],
        *,
        earlier: Sequence[Mapping[str, Any]] = (),
        settings: CheckpointSettings | None = None,
    ) -> None:
        self.folder = Folder(str(folder))
        self.settings = settings or CheckpointSettings()
        self._content, self._earlier = dict(content), [dict(one) for one in earlier]
        self.identity = fingerprint(self._content)
        self._identities = {self.identity, *(fingerprint(one) for one in self._earlier)}
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception:
            if error is None or isinstance(error, GeneratorExit):
                raise
        finally:
            self._thread.shutdown()

    @property
    def is_busy(self) -> bool:
        """Whether a save is still on its way to the folder."""
        return self._writing is not None and not self._writing.done()

    def wait(self) -> None:
        """Return when the last save is in the folder; raises what kept it from getting there."""
        if (writing := self._writing) is not None:
            self._writing = None
            writing.result()

    def claim(self, *, writes: bool = True) -> None:
        """Make the folder this run's own; `writes`: this is the worker that saves.

        Raises:
            ArtifactError: it holds a run of other settings, which are named.
        """
        found = self._json(RUN)
        if found is not None and found["fingerprint"] not in self._identities:
            changed = differing_fields(found["content"], self._content)
            shown = "; ".join(changed[:8]) + (f"; and {len(changed) - 8} more" if len(changed) > 8 else "")
            raise ArtifactError(
                f"{self.folder} holds checkpoints of other settings: {shown}",
                expected="the settings this run began with",
                remedy=f"give the experiment another name, make the run anew with --rebuild train, or, {GO_ON}",
            )
        if writes and (found is None or found["fingerprint"] != self.identity):
            self._write_json(RUN, {"fingerprint": self.identity, "content": self._content})

    def discard(self) -> None:
        """Remove every checkpoint, and then whose they were."""
        self.wait()
        names = self.folder.names()
        self.folder.delete_all([name for name in names if name in (LATEST, BEST) or name.startswith("step-")])
        self.folder.delete_all([name for name in names if name == RUN])

    @property
    def is_own(self) -> bool:
        """Whether the folder is this very run's."""
        found = self._json(RUN)
        return found is not None and found["fingerprint"] == self.identity

    def path(self, step: int) -> str:
        """Where the state of a step is kept."""
        return self.folder.child(f"step-{step:09d}.pt").uri

    def save(self, step: int, state: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Keep the state of `step`, which may change as soon as this returns.

        Args:
            metrics: of the epoch that ended with this step, if one did.

        Raises:
            ArtifactError: the save before this one did not get to its folder.
        """
        self.wait()
        staged = tempfile.TemporaryFile()  # noqa: SIM115 - the thread closes it
        torch.save(dict(state), staged)
        staged.flush()
        finite = {name: value for name, value in (metrics or {}).items() if math.isfinite(value)}
        self._writing = self._thread.submit(self._write, step, staged, finite)

    def _write(self, step: int, staged: IO[bytes], metrics: Mapping[str, float]) -> None:
        name = f"step-{step:09d}"
        with staged:
            data = memoryview(mmap.mmap(staged.fileno(), 0, access=mmap.ACCESS_READ))
            self.folder.write(f"{name}.pt", pa.py_buffer(data))
            header = {"step": step, "identity": self.identity, "checksum": digest_bytes(data), "metrics": metrics}
        self._write_json(f"{name}.json", header)
        self._write_json(LATEST, {"checkpoint": name, "step": step})
        ranked = self._ranked()
        if ranked:
            best = ranked[0]
            pointer = {"checkpoint": best, "metric": self.settings.best_metric, "mode": self.settings.best_mode}
            self._write_json(BEST, {**pointer, "value": self._headers[best]["metrics"][self.settings.best_metric]})
        self._remove_others(name, ranked)

    def _ranked(self) -> list[str]:
        """Names of the checkpoints that have the metric, the best first; of equal ones the earliest."""
        sign = -1.0 if self.settings.best_mode == "max" else 1.0
        self._headers = {name: header for name in self._names() if (header := self._json(f"{name}.json")) is not None}
        scored = [
            (sign * header["metrics"][self.settings.best_metric], name)
            for name, header in self._headers.items()
            if self.settings.best_metric in header.get("metrics", {})
        ]
        return [name for _, name in sorted(scored)]

    def _remove_others(self, newest: str, ranked: Sequence[str]) -> None:
        pointers = [pointer["checkpoint"] for one in (LATEST, BEST) if (pointer := self._json(one)) is not None]
        names = [name for name in sorted(self._headers) if name <= newest]
        kept = {newest, *names[-self.settings.keep :], *ranked[: self.settings.keep_best], *pointers}
        kept |= {name for name in self._headers if name > newest}
        self.folder.delete_all(f"{name}.json" for name in self._headers if name not in kept)
        orphans = [name for name in self.folder.names() if name.endswith(".pt") and name[:-3] not in kept]
        self.folder.delete_all(orphans)

    def latest(self) -> dict[str, Any] | None:
        """The state of the newest sound checkpoint, or None. A damaged one is passed over."""
        self.folder.remove_leftovers(0.0)
        states = (self._sound(name) for name in reversed(self._names()))
        return next((state for state in states if state is not None), None)

    def best(self) -> dict[str, Any] | None:
        """The state that `best.json` names, or None."""
        pointer = self._json(BEST)
        return None if pointer is None else self._sound(pointer["checkpoint"])

    def at(self, step: int) -> dict[str, Any]:
        """The state of one step.

        Raises:
            ArtifactError: it is not there, or damaged.
        """
        if (state := self._sound(f"step-{step:09d}")) is None:
            raise ArtifactError(
                f"{self.folder} has no sound checkpoint of step {step} here",
                expected="a folder that all workers share",
                remedy="set execution.storage_root or checkpoints.root to storage that every node reaches",
            )
        return state

    def _sound(self, name: str) -> dict[str, Any] | None:
        header = self._json(f"{name}.json")
        if header is None or header["identity"] not in self._identities:
            return None
        try:
            data = self.folder.read(f"{name}.pt")
        except FileNotFoundError:
            return None
        if digest_bytes(data) != header["checksum"]:
            return None
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # whole by its checksum, so somebody wrote it like this
            raise ArtifactError(
                f"{self.folder}/{name}.pt holds more than numbers and would run code",
                expected="a checkpoint of ours: tensors, numbers and texts",
                remedy="remove it, and look for who wrote it",
            ) from error
        return state

    def _names(self) -> list[str]:
        return [name[:-5] for name in self.folder.names() if name.startswith("step-") and name.endswith(".json")]

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self.folder.read(name))
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self.folder.write(name, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def read_state(path: Path) -> dict[str, Any]:
    """The state in one checkpoint, whatever run it is of.

    Args:
        path: of its file, `step-*.pt`, whose header lies beside it.

    Raises:
        ArtifactError: it is not there, or damaged.
    """
    try:
        data, header = path.read_bytes(), json.loads(path.with_suffix(".json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        data, header = b"", {}
    if digest_bytes(data) != header.get("checksum"):
        raise ArtifactError(
            f"{path} is no sound checkpoint", expected="a file step-NUMBER.pt with its step-NUMBER.json beside it"
        )
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
