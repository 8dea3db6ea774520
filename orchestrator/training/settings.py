"""What determines a student's training besides data, student and losses: schedule, optimiser, views, seeds, threads.

Holds settings. Reads and writes nothing.
"""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.frozen import Frozen


class AdamWSettings(Frozen):
    """AdamW; one-dimensional parameters (biases, norms, temperatures) have no weight decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)


class SgdSettings(Frozen):
    """SGD with momentum (ProCo and VLM-KD: 0.9, weight decay 5e-4)."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)


OptimizerSettings = Annotated[AdamWSettings | SgdSettings, Field(discriminator="kind")]


class ScheduleSettings(Frozen):
    """Learning rate over steps: linear warm-up over a fraction of them, then a cosine to `final_fraction`."""

    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    final_fraction: float = Field(default=0.0, ge=0, le=1)


class ViewSettings(Frozen):
    """Augmented views: a shift by up to `pad` pixels (edges repeated), a horizontal flip, brightness and contrast.

    A view is a function of (data seed, image id, view id). The view id is the epoch, modulo the number of views for
    which an image teacher's outputs are kept where a loss reads them (methods 16.8).
    """

    pad: int = Field(default=6, ge=0, le=256)
    flip: bool = True
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)


class TeacherViews(Frozen):
    """The views for which an image teacher's outputs are kept: `num_views` of each training image (methods 16.8).

    `image_size` is the side of the student's images: `views.pad` is told in its pixels.
    """

    num_views: int = Field(ge=1)
    views: ViewSettings
    image_size: int = Field(ge=1)
    data_seed: int = Field(ge=0)


class TrainingSettings(Frozen):
    """One student's training."""

    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=64, ge=1, description="global batch, over all workers")
    optimizer: OptimizerSettings = AdamWSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    views: ViewSettings = ViewSettings()
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    evaluate_every_epochs: int = Field(default=10, ge=1)
    checkpoint_every_epochs: int = Field(default=5, ge=1)
    data_seed: int = Field(default=0, ge=0, description="order of the images and their views")
    init_seed: int = Field(default=0, ge=0, description="initial weights")
    num_threads: int = Field(default=1, ge=1, description="threads of one worker: they change the last bits")
