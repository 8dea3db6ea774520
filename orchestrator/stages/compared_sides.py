"""What `orchestrator compare` is given: names of arms, cells, experiments and sweeps, found and read.

Reads finished artifacts; writes nothing. Knows nothing of how they are compared.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.artifacts.manifest import Manifest, read_manifest
from orchestrator.artifacts.storage import read_json, read_table
from orchestrator.errors import ArtifactError
from orchestrator.stages.evaluate import EVALUATION, PREDICTIONS
from orchestrator.stages.finished_student import best_arm
from orchestrator.training.run import HISTORY

KINDS = {"arms": "arms", "arm": "arms", "cells": "cells", "evaluations": "arms", "sweeps": "sweeps", "sweep": "sweeps"}
SEED = "seed-"


@dataclass(frozen=True)
class Member:
    """One student that was trained and evaluated.

    Attributes:
        home: the experiment's folder.
        trained, evaluated: folders, the same for a cell.
        seed: of a cell; None for an arm.
    """

    home: Path
    trained: Path
    evaluated: Path
    seed: int | None

    @cached_property
    def manifest(self) -> Manifest:
        """Of the training."""
        found = read_manifest(self.trained)
        assert found is not None, "unfinished members are refused when they are found"
        return found

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """Accuracies, counts by class, measures."""
        found: dict[str, Any] = read_json(self.evaluated / EVALUATION)
        return found

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """The settings of the evaluation, as far as they were written down."""
        found = read_manifest(self.evaluated)
        return dict(found.settings) if found is not None and found.stage == "evaluate" else {}

    @cached_property
    def predictions(self) -> pa.Table | None:
        """A row for each image of the report split by image id; None where they were not kept."""
        path = self.evaluated / PREDICTIONS
        return read_table(path).sort_by("image_id") if path.is_file() else None

    @property
    def history(self) -> list[dict[str, float]]:
        """Metrics by epoch."""
        found: list[dict[str, float]] = read_json(self.trained / HISTORY)
        return found

    def stage(self, name: str) -> Manifest | None:
        """The manifest of another artifact of the experiment."""
        return read_manifest(self.home / name)


@dataclass(frozen=True)
class Side:
    """One thing to compare: an arm, the cells of an arm on several seeds, or a sweep (`members` is then empty)."""

    name: str
    members: tuple[Member, ...] = ()
    sweep: Path | None = None
    note: str = ""


def find_sides(names: Sequence[str], root: Path) -> list[Side]:
    """The sides that names mean, below the storage root or as paths of folders.

    A name is EXPERIMENT/ARM, EXPERIMENT/ARM/seed-K, EXPERIMENT/SWEEP, an artifact's folder, or the run key that MLflow
    shows as a tag (EXPERIMENT/arm/ARM, EXPERIMENT/sweep/SWEEP). An experiment alone means all of its arms, and beside
    another name its best arm on the selection split.

    Raises:
        ArtifactError: there is no such thing, or it is not finished.
    """
    sides: list[Side] = []
    for name in names:
        sides += _find(name.rstrip("/"), root, alone=len(names) == 1)
    doubled = {side.name for side in sides if sum(other.name == side.name for other in sides) > 1}
    if doubled:
        raise ArtifactError(f"named twice: {', '.join(sorted(doubled))}", expected="different things to compare")
    return sides


def _find(name: str, root: Path, *, alone: bool) -> list[Side]:
    home, rest = _home(name, root)
    if home is None:
        raise _unknown(name, root)
    kind = KINDS.get(rest[0]) if rest else None
    rest = rest[1:] if kind else rest
    match rest:
        case []:
            return _of_experiment(home, alone=alone)
        case [one]:
            for known, find in (("arms", _arm), ("cells", _cells), ("sweeps", _sweep)):
                if kind in (None, known) and (found := find(home, one)) is not None:
                    return [found]
        case [arm, seed] if seed.startswith(SEED) and seed.removeprefix(SEED).isdigit():
            if (cell := _cell(home, arm, int(seed.removeprefix(SEED)))) is not None:
                return [Side(f"{home.name}/{arm}/{seed}", (cell,))]
        case [_, "trials" | "trial", *_]:
            raise ArtifactError(
                f"{name} is a trial, which is not evaluated on the report split",
                expected="an arm, a cell or a whole sweep",
                remedy="run the sweep's best.yaml, or compare whole sweeps",
            )
    raise _unknown(name, root, home)


def _home(name: str, root: Path) -> tuple[Path | None, list[str]]:
    """(the experiment's folder, what the name says beyond it): the longest beginning of the name that is one."""
    for base in (root / name, Path(name)):
        rest: list[str] = []
        for folder in (base, *base.parents):
            if (folder / "index" / "manifest.json").is_file():
                return folder, rest[::-1]
            rest.append(folder.name)
    return None, []


def _of_experiment(home: Path, *, alone: bool) -> list[Side]:
    arms = sorted(path.name for path in (home / "arms").glob("*") if _arm(home, path.name) is not None)
    cells = sorted(path.name for path in (home / "cells").glob("*") if _cells(home, path.name) is not None)
    if not alone and arms:
        best = best_arm(home)
        if (found := _arm(home, best)) is not None:
            note = f"{home.name} stands for its best arm on the selection split, {best}."
            return [Side(found.name, found.members, note=note)]
    found_sides = [_arm(home, arm) for arm in arms] or [_cells(home, arm) for arm in cells]
    sides = [side for side in found_sides if side is not None]
    if not sides or not (alone or len(sides) == 1):
        raise _unknown(str(home), home.parent, home)
    return sorted(sides, key=lambda side: not side.name.endswith("/baseline"))  # the others are compared with it


def _arm(home: Path, arm: str) -> Side | None:
    member = Member(home, home / "arms" / arm, home / "evaluations" / arm, None)
    return Side(f"{home.name}/{arm}", (member,)) if _is_whole(member) else None


def _cell(home: Path, arm: str, seed: int) -> Member | None:
    folder = home / "cells" / arm / f"{SEED}{seed}"
    member = Member(home, folder, folder, seed)
    return member if _is_whole(member) else None


def _cells(home: Path, arm: str) -> Side | None:
    numbers = [path.name.removeprefix(SEED) for path in (home / "cells" / arm).glob(f"{SEED}*")]
    found = [_cell(home, arm, seed) for seed in sorted(int(number) for number in numbers if number.isdigit())]
    members = tuple(cell for cell in found if cell is not None)
    return Side(f"{home.name}/{arm}", members) if members else None


def _sweep(home: Path, name: str) -> Side | None:
    folder = home / "sweeps" / name
    return Side(f"{home.name}/{name}", sweep=folder) if read_manifest(folder) is not None else None


def _is_whole(member: Member) -> bool:
    evaluated = member.evaluated == member.trained or read_manifest(member.evaluated) is not None
    return evaluated and read_manifest(member.trained) is not None and (member.evaluated / EVALUATION).is_file()


def _unknown(name: str, root: Path, home: Path | None = None) -> ArtifactError:
    homes = [home] if home is not None else [path.parents[1] for path in sorted(root.glob("*/index/manifest.json"))]
    there = sorted(
        {
            f"{one.name}/{path.name}"
            for one in homes
            for kind in ("arms", "cells", "sweeps")
            for path in (one / kind).glob("*")
            if path.is_dir()
        }
    )
    near = difflib.get_close_matches(name, there, n=4) or there[:8]
    return ArtifactError(
        f"{name}: no finished arm, cell or sweep of this name",
        expected=", ".join(near) if near else f"something trained and evaluated below {root}",
        remedy="orchestrator evaluate EXPERIMENT.yaml makes what is missing; --root names another storage root",
    )
