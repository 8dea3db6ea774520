"""How images come to a training: what is read, and by how many processes ahead of it. It changes no result.

Holds settings. Reads and writes nothing.
"""

from typing import Literal

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen


class InputSettings(Frozen):
    """Part of the execution: the batches of a training are the same to the last bit whatever stands here.

    `images`: `pixels` are decoded once, by the stage `shard`, and memory-mapped; `encoded` images are read where they
    lie and decoded anew in each epoch, so that no copy of them is made. `loaders`: what makes the batches ahead:
    `processes` of the worker's own node, or `ray_data`, actors of one CPU each on any node of the cluster, for data
    that outgrows a node's disk or a node whose few cores cannot feed its GPU; they read the storage that all share.
    That is for students under Ray Train; trials and cells share streams, which processes of their node make.
    """

    images: Literal["pixels", "encoded"] = "pixels"
    loaders: Literal["processes", "ray_data"] = "processes"
    num_loaders: int = Field(
        default=0, ge=0, le=256, description="processes that make batches, for each worker; 0: the worker itself does"
    )
    batches_ahead: int = Field(default=4, ge=1, le=256, description="batches that each of the processes has ready")

    @model_validator(mode="after")
    def _ray_data_has_loaders(self) -> "InputSettings":
        if self.loaders == "ray_data" and self.num_loaders == 0:
            raise ValueError("loaders: ray_data needs num_loaders of 1 or more: its actors, for each worker")
        return self
