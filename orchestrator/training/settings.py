"""What determines a student's training besides data, student and losses: schedule, optimiser, views, seeds, threads.

Holds settings. Reads and writes nothing.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.frozen import Frozen
from orchestrator.losses.weight_schedule import WeightSchedule
from orchestrator.training.schedules import CosineScheduleSettings, ScheduleSettings
from orchestrator.training.view_settings import MixingSettings, ShiftViews, ViewSettings


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
    beta1: float = Field(
        default=0.9, ge=0, lt=1, description="what the mean of the gradients keeps of itself at each step"
    )
    beta2: float = Field(
        default=0.999, ge=0, lt=1, description="what the mean of their squares keeps of itself at each step"
    )


class SgdSettings(_OptimizerSettings):
    """SGD with momentum (ProCo and VLM-KD: 0.9, weight decay 5e-4), optionally Nesterov's."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1, description="what the velocity keeps of itself at each step")
    nesterov: bool = Field(default=False, description="take the gradient a step ahead (Nesterov's momentum)")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


OptimizerSettings = Annotated[AdamWSettings | SgdSettings, Field(discriminator="kind")]


class ShuffledSampler(Frozen):
    """Every image once in each pass, in an order drawn by data seed and epoch."""

    kind: Literal["shuffled"] = "shuffled"


class ClassBalancedSampler(Frozen):
    """Images drawn with replacement so that classes come with probability proportional to n_c ** (1 - `power`).

    `power: 1` shows every class equally often, 0 is plain sampling; an epoch has as many draws as images.
    """

    kind: Literal["class_balanced"] = "class_balanced"
    power: float = Field(default=1.0, ge=0, le=1)


class FewShotSampler(Frozen):
    """Batches of the OOD paper's few-shot training: images of unseen classes (the support) beside those of seen ones.

    Half a batch is support, drawn without replacement, when the support exceeds half a batch; else every batch
    holds all of it. An epoch is one pass over the images of seen classes (methods 1.12).
    """

    kind: Literal["few_shot"] = "few_shot"


SamplerSettings = Annotated[ShuffledSampler | ClassBalancedSampler | FewShotSampler, Field(discriminator="kind")]


Precision = Literal["fp32", "tf32", "bf16", "fp16"]


class EmaSettings(Frozen):
    """A moving average of the student: after each step, average = decay * average + (1 - decay) * student.

    BatchNorm's running statistics are averaged too, and the first step copies the student. `warmup` lowers the decay
    of step t to at most 1 - t ** (-2 / 3), so that a short training's average does not lag behind (timm's ModelEmaV3).
    """

    decay: float = Field(default=0.9999, ge=0, lt=1, description="what the average keeps of itself at each step")
    warmup: bool = False
    is_the_student: bool = Field(
        default=True, description="the average is what is evaluated and saved; false: it stays in the checkpoint"
    )


class TrainingSettings(Frozen):
    """One student's training."""

    epochs: int = Field(default=60, ge=1)
    extended_from: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(),
        description="epochs at which this training once ended: up to each, schedules are those of so long a training",
    )
    batch_size: int = Field(
        default=64, ge=1, description="global batch of an optimiser step, over all workers and micro-batches"
    )
    accumulation_steps: int = Field(
        default=1,
        ge=1,
        description="micro-batches of batch_size / accumulation_steps images whose gradients are averaged before an "
        "optimiser step. What compares images with one another sees a micro-batch only: negatives of contrastive "
        "losses, BatchNorm, queues; losses that are a mean over images give the gradient of the whole batch",
    )
    precision: Precision = Field(
        default="fp32",
        description="of the student and its heads in training; weights, losses and evaluation stay float32. tf32: "
        "float32 with TensorFloat-32 products on GPUs that have them; fp16 scales the loss and leaves out steps "
        "whose gradient overflows",
    )
    ema: EmaSettings | None = Field(
        default=None, description="a moving average of the student, evaluated in its place; null: none"
    )
    compile: bool = Field(
        default=False, description="torch.compile of the student in training: minutes at the start, other last bits"
    )
    sync_batchnorm: bool = Field(
        default=False, description="BatchNorm's statistics over all workers (GPUs only); false: each worker's own"
    )
    cudnn_benchmark: bool = Field(
        default=False,
        description="on GPUs the convolution algorithms that are fastest when tried; false: deterministic ones",
    )
    optimizer: OptimizerSettings = Field(
        default=AdamWSettings(), description="which one, with its rate and weight decay"
    )
    schedule: ScheduleSettings = Field(
        default=CosineScheduleSettings(), description="of the learning rate over the training"
    )
    freeze: tuple[str, ...] = Field(default=(), description="see training/parameters.py")
    views: ViewSettings = Field(default=ShiftViews(), description="how an image is shown: crops, flips, colours")
    more_views: tuple[ViewSettings, ...] = Field(
        default=(), max_length=8, description="views 2 and later of each image, which contrastive losses read"
    )
    mixing: MixingSettings | None = Field(default=None, description="mixup and cutmix; null: neither")
    sampler: SamplerSettings = Field(default=ShuffledSampler(), description="which images an epoch draws")
    passes_per_epoch: int = Field(default=1, ge=1, description="passes over the data in an epoch of the schedule")
    loss_schedules: dict[str, WeightSchedule] = Field(default={}, description="loss name -> factor of its weight")
    gradient_report_every_steps: int | None = Field(
        default=None, ge=1, description="how often norms and cosines of the losses' gradients are told; null: never"
    )
    keep_last_epochs: int = Field(
        default=1, ge=1, description="students of so many last epochs are kept, and their accuracies averaged"
    )
    gradient_clip_norm: float | None = Field(
        default=None, gt=0, description="a gradient that is longer is shortened to it; null: never"
    )
    evaluate_every_epochs: int = Field(
        default=10, ge=1, description="how often the selection split is judged; the last epoch always is"
    )
    checkpoint_every_epochs: int = Field(
        default=5, ge=1, description="how often a checkpoint is written at an epoch's end"
    )
    data_seed: int = Field(default=0, ge=0, description="order of the images and their views")
    init_seed: int = Field(default=0, ge=0, description="initial weights")
    num_threads: int = Field(default=1, ge=1, description="threads of one worker: they change the last bits")

    @property
    def micro_batch_size(self) -> int:
        """Images, over all workers, that one forward pass and the losses see together."""
        return self.batch_size // self.accumulation_steps

    @model_validator(mode="after")
    def _micro_batches_are_whole(self) -> Self:
        if self.batch_size % self.accumulation_steps:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of accumulation_steps")
        if self.mixing is not None and self.accumulation_steps > 1 and self.micro_batch_size % 2:
            raise ValueError(f"mixing pairs images, and micro-batches of {self.micro_batch_size} images are odd")
        return self

    @model_validator(mode="after")
    def _extensions_ascend(self) -> Self:
        lengths = [*self.extended_from, self.epochs]
        if lengths != sorted(set(lengths)):
            raise ValueError(f"extended_from {list(self.extended_from)} must ascend and end below epochs {self.epochs}")
        return self

    def length_at(self, epoch: int) -> int:
        """Epochs of the training whose schedules hold in an epoch (0-based): its own, or one it was extended from."""
        return next(length for length in (*self.extended_from, self.epochs) if epoch < length)

    def shorter(self) -> tuple["TrainingSettings", ...]:
        """The trainings that this one extends: it goes on from their checkpoints."""
        lengths = self.extended_from
        return tuple(
            self.model_copy(update={"epochs": length, "extended_from": lengths[:index]})
            for index, length in enumerate(lengths)
        )
