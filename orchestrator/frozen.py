"""The base of every settings class: immutable, strict about unknown names.

Holds one class. Reads and writes nothing. Knows nothing of what the settings mean.
"""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A settings class: values are validated once, cannot be changed afterwards, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), validate_default=True)
