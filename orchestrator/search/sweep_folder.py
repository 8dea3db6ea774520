"""The durable truth of a sweep: one small file for each trial that was proposed, and one for each that has ended.

Reads and writes `proposed/NNNN.json`, `ended/NNNN.json` and `clock.json`, each in one piece. One process writes; what
it has not written did not happen, and a further run of the same sweep goes on from there. Knows nothing of searchers.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.artifacts.storage import read_json, remove_leftovers, write_json
from orchestrator.search.domains import Value
from orchestrator.search.trial import TrialResult

PROPOSED, ENDED, CLOCK, AT = "proposed", "ended", "clock.json", "at_s"
TICK_S = 10.0


class SweepFolder:
    """The trials of one sweep, read once and then kept in step with the files.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        proposed, ended = self._read(PROPOSED), self._read(ENDED)
        self._proposed = {int(found["number"]): dict(found["values"]) for found in proposed}
        self._ended = {result.number: result for result in map(_result, ended)}
        clock = folder / CLOCK
        times = [*proposed, *ended, *([read_json(clock)] if clock.is_file() else [])]
        self._before_s = max((float(found[AT]) for found in times), default=0.0)
        self._opened_s = self._ticked_s = time.monotonic()

    def suggested(self) -> dict[int, dict[str, Value]]:
        """Number -> values of every trial that was proposed, by number."""
        return dict(sorted(self._proposed.items()))

    def suggest(self, number: int, values: Mapping[str, Value]) -> None:
        """Keep what trial `number` is given, before it starts."""
        assert number not in self._proposed, f"trial {number} was proposed before"
        self._write(PROPOSED, number, {"number": number, "values": dict(values)})
        self._proposed[number] = dict(values)

    def ended(self) -> dict[int, TrialResult]:
        """Number -> result of every trial that has ended, by number."""
        return dict(sorted(self._ended.items()))

    def end(self, result: TrialResult) -> None:
        """Keep how a trial ended."""
        assert result.has_ended, f"trial {result.number} is {result.status}"
        self._write(ENDED, result.number, asdict(result))
        self._ended[result.number] = result

    def forget_if_all_failed(self) -> None:
        """Where no trial ended well the fault is hardly theirs: let them be tried again, with the values they had."""
        if all(result.status == "failed" for result in self._ended.values()):
            for number in self._ended:
                (self._folder / ENDED / _name(number)).unlink()
            self._ended.clear()

    def waiting(self) -> dict[int, dict[str, Value]]:
        """Number -> values of the trials that were proposed and have not ended."""
        return {number: values for number, values in self.suggested().items() if number not in self._ended}

    def tick(self) -> None:
        """Keep how long the sweep has run, every few seconds; to be called whenever a trial tells something."""
        if time.monotonic() - self._ticked_s >= TICK_S:
            write_json(self._folder / CLOCK, {AT: self.elapsed_s})
            self._ticked_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """How long the sweep has run, without the times between its commands."""
        return self._before_s + time.monotonic() - self._opened_s

    def _read(self, kind: str) -> list[dict[str, Any]]:
        remove_leftovers(self._folder / kind)
        return [read_json(path) for path in sorted((self._folder / kind).glob("*.json"))]

    def _write(self, kind: str, number: int, content: Mapping[str, Any]) -> None:
        write_json(self._folder / kind / _name(number), {**content, AT: self.elapsed_s})


def read_ended(folder: Path, number: int) -> TrialResult | None:
    """How one trial of a sweep ended, None while it has not."""
    path = folder / ENDED / _name(number)
    return _result(read_json(path)) if path.is_file() else None


def _name(number: int) -> str:
    return f"{number:04d}.json"


def _result(found: Mapping[str, Any]) -> TrialResult:
    told = {name: value for name, value in found.items() if name != AT}
    return TrialResult(**{**told, "history": tuple(told["history"])})
