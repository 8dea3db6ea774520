"""Passwords in files that only their owner reads; drawn where there is none. Never printed.

Writes files of mode 600.
"""

import os
import secrets
from pathlib import Path


def secret(path: Path) -> str:
    """The secret in `path`, drawn and written at the first call."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(32))
        unfinished.replace(path)
    return path.read_text().strip()
