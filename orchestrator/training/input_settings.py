"""How images come to a training: what is read, and by how many processes ahead of it. It changes no result.

Holds settings. Reads and writes nothing.
"""

from typing import Literal

from pydantic import Field

from orchestrator.frozen import Frozen


class InputSettings(Frozen):
    """Part of the execution: the batches of a training are the same to the last bit whatever stands here.

    `images`: `pixels` are decoded once, by the stage `shard`, and memory-mapped; `encoded` images are read where they
    lie and decoded anew in each epoch, so that no copy of them is made.
    """

    images: Literal["pixels", "encoded"] = "pixels"
    num_loaders: int = Field(
        default=0, ge=0, le=256, description="processes that make batches, for each worker; 0: the worker itself does"
    )
    batches_ahead: int = Field(default=4, ge=1, le=256, description="batches that each of them has ready")
