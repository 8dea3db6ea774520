"""Where a teacher's weights are: the embedded teachers, a local directory, or a hub id; and their identity.

Reads weight files for their digest. Knows nothing of architectures.
"""

import functools
import re
from pathlib import Path
from typing import Any

from orchestrator.artifacts.fingerprint import digest_folder
from orchestrator.errors import ConfigError

EMBEDDED_PREFIX = "embedded:"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "embedded" / "weights"


def resolve_model(model: str) -> str:
    """The directory of an embedded teacher, the absolute path of a local directory, or the hub id as it is.

    Raises:
        ConfigError: an embedded teacher that is not shipped.
    """
    if model.startswith(EMBEDDED_PREFIX):
        folder = _WEIGHTS_FOLDER / model.removeprefix(EMBEDDED_PREFIX)
        if not folder.is_dir():
            shipped = sorted(path.name for path in _WEIGHTS_FOLDER.iterdir() if path.is_dir())
            raise ConfigError(
                f"model {model}: there is no such embedded teacher",
                expected=", ".join(EMBEDDED_PREFIX + name for name in shipped),
            )
        return str(folder)
    local = Path(model).expanduser()
    return str(local.resolve()) if local.is_dir() else model


def require_pinned(model: str, revision: str | None) -> None:
    """Refuse a hub id whose revision can move; costs nothing for a local directory.

    Raises:
        ConfigError: no revision, or one that is not a full commit hash: branches and tags can be moved.
    """
    if Path(resolve_model(model)).is_dir() or _COMMIT.fullmatch(revision or ""):
        return
    told = "without a revision" if revision is None else f"with the revision {revision!r}"
    raise ConfigError(
        f"model {model}: a hub id {told}, and no local directory has this name",
        expected="revision: a full commit hash (40 hexadecimal digits); a branch or tag can move under stored rows",
        remedy="copy the hash from the repository's list of commits, or give the path of a local directory",
    )


@functools.lru_cache(maxsize=32)
def weights_identity(model: str, revision: str | None) -> dict[str, Any]:
    """What pins the weights: the digest of a directory's files, or hub id and commit.

    Raises:
        ConfigError: see `require_pinned`.
    """
    require_pinned(model, revision)
    source = resolve_model(model)
    if Path(source).is_dir():
        return {"digest": digest_folder(Path(source))}
    return {"hub_id": model, "revision": revision}
