"""The name of a folder: a local path or a URI such as `s3://bucket/prefix?region=eu-central-1`.

Reads and writes nothing, and imports no library of tables, so that settings may use it.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from orchestrator.errors import ConfigError
from orchestrator.secrecy import is_secret_name

_LOCAL = ("file", "local")


@dataclass(frozen=True)
class Place:
    """A folder on any file system.

    Credentials come from where the file system's own library looks (environment, files of the user), never from here.

    Raises:
        ConfigError: the URI holds credentials.
    """

    uri: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.uri)
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)] if parts.scheme else []
        if (parts.scheme and parts.password) or any(is_secret_name(name) or "key" in name.lower() for name in names):
            raise ConfigError(
                f"{self}: the URI holds credentials",
                expected="a URI that may be printed",
                remedy="give them as the file system's library expects them: AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, a profile, a service account, ...",
            )

    @cached_property
    def local(self) -> Path | None:
        """The local path, or None on another file system."""
        parts = urlsplit(self.uri)
        if parts.scheme in _LOCAL:
            return Path(parts.path)
        return None if len(parts.scheme) > 1 else Path(self.uri)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return (self.local or Path(urlsplit(self.uri).path)).name

    def child(self, name: str) -> Self:
        """The folder `name` below this one; a URI keeps its query."""
        if self.local is not None:
            return type(self)(str(self.local / name))
        address, mark, query = self.uri.partition("?")
        return type(self)(f"{address.rstrip('/')}/{name}{mark}{query}")

    def __str__(self) -> str:
        """The path or URI without its query (which may name endpoints) and without a user."""
        if self.local is not None:
            return str(self.local)
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
