"""Where the files inside a tar archive lie, so that they can be read in place.

Holds one function. Reads the headers of a tar file once; writes and extracts nothing. Knows nothing of images.
"""

import tarfile
from pathlib import Path, PurePosixPath

from orchestrator.errors import DataError


def member_addresses(path: Path) -> dict[str, tuple[int, int]]:
    """Name to (offset, size in bytes) of every regular member of an uncompressed tar file.

    Names are normalised (`./a/b` becomes `a/b`); of two members of one name the later counts, as in tar itself. Links,
    hard ones too, devices, sparse files and names that are absolute or hold `..` are left out. DataError for an
    unreadable archive, also for one whose headers are made to exhaust memory, stack or time.
    """
    addresses: dict[str, tuple[int, int]] = {}
    file_size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.size < 0:  # would lead back to a header that was read already
                    raise tarfile.ReadError(f"member {name} has {member.size} bytes")
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    continue
                if name.is_absolute() or ".." in name.parts:
                    continue
                if member.offset_data + member.size > file_size:
                    raise tarfile.ReadError(f"member {member.name} ends after the end of the file")
                addresses[str(name)] = (member.offset_data, member.size)
    except (tarfile.TarError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as a tar file: {str(error) or type(error).__name__}",
            expected="an uncompressed, complete .tar (its images are read in place)",
            remedy="unpack it with gunzip or copy it again",
        ) from error
    return addresses
