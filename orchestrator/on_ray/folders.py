"""The command's folder on the other nodes of a cluster, where the storage root is an object store.

Artifacts are made and read in a folder, and objects are none. So the command's own folder counts, as on one machine: an
actor beside the command serves it, and a process on another node brings what its job names and sends back what it
writes. On nodes that see the folder itself, and with a storage root that all share, nothing is copied. Knows nothing of
stages.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.artifacts.copied_folder import CopiedFolder
from orchestrator.artifacts.served_folder import ServedFolder, Stamp
from orchestrator.config.execution import Execution
from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen

HEAD = "node:__internal_head__"  # a resource that the head node has and no other


@dataclass(frozen=True)
class Folders:
    """How a process anywhere on the cluster comes to the command's folder; plain data.

    Attributes:
        root: of the command's folder, absolute; copies have the same path.
        server: name of the actor that serves it; None: all nodes share it.
    """

    root: Path
    server: str | None = None

    @property
    def mark(self) -> Path:
        """A file that this command leaves in the folder: who finds it sees the folder itself, and no copy."""
        return self.root / f".{self.server}"

    def here(self) -> CopiedFolder | None:
        """The copy on this node, None where the folder itself is seen."""
        if self.server is None or _sees(self):
            return None
        return _copied(self)

    def bring_artifacts(self, named: Any) -> None:
        """Bring the artifacts that paths in `named` (plain JSON of any depth) are of, each once in a process."""
        if (copied := self.here()) is not None:
            for path in _paths_below(self.root, named):
                copied.bring_artifact(path)

    def bring_inputs(self, job: Frozen) -> None:
        """The same for a job, but for where it works itself."""
        self.bring_artifacts(job.model_dump(mode="json", exclude={"folder", "spool"}))

    def bring_file(self, path: Path) -> None:
        """Bring a file, as it is now."""
        if (copied := self.here()) is not None:
            copied.bring(path)

    @property
    def is_served(self) -> bool:
        """Whether some node may have to work in copies."""
        return self.server is not None

    def settle(self) -> None:
        """Return when all that this process has written is where the command sees it."""
        if (copied := self.here()) is not None:
            copied.send()

    @contextmanager
    def work_in(
        self,
        folder: str,
        spool: str | None,
        *,
        leads: bool = True,
        hears: Sequence[str] = (),
        tells: Sequence[str] = (),
    ) -> Iterator[None]:
        """While the block runs this node's copy of a run's folder is sent; when it is left all is.

        Args:
            leads: this process writes there; of others only `tells` is sent, in the end.
            hears: names of files by which the run is told something.
            tells: names of files by which any process tells something.
        """
        copied = self.here()
        if copied is None:
            yield
            return
        copied.bring(Path(folder))
        if leads:
            if spool is not None:  # before the folder: what a checkpoint has behind it is sent before it
                copied.watch(Path(spool), new_only=True)
            copied.watch(Path(folder), hears=hears)
        try:
            yield
        finally:
            if leads:
                copied.send()
                copied.let_go(Path(folder))
            else:
                for path in (Path(folder) / name for name in tells):
                    if path.is_file():
                        copied.send_file(path)


def _paths_below(root: Path, value: Any) -> Iterator[Path]:
    if isinstance(value, str) and value.startswith(f"{root}/"):
        yield Path(value)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _paths_below(root, one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _paths_below(root, one)


@lru_cache
def _sees(folders: Folders) -> bool:
    return folders.mark.is_file()


@lru_cache
def _copied(folders: Folders) -> CopiedFolder:
    assert folders.server is not None
    return CopiedFolder(folders.root, _OverRay(folders.server), ray.get_runtime_context().get_node_id())


class _OverRay:
    """The serving actor as a `Served`."""

    def __init__(self, name: str) -> None:
        self._actor = ray.get_actor(name)

    def listing(self, name: str) -> dict[str, Stamp]:
        return self._ask("listing", name)

    def artifact(self, name: str) -> str:
        return self._ask("artifact", name)

    def read(self, name: str, offset: int, size: int) -> bytes:
        return self._ask("read", name, offset, size)

    def write(self, name: str, offset: int, data: bytes, stamp: Stamp, writer: tuple[str, str]) -> None:
        self._ask("write", name, offset, data, stamp, writer)

    def remove(self, names: Iterable[str]) -> None:
        self._ask("remove", list(names))

    def present(self, names: Iterable[str]) -> list[str]:
        return self._ask("present", list(names))

    def _ask(self, what: str, *given: Any) -> Any:
        return ray.get(getattr(self._actor, what).remote(*given))


class FolderServer:
    """Serves the command's folder while it is open, if the cluster's other nodes do not share it.

    Raises:
        ConfigError: the command does not run on the cluster's head node.
    """

    def __init__(self, execution: Execution, *, is_own: bool) -> None:
        self._actor: Any = None
        root = execution.work_folder
        if is_own or not execution.is_remote:
            self.folders = Folders(root)
            return
        node = ray.get_runtime_context().get_node_id()
        heads = [one["NodeID"] for one in ray.nodes() if one["Alive"] and HEAD in one["Resources"]]
        if node not in heads or execution.cluster.address.startswith("ray://"):
            raise ConfigError(
                f"execution.storage_root: {execution.storage_root.partition('?')[0]}, and this command does not run on "
                "the head node of the cluster",
                expected="a command on the head node, beside which artifacts of a bucket are made and read",
                remedy="send it there with `orchestrator submit`, or set storage_root to a folder that all nodes share",
            )
        name = f"folder-{uuid.uuid4().hex}"
        self.folders = Folders(root, name)
        root.mkdir(parents=True, exist_ok=True)
        self.folders.mark.touch()
        here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        self._actor = (
            ray.remote(ServedFolder)
            .options(
                name=self.folders.server, num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here
            )
            .remote(root)
        )

    def close(self) -> None:
        """Serve no longer."""
        if self._actor is not None:
            ray.kill(self._actor)
            self.folders.mark.unlink(missing_ok=True)
