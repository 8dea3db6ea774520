"""Settings of a student from timm: any of its image models with one feature and a map of it.

Holds the settings of one kind. Reads the checkpoint when one is given; writes nothing; the network is in
networks/timm_student.py.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.heads import ImageStudentSettings

if TYPE_CHECKING:
    from orchestrator.students.networks.timm_student import TimmStudent


class TimmStudentSettings(ImageStudentSettings):
    """`name` as in `timm.list_models()`, for example resnet18 or vit_base_patch16_224.

    `pretrained` lets timm fetch its weights; `checkpoint` is a local .safetensors file of that model or of one of our
    students, whose classifier is taken only when its shape fits. Models with another head than one linear classifier
    (distilled DeiT, LeViT) get a fresh one. `image_size` (pixels) is for models that are built for
    one size (ViT); null is timm's own size, and convolutional models take any.
    """

    kind: Literal["timm"] = "timm"
    name: str
    pretrained: bool = False
    checkpoint: str | None = None
    in_chans: int = Field(default=3, ge=1)
    image_size: int | None = Field(default=None, ge=16)
    global_pool: str | None = Field(
        default=None, description="timm's name of the pooling (avg, token, ...); null: its own"
    )
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="chance that a residual branch is left out in training (stochastic depth)"
    )

    @field_validator("checkpoint")
    @classmethod
    def _is_safetensors(cls, checkpoint: str | None) -> str | None:
        if checkpoint is not None and not checkpoint.endswith(".safetensors"):
            raise ValueError("only .safetensors checkpoints are read (a pickle may run code); convert it first")
        return checkpoint

    def build(self, context: StudentContext, adaptor: AdaptorSettings | None = None) -> "TimmStudent":
        from orchestrator.students.networks.timm_student import build_timm_student

        return build_timm_student(self, context, adaptor or AdaptorSettings())
