"""The manifest: the file written last into every artifact folder. No manifest, not finished.

Reads and writes `manifest.json`. Knows nothing of how an artifact is made.
"""

import datetime
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from pydantic import Field

from orchestrator.artifacts.fingerprint import differing_fields, digest_file, fingerprint
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.errors import ArtifactError
from orchestrator.frozen import Frozen

MANIFEST_NAME, BEGUN_NAME = "manifest.json", "begun.json"  # written last, and first


class Manifest(Frozen):
    """What an artifact was made of, and what it holds."""

    stage: str
    fingerprint: str
    settings: dict[str, Any]
    parents: dict[str, str] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0
    created_utc: str = ""
    version: str = ""


class Status(StrEnum):
    """How a folder stands against the settings asked for."""

    MISSING = "make"
    REUSE = "reuse"
    CHANGED = "changed"


def artifact_fingerprint(stage: str, settings: Any, parents: dict[str, str]) -> str:
    """Identity of an artifact: its stage, its settings and the identities of what it was made from."""
    return fingerprint({"stage": stage, "settings": settings, "parents": parents})


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of `folder`, or None when the artifact is not finished."""
    path = folder / MANIFEST_NAME
    return Manifest.model_validate(read_json(path)) if path.is_file() else None


def write_manifest(
    folder: Path,
    *,
    stage: str,
    settings: dict[str, Any],
    parents: dict[str, str],
    counts: dict[str, int],
    seconds: float,
    metrics: dict[str, float] | None = None,
) -> Manifest:
    """Write the manifest of a finished `folder`: fingerprint, counts and the checksum of every top-level file.

    Hidden files are none of the artifact's: another command's, which come and go while it makes the same artifact.
    """
    from orchestrator import __version__

    there = [path.name for path in folder.iterdir() if path.is_file()]
    names = sorted(name for name in there if name != MANIFEST_NAME and not name.startswith("."))
    manifest = Manifest(
        stage=stage,
        fingerprint=artifact_fingerprint(stage, settings, parents),
        settings=settings,
        parents=parents,
        counts=counts,
        metrics=metrics or {},
        files={name: digest_file(folder / name) for name in names},
        seconds=round(seconds, 3),
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=__version__,
    )
    write_json(folder / MANIFEST_NAME, manifest.model_dump(mode="json"))
    return manifest


def status_of(folder: Path, expected_fingerprint: str) -> Status:
    """Whether `folder` can be reused, must be made, or holds the result of other settings."""
    manifest = read_manifest(folder)
    if manifest is None:
        return Status.MISSING
    return Status.REUSE if manifest.fingerprint == expected_fingerprint else Status.CHANGED


def refuse_changed(
    folder: Path, stage: str, old: dict[str, Any], new: dict[str, Any], state: str, way_out: str = ""
) -> NoReturn:
    """Raise ArtifactError naming the fields in which `folder` (a finished or unfinished `stage`) differs from now."""
    changed = differing_fields(old, new)
    shown = "; ".join(changed[:8]) + (f"; and {len(changed) - 8} more" if len(changed) > 8 else "")
    raise ArtifactError(
        f"{folder} holds {state} {stage} of other settings: {shown}",
        expected="the settings it was made with",
        remedy=f"make it anew with --rebuild {stage}, or give the experiment another name"
        + (f", or, {way_out}" if way_out else ""),
    )


def verify_files(folder: Path) -> list[str]:
    """Problems of a finished artifact: files that are missing or whose checksum changed. Empty means sound."""
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{folder}: no manifest, so it was never finished"]
    problems = []
    for name, checksum in manifest.files.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif digest_file(path) != checksum:
            problems.append(f"{path}: checksum differs from the manifest")
    return problems


def discard(folder: Path) -> None:
    """Remove an artifact, its manifest first, so that a crash in between leaves it unfinished rather than wrong."""
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
