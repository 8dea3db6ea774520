"""Proving that what lies on disk is whole: every manifest's checksums, every store's rows.

Reads everything below a folder; with repair, removes what is damaged. Knows nothing of experiments.
"""

from pathlib import Path

from orchestrator.artifacts.manifest import MANIFEST_NAME, discard, verify_files
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.errors import ArtifactError


def verify_folder(folder: Path, *, repair: bool = False) -> tuple[list[str], dict[str, int]]:
    """Problems in words, and counts, of every artifact and store at or below `folder`.

    Raises:
        ArtifactError: the folder holds neither.
    """
    problems: list[str] = []
    counts = {"artifacts": 0, "stores": 0, "rows": 0, "model_rows": 0}
    for manifest in sorted(folder.rglob(MANIFEST_NAME)):
        found = verify_files(manifest.parent)
        counts["artifacts"] += 1
        problems += found
        if found and repair:
            discard(manifest.parent)
    for store in sorted({part.parent for part in folder.rglob("part-*.parquet")}):
        found, sizes = TeacherStore(store).verify(repair=repair)
        counts["stores"] += 1
        counts["rows"] += sizes["rows"]
        counts["model_rows"] += sizes["model_rows"]
        problems += [f"{store}: {problem}" for problem in found]
    if not counts["artifacts"] and not counts["stores"]:
        raise ArtifactError(f"{folder} holds no artifact and no store", expected="a storage root or a folder below it")
    return problems, counts
