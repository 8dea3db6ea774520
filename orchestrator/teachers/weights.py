"""Where a teacher's weights are: the embedded teachers, a local directory, or a hub id; and their identity.

Reads weight files for their digest. Knows nothing of architectures.
"""

import functools
from pathlib import Path
from typing import Any

from orchestrator.artifacts.fingerprint import digest_folder
from orchestrator.errors import ConfigError

EMBEDDED_PREFIX = "embedded:"
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


@functools.lru_cache(maxsize=32)
def weights_identity(model: str, revision: str | None) -> dict[str, Any]:
    """What pins the weights: the digest of a directory's files, or hub id and revision.

    Raises:
        ConfigError: a hub id without a revision, because the hub's default branch may move.
    """
    source = resolve_model(model)
    if Path(source).is_dir():
        return {"digest": digest_folder(Path(source))}
    if revision is None:
        raise ConfigError(
            f"model {model}: a hub id needs a revision, and no local directory has this name",
            expected="revision: the commit or tag of the weights, so that a moved branch cannot serve stale rows",
            remedy="set revision, or give the path of a local directory",
        )
    return {"hub_id": model, "revision": revision}
