"""What an endpoint's reply means: an answer, a refusal, another attempt, or the end of the run.

Reads status, headers and body of one reply. Knows nothing of connections. Source: OpenAI API reference (chat
completions, error codes); RFC 9110, section 10.2.3 (Retry-After).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.captioners.protocol import Answer, Refusal
from orchestrator.errors import OrchestratorError

MAX_QUOTED = 300  # characters of a server's own words in our messages
_REMEDIES = {
    401: "check the key that api_key_env or api_key_file names, on every node that captions",
    402: "the account cannot pay: top it up, or use another key",
    403: "the key may not use this model: check its permissions",
    404: "check base_url (it mostly ends in /v1) and model",
}
_FILTERS = frozenset(
    {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation_blocked"}
)
_AGAIN = frozenset({408, 409, 425, 429})


@dataclass(frozen=True)
class Reply:
    """What came of one attempt.

    Attributes:
        answer: the text, or what to say when there is no further attempt.
        again: another attempt may succeed.
        wait_s: how long the server asked to wait before it; None if it did not.
        is_rate_limit: every request should wait that long.
        is_answer: the model was run, and the tokens were charged.
        was_rejected: the server understood the request and will not have it.
    """

    answer: Answer
    again: bool = False
    wait_s: float | None = None
    is_rate_limit: bool = False
    is_answer: bool = False
    was_rejected: bool = False
    has_usage: bool = False
    cut_at_length: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _TokenUsage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _TokenUsage | None = None


def failure(error_class: str, message: str) -> Reply:
    """An attempt that got no reply: time-outs and broken connections."""
    return Reply(Refusal(error_class, message, transient=True), again=True)


def read_reply(status: int, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Reply:
    """Sort one HTTP reply.

    Raises:
        OrchestratorError: 3xx, 401, 402, 403, 404 or a spent quota, which every other request would meet too.
    """
    if 200 <= status < 300:
        return _read_completion(body)
    words, codes = _words(body)
    told = f"HTTP {status}: {words}"
    if codes & _FILTERS:
        return Reply(Refusal("ContentFilter", told))
    if status in _REMEDIES or 300 <= status < 400 or "insufficient_quota" in codes:
        raise OrchestratorError(
            f"the endpoint refuses to work for us: {told}",
            expected="an endpoint that answers",
            remedy=_REMEDIES.get(
                status, "give base_url as the server's final address" if status < 400 else "top it up"
            ),
        )
    if status in _AGAIN or status >= 500:
        name = "RateLimited" if status == 429 else "ServerError" if status >= 500 else f"Http{status}"
        wait_s = retry_after_s(headers, now_unix_s)
        return Reply(Refusal(name, told, transient=True), again=True, wait_s=wait_s, is_rate_limit=status == 429)
    if status == 413:
        return Reply(Refusal("TooLarge", told))
    return Reply(Refusal("Rejected", told), was_rejected=True)


def _read_completion(body: bytes) -> Reply:
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "body"
        return failure("MalformedReply", f"HTTP 200, but {where}: {problem['msg']}; {_words(body)[0]}")
    if not completion.choices:
        return failure("MalformedReply", "HTTP 200, but there are no choices")
    choice, usage = completion.choices[0], completion.usage or _TokenUsage()
    text = (choice.message.content or "").strip()
    answer: Answer = text
    if choice.finish_reason == "content_filter":
        answer = Refusal("ContentFilter", "the endpoint's filter withheld the answer")
    elif not text and choice.message.refusal:
        answer = Refusal("ModelRefusal", choice.message.refusal[:MAX_QUOTED])
    return Reply(
        answer,
        is_answer=True,
        has_usage=completion.usage is not None,
        cut_at_length=choice.finish_reason == "length",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens or 0,
    )


class _Fault(BaseModel):
    """An error body: OpenAI's, Azure's with an inner error, or `{"message": ...}` as vLLM once had it."""

    error: dict[str, Any] | str | None = None
    message: str | None = None


def _words(body: bytes) -> tuple[str, frozenset[str]]:
    """The server's own words on one line, and the codes of its error in lower case."""
    text, codes = body[: 4 * MAX_QUOTED].decode("utf-8", "replace"), set()
    try:
        fault = _Fault.model_validate_json(body)
    except ValidationError:
        pass
    else:
        error = fault.error if isinstance(fault.error, dict) else {"message": fault.error or fault.message}
        inner = error.get("innererror")
        named = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
        codes = {str(code).lower() for code in named if code is not None}
        text = str(error.get("message") or text)
    return " ".join(text.split())[:MAX_QUOTED] or "(no words)", frozenset(codes)


def retry_after_s(headers: Mapping[str, str], now_unix_s: float) -> float | None:
    """Seconds to wait by `Retry-After`: a number of seconds, or a date; None without one that can be read."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_unix_s
    return None if math.isnan(seconds) else max(0.0, seconds)
