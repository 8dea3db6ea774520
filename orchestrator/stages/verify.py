"""Proving that what lies on disk is whole: every manifest's checksums, every store's rows.

Reads everything below a folder; with repair, removes what is damaged. Knows nothing of experiments.
"""

import shutil
from collections import Counter
from pathlib import Path

from orchestrator.artifacts.embeddings import HEADER, Embeddings
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.manifest import MANIFEST_NAME, discard, verify_files
from orchestrator.artifacts.store_checks import verify_store
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.errors import ArtifactError

_DEPTH = 4  # storage root / store / kind / name


def stores_below(root: str) -> list[TeacherStore]:
    """Every teacher store at or below a folder or URI, in name order."""
    found: list[TeacherStore] = []
    level = [Folder(root)]
    for _ in range(_DEPTH):
        deeper: list[Folder] = []
        for folder in level:
            names = folder.folders()
            if {"parts", "segments"} & set(names):
                found.append(TeacherStore(folder))
            else:
                deeper += [folder.child(name) for name in names if not name.startswith(".")]
        level = deeper
    return found


def _verify_hot_copies(embeddings: Embeddings, *, repair: bool) -> list[str]:
    """Problems of the arrays beside an `embeddings` artifact; repaired by removal: the next reader builds them anew."""
    problems = []
    for name in embeddings.header.arrays:
        if found := embeddings.verify(name):
            problems += found
            if repair:
                shutil.rmtree(embeddings.place(name))
    return problems


def some_stores(root: str) -> list[TeacherStore]:
    """`stores_below`, of which there must be one.

    Raises:
        ArtifactError: there is none.
    """
    stores = stores_below(root)
    if not stores:
        raise ArtifactError(f"{Folder(root)} holds no store", expected="a storage root, a store root, or a store")
    return stores


def one_store(root: str) -> TeacherStore:
    """The only store at or below a folder or URI.

    Raises:
        ArtifactError: there is none, or there are several.
    """
    stores = some_stores(root)
    if len(stores) > 1:
        raise ArtifactError(
            f"{Folder(root)} holds {len(stores)} stores", expected=" or ".join(str(store.folder) for store in stores)
        )
    return stores[0]


def verify_folder(root: str, *, repair: bool = False) -> tuple[list[str], dict[str, float]]:
    """Problems in words, and counts, of every artifact and store at or below a folder or URI.

    Raises:
        ArtifactError: the folder holds neither.
    """
    problems: list[str] = []
    counts: Counter[str] = Counter()
    local = Folder(root).local
    manifests = sorted(Path(local).rglob(MANIFEST_NAME)) if local is not None else []
    for manifest in manifests:
        found = verify_files(manifest.parent)
        problems += found
        if found and repair:
            discard(manifest.parent)
        elif (manifest.parent / HEADER).is_file():
            problems += _verify_hot_copies(Embeddings(manifest.parent), repair=repair)
    counts["artifacts"] = len(manifests)
    stores = stores_below(root)
    counts["stores"] = len(stores)
    for store in stores:
        found, sizes = verify_store(store, repair=repair)
        counts.update(
            {name: sizes.get(name, 0) for name in ("rows", "refused", "model_rows", "lost_rows", "made_again")}
        )
        problems += [f"{store.folder}: {problem}" for problem in found]
    if not manifests and not stores:
        raise ArtifactError(
            f"{Folder(root)} holds no artifact and no store", expected="a storage root or a folder below it"
        )
    return problems, dict(counts)
