"""The execution: where and how an experiment runs. It changes no result and has no identity.

Holds settings, and what follows from them. Reads and writes nothing.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.artifacts.place import Place
from orchestrator.frozen import Frozen
from orchestrator.tracking import TrackingSettings
from orchestrator.training.checkpoint_settings import CheckpointSettings
from orchestrator.training.input_settings import InputSettings


class ActorPoolSettings(Frozen):
    """Actors that hold a teacher; `num_gpus_per_actor` may be a fraction, so that several share a device."""

    num_actors: int = Field(default=1, ge=1, description="processes that each hold the teacher")
    max_actors: int | None = Field(default=None, ge=1, description="grow up to this many while there is work; null: no")
    num_cpus_per_actor: float = Field(default=1, ge=0)
    num_gpus_per_actor: float = Field(default=0, ge=0)
    num_readers: int = Field(
        default=0,
        ge=0,
        description="processes that read images ahead of the actors; 0: the actors do",
    )
    batch_size: int = Field(default=32, ge=1, description="images of one micro-batch, committed together")
    timeout_s: float = Field(
        default=900, gt=0, description="of one micro-batch in the model; then its rows are tried in parts"
    )
    max_error_fraction: float = Field(
        default=0.05, ge=0, le=1, description="share of rows without a result above which the command fails"
    )

    @model_validator(mode="after")
    def _grows_upwards(self) -> Self:
        if self.max_actors is not None and self.max_actors < self.num_actors:
            raise ValueError(f"max_actors {self.max_actors} is below num_actors {self.num_actors}")
        return self

    @property
    def most_actors(self) -> int:
        """How many actors there can be at once."""
        return max(self.num_actors, self.max_actors or 0)


class WorkerSettings(Frozen):
    """Workers that train one student together."""

    num_workers: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        default=1,
        description="how many; [min, max]: as many as there is room for, which may change while they train. The global "
        "batch is the experiment's, so that the learning rate stays right",
    )
    num_cpus_per_worker: float = Field(default=1, gt=0)
    num_gpus_per_worker: float = Field(default=0, ge=0)
    max_failures: int = Field(
        default=2,
        ge=0,
        description="restarts of the workers from their checkpoint; those after a preemption notice are not counted",
    )
    resize_every_s: float = Field(
        default=60, gt=0, description="how often a range of workers looks for room to grow; each growth is a restart"
    )

    @model_validator(mode="after")
    def _range_ascends(self) -> Self:
        if self.least_workers > self.most_workers:
            raise ValueError(f"num_workers [{self.least_workers}, {self.most_workers}] descends")
        if self.is_elastic and not self.max_failures:
            raise ValueError("num_workers is a range, and resizing is a restart: set max_failures above 0")
        return self

    @property
    def is_elastic(self) -> bool:
        """Whether the number may change."""
        return self.least_workers < self.most_workers

    @property
    def least_workers(self) -> int:
        """Fewer do not train."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def most_workers(self) -> int:
        """More are never asked for."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def sizes(self) -> range:
        """Every number of workers that may come."""
        return range(self.least_workers, self.most_workers + 1)

    @property
    def shown(self) -> str:
        """The number in words."""
        return f"{self.least_workers} to {self.most_workers}" if self.is_elastic else str(self.most_workers)


class TrialSettings(Frozen):
    """Trainings that run side by side: a sweep's trials, an evidence's cells.

    Each is a member of a pack in a trial worker, a process that outlives its trials; with `num_train_workers` above 1 a
    trial is a training on several workers of its own instead.
    """

    num_workers: int = Field(default=1, ge=1, description="trial workers; or trials at once, where each has its own")
    trials_per_worker: int = Field(
        default=1, ge=1, description="trials that a worker trains together, from one stream of images where they can"
    )
    num_cpus_per_worker: float = Field(default=1, gt=0)
    num_gpus_per_worker: float = Field(default=0, ge=0, description="may be a fraction: several workers share a device")
    num_train_workers: int = Field(default=1, ge=1, description="workers that train one trial together")

    @model_validator(mode="after")
    def _packs_or_nests(self) -> Self:
        if self.num_train_workers > 1 and self.trials_per_worker > 1:
            raise ValueError(
                f"trials_per_worker {self.trials_per_worker} with num_train_workers {self.num_train_workers}: "
                "a trial on several workers shares none of them; set one of the two to 1"
            )
        return self

    @property
    def most_at_once(self) -> int:
        """How many trials run at a time."""
        return self.num_workers * self.trials_per_worker

    @property
    def processes(self) -> int:
        """How many processes train at a time, each with the CPUs and GPUs of a worker."""
        return self.num_workers * self.num_train_workers


class NodeKind(Frozen):
    """Nodes of one kind that an autoscaling cluster may start."""

    num_nodes: int = Field(ge=1, description="at most")
    num_cpus: float = Field(ge=0, description="of each")
    num_gpus: float = Field(default=0, ge=0, description="of each")


class ClusterSettings(Frozen):
    """The Ray cluster: a local one of our own, or a running one.

    `num_gpus` on a local cluster declares logical GPUs; null means what Ray finds. `grows_to` names the nodes that an
    autoscaling cluster may come to have: a plan is then measured by them, because Ray starts a node only when work
    waits for it, and work that is refused waits for nothing.
    """

    address: str = Field(default="local", description="'local', 'auto' (the running one), or ray://...")
    num_cpus: int | None = Field(default=None, ge=1, description="of a local cluster; null: all that the machine has")
    num_gpus: int | None = Field(default=None, ge=0)
    object_store_mib: int | None = Field(
        default=None, ge=80, description="memory of a local cluster's object store, MiB; null: Ray's own choice"
    )
    grows_to: tuple[NodeKind, ...] = ()

    @model_validator(mode="after")
    def _own_clusters_do_not_grow(self) -> "ClusterSettings":
        if self.address == "local" and self.grows_to:
            raise ValueError("grows_to is of a running cluster (address: auto or ray://...), a local one has its size")
        return self


class PriceSettings(Frozen):
    """What things cost, in USD, for `orchestrator plan`; null: not told. Endpoints carry their own token prices."""

    gpu_hour_usd: float | None = Field(default=None, ge=0, description="of one GPU")
    cpu_hour_usd: float | None = Field(default=None, ge=0, description="of one processor core")
    storage_gib_month_usd: float | None = Field(default=None, ge=0, description="of one GiB kept for a month")


class Execution(Frozen):
    """One execution sheet, `jobs/executions/*.yaml`."""

    name: str = Field(description="what the sheet is called; nothing depends on it")
    engine: Literal["ray", "in_process"] = Field(
        default="ray", description="ray, or one process in which one thing follows another"
    )
    storage_root: str = Field(
        default="runs",
        description="folder of all artifacts, stores, checkpoints and tracking, shared by all nodes; or a URI "
        "(s3://bucket/prefix, gs://bucket/prefix): artifacts are then made and read in `scratch`, and kept at the URI",
    )
    scratch: str | None = Field(
        default=None,
        description="folder on each machine for the artifacts of a storage_root that is a URI, the same path on all; "
        "null: ~/.cache/vlm-distill. It may be lost at any time",
    )
    store_root: str | None = Field(
        default=None, description="folder or URI (s3://bucket/prefix) of the teacher stores; null: storage_root/store"
    )
    hot_copies: str | None = Field(
        default=None,
        description="folder on each node for the memory-mapped copies of teacher rows; null = beside the artifact, or "
        "in the node's temporary folder where the storage root is no folder",
    )
    cluster: ClusterSettings = Field(default=ClusterSettings(), description="which Ray cluster the work runs on")
    captioning: ActorPoolSettings = Field(default=ActorPoolSettings(), description="actors that caption")
    embedding: ActorPoolSettings = ActorPoolSettings(batch_size=128)
    training: WorkerSettings = Field(default=WorkerSettings(), description="workers that train one student together")
    input: InputSettings = Field(default=InputSettings(), description="how batches are loaded and decoded")
    checkpoints: CheckpointSettings = Field(
        default=CheckpointSettings(), description="when and where trainings are saved"
    )
    trials: TrialSettings = Field(
        default=TrialSettings(), description="trainings that run side by side: a sweep's trials, an evidence's cells"
    )
    tracking: TrackingSettings = Field(default=TrackingSettings(), description="where runs are reported")
    prices: PriceSettings = Field(default=PriceSettings(), description="what things cost, for the plan and the report")

    @property
    def is_remote(self) -> bool:
        """Whether the storage root is a URI, and so worked on in a local folder."""
        return Place(self.storage_root).local is None

    @property
    def work_folder(self) -> Path:
        """Where artifacts are made and read on this machine, absolute: the storage root, or its folder in `scratch`."""
        if (local := Place(self.storage_root).local) is not None:
            return local.resolve()
        where = hashlib.blake2b(self.storage_root.encode(), digest_size=6).hexdigest()
        return Path(self.scratch or "~/.cache/vlm-distill").expanduser().resolve() / where

    @property
    def stores(self) -> Place:
        """Where the teacher stores lie."""
        if self.store_root is not None:
            return Place(self.store_root)
        return Place(self.storage_root if self.is_remote else str(self.work_folder)).child("store")

    @property
    def checkpoint_settings(self) -> CheckpointSettings:
        """Where checkpoints lie, and how often: with a remote storage root, there."""
        if self.checkpoints.root is not None or not self.is_remote:
            return self.checkpoints
        return self.checkpoints.model_copy(update={"root": Place(self.storage_root).child("checkpoints").uri})

    @model_validator(mode="after")
    def _ray_data_has_ray(self) -> "Execution":
        if self.engine == "in_process" and self.input.loaders == "ray_data":
            raise ValueError("input.loaders: ray_data needs engine: ray; in process it is loaders: processes")
        return self
