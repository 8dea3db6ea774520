"""Captions by vLLM in the process of an actor.

Holds settings and the captioner in process. Knows nothing of Ray.
"""

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from orchestrator.captioners.protocol import Answer, Refusal, Usage, Visit
from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.teachers.weights import resolve_model, weights_identity

EXTRA = "pip install 'vlm-distill-orchestrator[vllm]'"
_NAMED_ELSEWHERE = frozenset(
    {"model", "tokenizer", "revision", "tokenizer_revision", "dtype", "quantization", "max_model_len", "seed",
     "mm_processor_kwargs", "limit_mm_per_prompt", "tensor_parallel_size", "pipeline_parallel_size",
     "gpu_memory_utilization", "max_num_seqs", "trust_remote_code", "task_type", "runner"}
)  # fmt: skip


class VllmCaptionerSettings(Frozen):
    """A model served by vLLM's own engine (Kwon et al. 2023, PagedAttention), decoded greedily unless told otherwise.

    `vllm_version` is part of the identity and is compared with what is installed wherever the engine runs, so that a
    machine without vLLM (a laptop that plans, a CPU node) computes the same identity.
    """

    kind: Literal["vllm"] = "vllm"
    model: str = Field(min_length=1, description="a hub id or the path of a local directory")
    revision: str | None = None
    vllm_version: str = Field(default="0.29.0", description="what ray[llm] 2.60 installs")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "bfloat16"
    quantization: str | None = Field(
        default=None, description="vLLM's name of it (awq, fp8, ...); null: the model's own"
    )
    max_model_len: int | None = Field(default=None, ge=64, description="tokens of prompt, image and answer together")
    max_new_tokens: int = Field(default=64, ge=1, le=16384)
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int = 0
    chat_template_content_format: Literal["openai", "string"] = Field(
        default="openai", description="how the model's chat template takes content: as parts, or as one text"
    )
    mm_processor_kwargs: dict[str, JsonValue] = Field(default_factory=dict, description="such as min_pixels")
    engine_kwargs: dict[str, JsonValue] = Field(
        default_factory=dict, description="more arguments of the engine; part of the identity, whatever they do"
    )
    trust_remote_code: bool = False

    tensor_parallel_size: int = Field(default=1, ge=1, description="GPUs that share each layer")
    pipeline_parallel_size: int = Field(default=1, ge=1, description="GPUs that follow one another")
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="fraction of a GPU's memory")
    max_num_seqs: int | None = Field(default=None, ge=1, description="sequences decoded together; null: vLLM's own")

    @model_validator(mode="after")
    def _each_engine_argument_has_one_place(self) -> Self:
        if taken := sorted(_NAMED_ELSEWHERE & set(self.engine_kwargs)):
            raise ValueError(f"engine_kwargs: {', '.join(taken)} have settings of their own, or cannot be changed")
        return self

    @property
    def num_gpus(self) -> int:
        """GPUs of one engine."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    def identity(self) -> dict[str, Any]:
        """Everything that determines the captions: weights, engine and its version, decoding, number format.

        How an engine is spread over GPUs and how many sequences it batches is left out: like its scheduler, which
        composes batches by arrival, they move rounding only.
        """
        return {
            "kind": self.kind,
            "weights": weights_identity(self.model, self.revision),
            "vllm": self.vllm_version,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "max_model_len": self.max_model_len,
            "chat_template_content_format": self.chat_template_content_format,
            "mm_processor_kwargs": self.mm_processor_kwargs,
            "engine_kwargs": self.engine_kwargs,
            "decoding": self.sampling(),
        }

    def sampling(self) -> dict[str, Any]:
        """Arguments of vLLM's `SamplingParams`."""
        return {"max_tokens": self.max_new_tokens, "temperature": self.temperature, "seed": self.seed}

    def engine(self) -> dict[str, Any]:
        """Arguments of vLLM's engine, apart from the model itself."""
        optional = {
            "revision": None if Path(resolve_model(self.model)).is_dir() else self.revision,
            "quantization": self.quantization,
            "max_model_len": self.max_model_len,
            "mm_processor_kwargs": self.mm_processor_kwargs or None,
            "max_num_seqs": self.max_num_seqs,
        }
        return {
            "dtype": self.dtype,
            "seed": self.seed,
            "limit_mm_per_prompt": {"image": 1},
            "tensor_parallel_size": self.tensor_parallel_size,
            "pipeline_parallel_size": self.pipeline_parallel_size,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "trust_remote_code": self.trust_remote_code,
            **{name: value for name, value in optional.items() if value is not None},
            **self.engine_kwargs,
        }

    def label(self) -> str:
        """A readable name for folders."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.model.rstrip("/").rsplit("/", 1)[-1])

    def require_vllm(self) -> None:
        """Check that the engine is installed here, in the version that the captions are keyed by.

        Raises:
            ConfigError: it is not.
        """
        try:
            installed = version("vllm")
        except PackageNotFoundError:
            installed = None
        if installed != self.vllm_version:
            found = "vLLM is not installed here" if installed is None else f"vLLM {installed} is installed here"
            raise ConfigError(
                f"captioner kind vllm: {found}",
                expected=f"vLLM {self.vllm_version}, which is part of the captions' identity",
                remedy=EXTRA if installed is None else f"set captioner.vllm_version={installed}, or {EXTRA}",
            )

    def build(self) -> "VllmCaptioner":
        """The engine in this process, on its GPUs.

        Raises:
            ConfigError: vLLM is not installed here, or in another version.
        """
        self.require_vllm()
        return VllmCaptioner(self)


def chat_messages(image: Any, prompt: str, image_name: str | None = None) -> list[dict[str, Any]]:
    """One prompt about one image as vLLM's chat messages; the image is passed as it is, not encoded.

    `image_name` must be unique to the pixels: vLLM then encodes the image of several prompts once.
    """
    parts: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
    if image is not None:
        named = {} if image_name is None else {"uuid": image_name}
        parts.insert(0, {"type": "image_pil", "image_pil": image, **named})
    return [{"role": "user", "content": parts}]


class VllmCaptioner:
    """See `Captioner`; for debugging without Ray. vLLM batches and schedules by itself."""

    def __init__(self, settings: VllmCaptionerSettings) -> None:
        import vllm

        self.usage = Usage()
        self._refusals = _refusals_of_vllm()
        self._format = settings.chat_template_content_format
        self._sampling = vllm.SamplingParams(**settings.sampling())
        self._engine = vllm.LLM(model=resolve_model(settings.model), **settings.engine())

    def caption(self, visits: Sequence[Visit]) -> list[list[Answer]]:
        """See `Captioner`; a prompt that vLLM does not take (too long, say) is refused and costs no other one."""
        asked = [chat_messages(visit.image, prompt) for visit in visits for prompt in visit.prompts]
        self.usage.add(images_encoded=sum(visit.image is not None for visit in visits for _ in visit.prompts))
        try:
            answers = iter(self._chat(asked))
        except self._refusals:
            answers = iter([self._chat_one(messages) for messages in asked])
        return [[next(answers) for _ in visit.prompts] for visit in visits]

    def _chat_one(self, messages: list[dict[str, Any]]) -> Answer:
        try:
            return self._chat([messages])[0]
        except self._refusals as error:
            return Refusal(type(error).__name__, str(error)[:300])

    def _chat(self, asked: list[list[dict[str, Any]]]) -> list[Answer]:
        outputs = self._engine.chat(
            asked, self._sampling, use_tqdm=False, chat_template_content_format=self._format
        )  # raises for a prompt it does not take before it runs any
        first = [output.outputs[0] for output in outputs]
        self.usage.add(
            forwards=1,
            prompt_tokens=sum(len(output.prompt_token_ids) for output in outputs),
            completion_tokens=sum(len(one.token_ids) for one in first),
            cut_at_length=sum(one.finish_reason == "length" for one in first),
        )
        return [one.text.strip() for one in first]


def _refusals_of_vllm() -> tuple[type[Exception], ...]:
    """What vLLM raises for a request that is wrong in itself: ValueError, in newer versions a family of its own."""
    import vllm.exceptions

    return (ValueError, getattr(vllm.exceptions, "VLLMClientError", ValueError))
