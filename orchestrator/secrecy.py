"""What looks like a secret, and how it is kept out of sight.

Secrets come from the environment or from files; a setting, a tag, a job's description or a message never holds one.
Holds patterns and functions of text. Reads and writes nothing.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "***"
_WORDS = (
    r"token|secret|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key|account_?key|credential"
    r"|signature|authorization"
)
_SECRET_NAME = re.compile(rf"(?:{_WORDS})s?$", re.IGNORECASE)
_NAMES_A_PLACE = re.compile(r"_(?:env|file|field|variable)$", re.IGNORECASE)  # settings that say where a secret is
_IS_NO_SECRET = re.compile(r"[-+]?\d[\d_.eE+-]*|true|false|null|~|", re.IGNORECASE)  # max_new_tokens=64
# Both begin only where a word does and are bounded, so that a text of any length takes time in proportion to it.
_PAIR = re.compile(rf"(?<![\w.-])([\w.-]{{0,200}}?(?:{_WORDS})s?)=([^\s&;,'\"]{{1,4000}})", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(?<![\w+.-])([\w+.-]{1,40}://[^/\s:@]{0,200}:)[^/\s@]{1,1000}@")
_SHAPES = re.compile(  # forms that their issuers made to be recognised
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def is_secret_name(name: str) -> bool:
    """Whether a setting, variable or query field of this (dotted) name holds a secret, and not the place of one."""
    last = name.rsplit(".", 1)[-1].replace("-", "_")
    return bool(_SECRET_NAME.search(last)) and not _NAMES_A_PLACE.search(last)


def secret_in(name: str, value: object) -> str | None:
    """What kind of secret stands in a named value, without the secret; None where there is none."""
    if not isinstance(value, str):
        return None
    if is_secret_name(name) and not _IS_NO_SECRET.fullmatch(value):
        return "looks like a secret"
    if _PASSWORD_IN_URL.search(value):
        return "is an address with a password in it"
    if any(not _IS_NO_SECRET.fullmatch(pair[2]) for pair in _PAIR.finditer(value)):
        return "holds a secret"
    return "is a key by its form" if _SHAPES.search(value) else None


def secrets_in(tree: Any, path: str = "") -> Iterator[str]:
    """A line for each secret in nested settings: its path and what it is, never its value."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from secrets_in(value, f"{path}.{name}" if path else str(name))
    elif isinstance(tree, list | tuple):
        for position, value in enumerate(tree):
            yield from secrets_in(value, f"{path}[{position}]")
    elif (what := secret_in(path.partition("[")[0], tree)) is not None:
        yield f"{path}: {what}; settings are printed and kept, so name an environment variable or a file instead"


def redacted(text: str) -> str:
    """The same text, every secret that can be recognised replaced."""
    text = _SHAPES.sub(HIDDEN, _PASSWORD_IN_URL.sub(rf"\1{HIDDEN}@", text))
    return _PAIR.sub(_without_value, text)


def redacted_tree(tree: Any) -> Any:
    """Nested values, every text in them redacted, and every value under a secret name replaced."""
    if isinstance(tree, Mapping):
        return {
            name: HIDDEN if secret_in(str(name), value) == "looks like a secret" else redacted_tree(value)
            for name, value in tree.items()
        }
    return redacted(tree) if isinstance(tree, str) else tree


def _without_value(pair: re.Match[str]) -> str:
    return pair[0] if _IS_NO_SECRET.fullmatch(pair[2]) else f"{pair[1]}={HIDDEN}"
