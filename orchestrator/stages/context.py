"""What every stage is given, and the one way in which a stage makes or reuses an artifact.

Reads and writes manifests; with a remote storage root, sends there what is finished. Knows nothing of single stages.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.artifacts.fingerprint import differing_fields, fingerprint
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.manifest import (
    BEGUN_NAME,
    MANIFEST_NAME,
    Manifest,
    Status,
    artifact_fingerprint,
    discard,
    read_manifest,
    refuse_changed,
    status_of,
    write_manifest,
)
from orchestrator.artifacts.mirror import Mirror
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.config.execution import Execution
from orchestrator.config.experiment import Experiment
from orchestrator.executors.protocol import Executor
from orchestrator.stages.feedback import Feedback
from orchestrator.tracking import Tracker

QUARANTINE_NAME = "quarantine.parquet"
TO_TRY_AGAIN = "to_try_again"  # a count in manifests: rows that the next command asks for once more
Counts = dict[str, int]


@dataclass(frozen=True)
class Plan:
    """One artifact of the line before it is made.

    Attributes:
        stage: the stage's name (also what --rebuild takes).
        folder: where it lies.
        settings, parents: what determines it.
        is_view: it can always be derived again cheaply from stores and data, so other settings simply replace it;
            otherwise (students, sweeps) other settings under the same name are refused.
        goes_on_from: settings whose work in the folder, finished or not, is not refused but gone on from.
        way_out: what else the user may do about a refusal.
        elsewhere: a folder (or URI) outside `folder` that is dropped with it.
    """

    stage: str
    folder: Path
    settings: dict[str, Any]
    parents: dict[str, str]
    is_view: bool
    goes_on_from: tuple[dict[str, Any], ...] = ()
    way_out: str = ""
    elsewhere: str | None = None

    def drop(self) -> None:
        """Remove what lies there."""
        discard(self.folder)
        if self.elsewhere is not None:
            beyond = Folder(self.elsewhere)
            beyond.delete_all(beyond.names())

    def continues(self, old: Mapping[str, Any]) -> bool:
        """Whether settings and parents `old` are those of this artifact, or of one that it goes on from."""
        return old == self.content or (old["parents"] == self.parents and old["settings"] in self.goes_on_from)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the artifact."""
        return artifact_fingerprint(self.stage, self.settings, self.parents)

    @property
    def identity(self) -> str:
        """What children are told of it: the fingerprint, and of an incomplete artifact what it holds now."""
        manifest = read_manifest(self.folder)
        if manifest is None or manifest.fingerprint != self.fingerprint or not manifest.counts.get(TO_TRY_AGAIN):
            return self.fingerprint
        files = {name: digest for name, digest in manifest.files.items() if name not in (BEGUN_NAME, QUARANTINE_NAME)}
        return fingerprint({"plan": self.fingerprint, "files": files})

    @property
    def content(self) -> dict[str, Any]:
        """Settings and parents: what two artifacts are compared by."""
        return {"settings": self.settings, "parents": self.parents}

    def status(self) -> Status:
        """Whether it is there."""
        return status_of(self.folder, self.fingerprint)


