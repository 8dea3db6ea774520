"""A tar that a data set writes because its images are not files yet (drawn, or packed in a form of their own).

Holds one function. Writes under a temporary name and renames, so that a finished tar is never written again.
"""

import io
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path


def written_tar(path: Path, identity: str, members: Callable[[], Iterable[tuple[str, bytes]]]) -> Path:
    """`path`, an uncompressed tar with these (name, bytes); made only when there is none of this identity.

    The identity, of letters and digits, stands in the tar itself; another one there makes it anew.
    """
    if path.exists() and _identity(path) == identity:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.stem}.{os.getpid()}.part"
    try:
        with tarfile.open(part, "w", pax_headers={"comment": identity}, format=tarfile.PAX_FORMAT) as archive:
            for name, data in members():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _identity(path: Path) -> str | None:
    try:
        with tarfile.open(path) as archive:
            return archive.pax_headers.get("comment")
    except (tarfile.TarError, OSError):
        return None
