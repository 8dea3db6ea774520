"""How often checkpoints are written, where they lie and which are kept. It changes no result.

Holds settings. Reads and writes nothing.
"""

from typing import Literal

from pydantic import Field

from orchestrator.frozen import Frozen


class CheckpointSettings(Frozen):
    """Part of the execution: a training ends in the same bits wherever it was cut off.

    The experiment's `training.checkpoint_every_epochs` says after which epochs one is written; these add moments within
    an epoch. The newest `keep` are kept, the `keep_best` best by `best_metric`, and whatever `latest.json` and
    `best.json` name.
    """

    root: str | None = Field(
        default=None,
        description="folder or URI (s3://bucket/prefix) that all nodes reach; null: the run's own folder",
    )
    every_steps: int | None = Field(default=None, ge=1, description="also after so many steps; null: no")
    every_minutes: float | None = Field(default=10.0, gt=0, description="also after so many minutes; null: no")
    keep: int = Field(default=2, ge=1)
    keep_best: int = Field(default=1, ge=0)
    best_metric: str = Field(default="select/all", description="of the epochs' metrics")
    best_mode: Literal["max", "min"] = Field(
        default="max", description="whether a larger or a smaller best_metric is better"
    )