@dataclass
class Context:
    """The experiment, where it runs, and what the stages share.

    Attributes:
        rebuild: stages to be made anew whatever lies there.
        rehash: read and hash the images again instead of trusting names, sizes and times.
        variant: name of a sweep's variant of the texts and their embeddings; "": the experiment's own.
        open_executor: called when work needs an engine, and only then: a finished line starts no cluster.
    """

    experiment: Experiment
    execution: Execution
    tracker: Tracker
    feedback: Feedback
    open_executor: Callable[[], Executor]
    rebuild: frozenset[str] = frozenset()
    rehash: bool = False
    variant: str = ""
    _executor: Executor | None = None
    _rebuilt: set[Path] = field(default_factory=set)
    _mirror: Mirror | None = None

    def __post_init__(self) -> None:
        """Bring what a remote storage root has to this machine.

        Raises:
            DamagedFileError: what came is not what was sent there.
        """
        if self.execution.is_remote and self._mirror is None:
            self._mirror = Mirror(Folder(self.execution.storage_root), self.execution.work_folder)
            if count := self._mirror.fetch(self.experiment.name):
                self.feedback.event("storage", f"{count} files came from {self._mirror.remote}")

    @property
    def root(self) -> Path:
        """Where artifacts are made and read, absolute: the storage root, or this machine's folder of a remote one."""
        return self.execution.work_folder

    @property
    def folder(self) -> Path:
        """The experiment's own folder."""
        return self.root / self.experiment.name

    @property
    def texts_folder(self) -> Path:
        """Where descriptions, captions and embeddings lie."""
        return self.folder / "variants" / self.variant if self.variant else self.folder

    def of_variant(self, experiment: Experiment, name: str) -> "Context":
        """The same with another experiment, whose texts and embeddings lie apart; the engine is this one's."""
        return replace(self, experiment=experiment, variant=name, open_executor=lambda: self.executor, _executor=None)

    @property
    def hot_copies(self) -> Path | None:
        """The node's folder for memory-mapped copies of teacher rows; None keeps them beside the artifact."""
        execution = self.execution
        if execution.hot_copies is not None:
            return Path(execution.hot_copies).expanduser()
        return Path(tempfile.gettempdir()) / "orchestrator-hot-copies" if execution.is_remote else None

    @property
    def executor(self) -> Executor:
        """The engine, started on first use."""
        if self._executor is None:
            self._executor = self.open_executor()
        return self._executor

    def close(self) -> None:
        """Give the engine back, and keep what lies outside artifacts."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None
        self.keep(self.folder)

    def keep(self, folder: Path) -> None:
        """Send what is new in an unfinished artifact to a remote storage root, so that its work outlives this machine.

        Args:
            folder: the artifact's; the experiment's own stands for its files outside artifacts.
        """
        if self._mirror is not None:
            self._mirror.send(folder)

    def _drop(self, plan: Plan) -> None:
        if self._mirror is not None:
            self._mirror.drop(plan.folder)
        plan.drop()

    def make(self, plan: Plan, build: Callable[[Path], tuple[Counts, Mapping[str, float]]]) -> Manifest:
        """Reuse the artifact of `plan`, or make it: `build(folder)` writes files and returns counts and metrics."""
        if (manifest := self.begin(plan)) is not None:
            return manifest
        started = time.perf_counter()
        counts, metrics = build(plan.folder)
        return self.finish(plan, counts, metrics, time.perf_counter() - started)

    def begin(self, plan: Plan) -> Manifest | None:
        """The finished artifact, or None after its folder was made ready to be filled.

        Other settings' work in the folder is dropped (views) or refused (everything else), finished or not; --rebuild
        drops it once in a command.
        """
        if plan.stage in self.rebuild and plan.folder not in self._rebuilt:
            self._drop(plan)
        self._rebuilt.add(plan.folder)
        manifest, path = read_manifest(plan.folder), plan.folder / BEGUN_NAME
        read = ", ".join(f"{name} {digest[:12]}" for name, digest in plan.parents.items())
        self.feedback.detail(plan.stage, f"fingerprint {plan.fingerprint[:12]}{f', reads {read}' if read else ''}")
        if manifest is not None and manifest.fingerprint == plan.fingerprint:
            if not manifest.counts.get(TO_TRY_AGAIN):
                self.keep(plan.folder)  # a command that was killed may have finished it and not sent it
                name = plan.folder.relative_to(self.root)
                self.feedback.event(plan.stage, f"reused {name}: {_shown(manifest.counts)}")
                return manifest
            (plan.folder / MANIFEST_NAME).unlink()
        if manifest is not None:
            old, state = {"settings": manifest.settings, "parents": manifest.parents}, "a finished"
        else:
            old, state = read_json(path) if path.is_file() else plan.content, "an unfinished"
        if not plan.continues(old):
            if not plan.is_view:
                refuse_changed(plan.folder, plan.stage, old, plan.content, state, plan.way_out)
            self._drop(plan)
        self.feedback.detail(plan.stage, f"to be made: {_why(plan, old, path.is_file(), manifest is not None)}")
        (plan.folder / MANIFEST_NAME).unlink(missing_ok=True)
        plan.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, plan.content)
        return None

    def finish(self, plan: Plan, counts: Counts, metrics: Mapping[str, float], seconds: float) -> Manifest:
        """Write the manifest of a folder that is filled: from now on the artifact exists."""
        manifest = write_manifest(
            plan.folder, stage=plan.stage, settings=plan.settings, parents=plan.parents, counts=counts,
            seconds=seconds, metrics=dict(metrics),
        )  # fmt: skip
        self.keep(plan.folder)
        name = plan.folder.relative_to(self.root)
        self.feedback.event(plan.stage, f"made {name} in {seconds:.1f} s: {_shown(counts)}")
        return manifest


def _why(plan: Plan, old: Mapping[str, Any], was_begun: bool, was_finished: bool) -> str:
    changed = differing_fields(old, plan.content)
    if changed:
        how = "it goes on from" if plan.continues(old) else "it was made with"
        return f"{how} other settings: {'; '.join(changed)}"
    if was_finished:
        return "rows of it are to be tried again"
    return "it was begun and not finished" if was_begun else "there is none"


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in counts.items())
