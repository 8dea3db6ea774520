"""File systems by URI: pyarrow's own for S3, GCS and others, any else through fsspec; and what their errors mean.

Opens connections; reads and writes nothing. Knows nothing of artifacts.
"""

import os
import re
from functools import lru_cache
from urllib.parse import unquote, urlsplit

import pyarrow.fs as pafs

from orchestrator.artifacts.place import Place
from orchestrator.errors import ArtifactError

_NATIVE = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss")
_S3_ERROR = re.compile(r"AWS Error (\w+).*", re.DOTALL)  # what stands before it names the object, as we do
_WRONG_KEYS = "check the keys in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_UNKNOWN_FAULT = "check the address, the credentials in the environment, and the network"
_S3_REMEDIES = {
    "NO_SUCH_BUCKET": "make the bucket, or name one that exists: no command makes buckets",
    "INVALID_ACCESS_KEY_ID": _WRONG_KEYS,
    "SIGNATURE_DOES_NOT_MATCH": _WRONG_KEYS,
    "ACCESS_DENIED": "give the account of the keys the right to list, read, write and delete below this prefix",
    "NETWORK_CONNECTION": "check the address (endpoint_override and scheme in the URI), the network and the proxies",
}


def open_file_system(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a URI, and the path in it.

    Raises:
        ValueError, ImportError, OSError: it cannot be opened.
    """
    parts = urlsplit(uri)
    if parts.scheme in _NATIVE:
        filesystem, base = _native(parts._replace(path="").geturl(), os.getpid(), _credentials())
        return filesystem, f"{base.rstrip('/')}{unquote(parts.path.rstrip('/'))}"
    import fsspec

    opened, path = fsspec.core.url_to_fs(uri)
    return pafs.PyFileSystem(pafs.FSSpecHandler(opened)), path


@lru_cache(maxsize=32)
def _native(root: str, process: int, credentials: tuple[str, ...]) -> tuple[pafs.FileSystem, str]:
    """One of pyarrow's own, opened once, because looking for credentials may take seconds; none survives a fork."""
    opened: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(root)
    return opened


def _credentials() -> tuple[str, ...]:
    """What the environment says of them: a file system keeps those that it was opened with."""
    return tuple(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(("AWS_", "GOOGLE_", "AZURE_")))


def unreachable(place: Place, done: str, error: Exception) -> ArtifactError:
    """What to say of a place that cannot be listed, written to, ..."""
    told = str(error).replace(place.uri, str(place))
    code = _S3_ERROR.search(told)
    return ArtifactError(
        f"{place} cannot be {done} ({code[0] if code else told})",
        expected="a folder that exists, or may be made, and access to it",
        remedy=_S3_REMEDIES.get(code[1] if code else "", _UNKNOWN_FAULT),
    )
