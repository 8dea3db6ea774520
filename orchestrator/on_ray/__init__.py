"""The Ray engine. Importing this package fixes the token mode, because Ray reads it when it is first imported."""

import os
import secrets
from pathlib import Path


def _settle_authentication() -> None:
    """Tokens are on unless the user says otherwise; a cluster we join has settled it already.

    A user's own token (environment or ~/.ray/auth_token) is kept; without one, this process and its workers share one
    that ends with them.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    if os.environ.setdefault("RAY_AUTH_MODE", "token") != "token":
        return
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if not given and not (Path.home() / ".ray" / "auth_token").is_file():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


_settle_authentication()
