"""What determines a student's training besides data, student and losses: schedule, optimiser, views, seeds, threads.

Holds settings. Reads and writes nothing.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.training.schedules import CosineScheduleSettings, ScheduleSettings


class _OptimizerSettings(Frozen):
    """What all optimisers have.

    Vectors and scalars (biases, norms, temperatures) have no weight decay, nor what a timm backbone excludes itself
    (position embeddings); `decay_all` decays all but scalars, as the official codes of the OOD paper, ProCo, PaCo,
    GPaCo and RISE do. `layer_decay` d multiplies the learning rate by d for each layer of a timm student below its head
    (LiVT: 0.75, iNaturalist 0.65). `learning_rate_scales` maps shell-style patterns over parameter names to factors, as
    in {"adaptor.*": 10}; factors of all that match multiply.
    """

    layer_decay: float | None = Field(default=None, gt=0, le=1)
    learning_rate_scales: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    decay_all: bool = False


class AdamWSettings(_OptimizerSettings):
    """AdamW."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)


class SgdSettings(_OptimizerSettings):
    """SGD with momentum (ProCo and VLM-KD: 0.9, weight decay 5e-4), optionally Nesterov's."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


OptimizerSettings = Annotated[AdamWSettings | SgdSettings, Field(discriminator="kind")]


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
    schedule: ScheduleSettings = CosineScheduleSettings()
    freeze: tuple[str, ...] = Field(default=(), description="see training/parameters.py")
    views: ViewSettings = ViewSettings()
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    evaluate_every_epochs: int = Field(default=10, ge=1)
    checkpoint_every_epochs: int = Field(default=5, ge=1)
    data_seed: int = Field(default=0, ge=0, description="order of the images and their views")
    init_seed: int = Field(default=0, ge=0, description="initial weights")
    num_threads: int = Field(default=1, ge=1, description="threads of one worker: they change the last bits")
