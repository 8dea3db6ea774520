"""What a tracked run can tell: one event, as one JSON line.

Holds the event, its wire form and the conversion of parameter values to plain scalars. Reads and writes nothing.
Knows nothing of spools, of MLflow or of what the metrics mean.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

EventKind = Literal["start", "metrics", "tags", "dataset", "artifact", "model", "end", "stale"]
WITH_FILES: frozenset[EventKind] = frozenset({"artifact", "model"})  # told by a path, of which a copy may be kept
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
Scalar = str | int | float | bool | None
NOTE_TAG = "mlflow.note.content"  # shown as the run's description, in Markdown


@dataclass(frozen=True)
class Event:
    """One thing that happened to one run.

    `time_us` is the wall clock of the process that saw it, in microseconds, so that events of several processes keep
    their order; sending the same event twice sends the same row twice, which the store recognises.
    """

    kind: EventKind
    run_key: str
    time_us: int
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def time_ms(self) -> int:
        """The time in milliseconds, as MLflow counts."""
        return self.time_us // 1000

    def to_line(self) -> bytes:
        """The event as one line of JSON, newline included."""
        body = {"event": self.kind, "run": self.run_key, "time_us": self.time_us, **self.data}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Event":
        """Parse one line; raises ValueError when it is not an event."""
        body = json.loads(line)
        if not isinstance(body, dict):
            raise ValueError("not an event")
        try:
            kind, run_key, time_us = body.pop("event"), str(body.pop("run")), int(body.pop("time_us"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an event: {error}") from error
        if kind not in get_args(EventKind):
            raise ValueError(f"not an event: kind {kind!r}")
        return cls(cast(EventKind, kind), run_key, time_us, body)


def flat_scalars(values: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested mappings as dotted names; numbers stay numbers (also numpy's and torch's), a list of names reads
    "a+b", anything else becomes text."""
    flat: dict[str, Scalar] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat.update(flat_scalars(value, f"{key}."))
        elif value is None or isinstance(value, str | bool | int | float):
            flat[key] = value
        elif isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
            flat[key] = "+".join(value) or "none"
        elif callable(getattr(value, "item", None)) and getattr(value, "size", 1) in (1, ()):
            flat[key] = value.item()
        else:
            flat[key] = str(value)
    return flat
