"""Captions by any endpoint that speaks OpenAI's chat completions with images: a hosted model, vLLM, llama.cpp, ...

Holds settings. Names where the key is, never the key. Knows nothing of HTTP: `endpoint/` does.
"""

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, JsonValue, model_validator

from orchestrator.frozen import Frozen

if TYPE_CHECKING:
    from orchestrator.captioners.endpoint.client import OpenAIEndpointCaptioner

_OWN_FIELDS = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "seed", "stream", "n"}
)  # of a request: never from `extra_body`


class OpenAIEndpointSettings(Frozen):
    """One model behind one endpoint, asked with `POST {base_url}/chat/completions` (OpenAI API reference, 2024-).

    Nobody can check what an endpoint serves, so its weights are what `declared_version` says; change it when the
    endpoint changes. Limits and budget hold for one captioner, so for each actor of a pool: see `shared_by`.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # a key that was put in the wrong place stays unprinted

    kind: Literal["openai"] = "openai"
    base_url: str = Field(min_length=1, description="such as https://host/v1; not part of the identity")
    model: str = Field(min_length=1, description="the model's name at the endpoint")
    declared_version: str = Field(min_length=1, description="what pins the model: a dated name, a revision, a digest")

    max_new_tokens: int = Field(default=64, ge=1, le=16384)
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="what the endpoint calls the longest answer"
    )
    temperature: float | None = Field(default=0.0, ge=0, le=2, description="null sends none: some models refuse it")
    seed: int | None = Field(default=None, description="null sends none")
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="more fields of the request, such as top_p or chat_template_kwargs"
    )
    image_format: Literal["png", "jpeg"] = Field(default="png", description="how images are sent")
    jpeg_quality: int = Field(default=90, ge=1, le=95, description="of images that are sent as JPEG")
    max_side: int | None = Field(default=None, ge=16, description="larger images are made smaller, pixels")
    image_detail: Literal["low", "high", "auto"] | None = Field(
        default=None, description="resolution that the endpoint is asked to look at; null sends none"
    )

    api_key_env: str | None = Field(default=None, description="name of the environment variable that holds the key")
    api_key_file: str | None = Field(default=None, description="path of a file that holds the key and nothing else")
    allow_plain_http: bool = Field(default=False, description="send the key unencrypted over a network")
    concurrency: int = Field(default=8, ge=1, le=1024, description="requests in flight")
    requests_per_minute: float | None = Field(default=None, gt=0, description="at most; null: no limit")
    tokens_per_minute: float | None = Field(default=None, gt=0, description="prompt and completion tokens together")
    timeout_s: float = Field(default=120.0, gt=0, description="for one attempt, from connecting to the last byte")
    max_retries: int = Field(default=6, ge=0, le=100, description="further attempts after a failure that may pass")
    backoff_s: float = Field(default=0.5, gt=0, description="before the first retry; doubles up to 30 s, with jitter")
    max_retry_after_s: float = Field(default=120.0, ge=0, description="a Retry-After beyond this ends the attempts")
    usd_per_million_prompt_tokens: float = Field(
        default=0.0, ge=0, description="the endpoint's price, for the budget and the plan"
    )
    usd_per_million_completion_tokens: float = Field(
        default=0.0, ge=0, description="the endpoint's price, for the budget and the plan"
    )
    max_cost_usd: float | None = Field(default=None, gt=0, description="further prompts are refused for this run")

    @model_validator(mode="after")
    def _address_and_key_are_safe(self) -> Self:
        url = urlsplit(self.base_url)
        problems = []
        if url.scheme not in ("http", "https") or not url.hostname:
            problems.append("base_url: expected http(s)://host[:port]/path")
        if url.username or url.password or url.query or url.fragment:
            problems.append("base_url: no user, password, query or fragment may stand in it; use api_key_env")
        if self.api_key_env and self.api_key_file:
            problems.append("api_key_env and api_key_file: give one of them")
        if self.api_key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            problems.append("api_key_env: expected the name of an environment variable, not the key itself")
        if url.scheme == "http" and self.has_key and not self.is_loopback and not self.allow_plain_http:
            problems.append("base_url: a key would cross the network unencrypted; use https, or allow_plain_http: true")
        if taken := sorted(_OWN_FIELDS & set(self.extra_body)):
            problems.append(f"extra_body: {', '.join(taken)} have settings of their own, or cannot be changed")
        if self.max_cost_usd is not None and not (
            self.usd_per_million_prompt_tokens or self.usd_per_million_completion_tokens
        ):
            problems.append("max_cost_usd: a budget needs usd_per_million_prompt_tokens or ..._completion_tokens")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def has_key(self) -> bool:
        """Whether requests carry a key."""
        return bool(self.api_key_env or self.api_key_file)

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine: no proxy is used, and plain http is safe."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def decoding(self) -> dict[str, Any]:
        """The fields of a request that change its answer, apart from model and messages."""
        chosen = {"temperature": self.temperature, "seed": self.seed}
        sent = {name: value for name, value in chosen.items() if value is not None}
        return {self.token_limit_field: self.max_new_tokens, **sent, **self.extra_body}

    def identity(self) -> dict[str, Any]:
        """Everything that determines the captions: declared model, decoding, and how images are encoded."""
        image: dict[str, Any] = {"format": self.image_format, "max_side": self.max_side, "detail": self.image_detail}
        if self.image_format == "jpeg":
            image["quality"] = self.jpeg_quality
        return {
            "kind": self.kind,
            "model": self.model,
            "declared_version": self.declared_version,
            "decoding": self.decoding(),
            "image": image,
        }

    def label(self) -> str:
        """A readable name for folders."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.model.rsplit("/", 1)[-1])

    def shared_by(self, num_captioners: int) -> Self:
        """The settings of one of `num_captioners` that run side by side: rates and budget divided equally among them.

        Dividing needs no coordination and never exceeds a limit; what an idle captioner leaves unused is lost.
        """
        limits = ("requests_per_minute", "tokens_per_minute", "max_cost_usd")
        given = {name: value / num_captioners for name in limits if (value := getattr(self, name)) is not None}
        return self.model_copy(update=given)

    def build(self) -> "OpenAIEndpointCaptioner":
        """The captioner; reads the key.

        Raises:
            ConfigError: the environment variable or file of the key is missing or holds no key.
        """
        from orchestrator.captioners.endpoint.client import OpenAIEndpointCaptioner

        return OpenAIEndpointCaptioner(self)
