"""An image teacher that was made a classifier of the data set: an encoder and a head, from the folder of stage `tune`.

Reads `encoder.json` (the settings of the encoder it began as) and `weights.safetensors` (`head.*`, and `encoder.*`
where the encoder was fine-tuned). Knows nothing of how they were trained.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from PIL import Image
from pydantic import Field, TypeAdapter, field_validator

from orchestrator.artifacts.fingerprint import digest_file
from orchestrator.errors import ArtifactError
from orchestrator.frozen import Frozen
from orchestrator.teachers.encoder import (
    EMBEDDING,
    LOGITS,
    ComputeDtype,
    ImageEncoder,
    StoreDtype,
    Vectors,
    checked_outputs,
)
from orchestrator.teachers.hashed import HashedEncoderSettings
from orchestrator.teachers.open_clip_encoder import OpenClipSettings
from orchestrator.teachers.timm_encoder import TimmEncoderSettings, TimmOutput
from orchestrator.teachers.transformers_clip import TransformersClipSettings
from orchestrator.teachers.transformers_vision import TransformersVisionSettings

if TYPE_CHECKING:
    from orchestrator.teachers.class_head import ClassHead

ENCODER, WEIGHTS = "encoder.json", "weights.safetensors"
OF_ENCODER, OF_HEAD = "encoder.", "head."

UntunedEncoderSettings = Annotated[
    HashedEncoderSettings
    | OpenClipSettings
    | TransformersClipSettings
    | TransformersVisionSettings
    | TimmEncoderSettings,
    Field(discriminator="kind"),
]


class TunedEncoderSettings(Frozen):
    """What the stage `tune` made (VLM-KD's image teacher, fine-tuned on the student's data; methods 2.7 and 16.3)."""

    kind: Literal["tuned"] = "tuned"
    model: str = Field(description="a finished folder tuned_teacher")
    dtype: ComputeDtype = "float32"
    store_dtype: StoreDtype = "float32"
    outputs: tuple[TimmOutput, ...] = ("embedding", "logits")

    @field_validator("outputs")
    @classmethod
    def _outputs_hold(cls, value: tuple[TimmOutput, ...]) -> tuple[TimmOutput, ...]:
        return checked_outputs(value)

    def label(self) -> str:
        """A readable name for folders."""
        return f"{self.encoder().label()}-tuned"

    def identity(self) -> dict[str, Any]:
        """Everything that determines the rows; of the weights their content, wherever they lie."""
        path = self._file(WEIGHTS)
        state = path.stat()
        digest = _digest(str(path), state.st_mtime_ns, state.st_size)
        own = {"dtype": self.dtype, "store_dtype": self.store_dtype, "outputs": list(self.outputs)}
        return {"kind": self.kind, "weights": {"digest": digest}, "encoder": self.encoder().identity(), **own}

    def encoder(self) -> UntunedEncoderSettings:
        """The settings of the encoder it began as, asked for what this one is asked for."""
        told = json.loads(self._file(ENCODER).read_text(encoding="utf-8"))
        outputs = [name for name in self.outputs if name != LOGITS]  # those are the head's
        changed = {**told, "outputs": outputs, "store_dtype": self.store_dtype}
        if "dtype" in told:
            changed["dtype"] = self.dtype
        settings: UntunedEncoderSettings = TypeAdapter(UntunedEncoderSettings).validate_python(changed)
        return settings

    def build_image(self) -> ImageEncoder:
        """See `ImageEncoder`; logits are the head's, of the unit embedding in float32."""
        from safetensors.torch import load_file

        from orchestrator.teachers.class_head import ClassHead

        weights = load_file(self._file(WEIGHTS))
        head = ClassHead(*weights[f"{OF_HEAD}weight"].shape)
        head.load_state_dict(_part(weights, OF_HEAD))
        encoder = self.encoder().build_image()
        if tuned := _part(weights, OF_ENCODER):
            module: Any = getattr(encoder, "module")  # noqa: B009 - only encoders with weights have one
            module.load_state_dict(tuned)
        return TunedImageEncoder(encoder, head, self.outputs)

    def _file(self, name: str) -> Path:
        path = Path(self.model).expanduser() / name
        if not path.is_file():
            raise ArtifactError(
                f"model {self.model}: there is no {path}",
                expected="a folder that the stage tune has finished",
                remedy="give teacher_tuning in an experiment and run `orchestrator tune`, or name another folder",
            )
        return path


@functools.lru_cache(maxsize=32)
def _digest(path: str, mtime_ns: int, size: int) -> str:
    return digest_file(Path(path))


def _part(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


class TunedImageEncoder:
    """See `ImageEncoder`: an encoder, and a head on its unit embedding."""

    def __init__(self, encoder: ImageEncoder, head: "ClassHead", outputs: Sequence[str]) -> None:
        self._encoder, self._head, self._outputs = encoder, head.eval(), tuple(outputs)
        self.info: dict[str, Any] = encoder.info
        if LOGITS in outputs:
            self.info = {**self.info, "dims": {**self.info["dims"], LOGITS: [len(head.bias)]}}

    def __call__(self, images: Sequence[Image.Image]) -> Mapping[str, Vectors]:
        """See `ImageEncoder`."""
        return self.encode(self.preprocess(images))

    def preprocess(self, images: Sequence[Image.Image]) -> Any:
        """See `ImageEncoder`."""
        return self._encoder.preprocess(images)

    def encode(self, pixels: Any) -> Mapping[str, Vectors]:
        """See `ImageEncoder`."""
        import torch

        found = dict(self._encoder.encode(pixels))
        if LOGITS in self._outputs:
            with torch.inference_mode():
                found[LOGITS] = self._head(torch.from_numpy(found[EMBEDDING])).numpy()
        return {name: found[name] for name in self._outputs}
