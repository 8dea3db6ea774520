"""Checkpoints of a training: written atomically with a checksum, the newest sound one found again.

Reads and writes `step-*.pt` and `step-*.json`. Knows nothing of what the state holds. Loads with `weights_only`.
"""

from pathlib import Path
from typing import Any

import torch

from orchestrator.artifacts.fingerprint import digest_file
from orchestrator.artifacts.storage import read_json, remove_leftovers, write_atomically, write_json
from orchestrator.errors import ArtifactError

KEEP = 2


class Checkpoints:
    """The checkpoints of one run directory.

    Args:
        folder: created on the first save.
        identity: fingerprint of the run; a checkpoint of another identity is refused.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state of `step`; the JSON beside it, written last, makes it valid. Older than KEEP are removed."""
        path = self.folder / f"step-{step:09d}.pt"
        write_atomically(path, lambda temporary: torch.save(state, temporary))
        header = {"step": step, "identity": self.identity, "checksum": digest_file(path)}
        write_json(path.with_suffix(".json"), header)
        for old in sorted(self.folder.glob("step-*.json"))[:-KEEP]:
            old.unlink(missing_ok=True)
            old.with_suffix(".pt").unlink(missing_ok=True)

    def latest(self) -> dict[str, Any] | None:
        """The state of the newest sound checkpoint, or None. A damaged one is passed over.

        Raises:
            ArtifactError: the checkpoints belong to other settings.
        """
        if not self.folder.is_dir():
            return None
        remove_leftovers(self.folder)
        for header_path in sorted(self.folder.glob("step-*.json"), reverse=True):
            header, path = read_json(header_path), header_path.with_suffix(".pt")
            if header["identity"] != self.identity:
                raise ArtifactError(
                    f"{self.folder} holds checkpoints of other settings",
                    expected="the settings this run began with",
                    remedy="give the experiment another name, or make the run anew with --rebuild train",
                )
            if path.is_file() and digest_file(path) == header["checksum"]:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                return state
        return None
