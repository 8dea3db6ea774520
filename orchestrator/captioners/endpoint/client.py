"""The captioner that asks an endpoint over HTTP: many requests at once, within limits, again where that may help.

Reads the key from where the settings say; writes nothing. Sends with httpx2 and not with OpenAI's own client: that one
retries where limits and accounts cannot see it, takes a 200 with a broken body for an answer, has no time-out for a
reply that trickles, and adds keys and headers from `OPENAI_*` variables to whatever address it is given. A test
compares our requests with those of that client.
"""

import asyncio
import json
import os
import random
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import httpx2

from orchestrator.captioners.endpoint.images import Picture
from orchestrator.captioners.endpoint.limits import Budget, Expected, RateLimit
from orchestrator.captioners.endpoint.loop import LoopThread
from orchestrator.captioners.endpoint.replies import Reply, failure, read_reply
from orchestrator.captioners.openai_endpoint import OpenAIEndpointSettings
from orchestrator.captioners.protocol import Answer, Refusal, Usage, Visit
from orchestrator.errors import ConfigError, OrchestratorError

MAX_BACKOFF_S = 30.0
REJECTIONS_BEFORE_STOP = 10  # so many in a row and not one answer: the request itself is wrong, not these images
FIRST_GUESS_TOKENS = 1000  # prompt with image, before the first answer tells; high-resolution tilings take 1000 to 3000


class OpenAIEndpointCaptioner:
    """See `Captioner`; rates, budget and the pause a rate limit asks for hold over all calls."""

    def __init__(self, settings: OpenAIEndpointSettings) -> None:
        self.usage = Usage()
        self._settings = settings
        self._secret = _read_key(settings)
        self._budget = Budget(settings.max_cost_usd)
        self._requests = RateLimit(settings.requests_per_minute)
        self._tokens = RateLimit(settings.tokens_per_minute)
        self._expected = Expected(FIRST_GUESS_TOKENS + settings.max_new_tokens)
        self._pause_until_s = 0.0
        self._rejections = 0
        self._stop: OrchestratorError | None = None
        self._client = httpx2.AsyncClient(
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self._secret}"} if self._secret else {}),
            timeout=None,  # `asyncio.timeout` holds for the whole attempt; httpx's own only for each single read
            limits=httpx2.Limits(max_connections=settings.concurrency),
            follow_redirects=False,  # images and key go to the address in the settings and to no other
            trust_env=not settings.is_loopback,
        )
        self._loop = LoopThread()
        weakref.finalize(self, self._loop.close, self._client)

    def caption(self, visits: Sequence[Visit]) -> list[list[Answer]]:
        """See `Captioner`.

        Raises:
            OrchestratorError: every request would fail (a wrong key or address, say) and this call got no answer; if
                it got some, they are returned, the rest is refused as transient, and the next call raises.
        """
        self._raise_if_stopped()
        answers = self._loop.run(self._caption(visits))
        if not any(isinstance(answer, str) for row in answers for answer in row):
            self._raise_if_stopped()
        return answers

    def _raise_if_stopped(self) -> None:
        if self._stop is not None:
            raise self._stop

    async def _caption(self, visits: Sequence[Visit]) -> list[list[Answer]]:
        slots = asyncio.Semaphore(self._settings.concurrency)
        pictures = [Picture(visit.image, self._settings) for visit in visits]
        async with asyncio.TaskGroup() as group:
            asked = [
                [group.create_task(self._ask(picture, prompt, slots)) for prompt in visit.prompts]
                for visit, picture in zip(visits, pictures, strict=True)
            ]
        return [[task.result() for task in row] for row in asked]

    async def _ask(self, picture: Picture, prompt: str, slots: asyncio.Semaphore) -> Answer:
        """The answer to one prompt; never raises for what an endpoint does."""
        settings = self._settings
        async with slots:
            messages = [{"role": "user", "content": await picture.content(prompt)}]
            body = json.dumps({"model": settings.model, "messages": messages} | settings.decoding()).encode()
            for attempt in range(settings.max_retries + 1):
                if self._stop is not None:
                    return Refusal("NotAsked", f"the run stopped: {self._stop.wrong}", transient=True)
                if not self._budget.begin():
                    spent = f"{self._budget.spent_usd:.6g} of {settings.max_cost_usd:.6g} USD are spent"
                    return Refusal("BudgetSpent", spent, transient=True)
                if attempt:
                    self.usage.add(retries=1)
                cost_usd = 0.0
                try:
                    reply = await self._attempt(body)
                    cost_usd = self._account(reply, has_image=picture.image is not None)
                except OrchestratorError as error:
                    self._stop = error
                    return Refusal("NotAsked", error.wrong, transient=True)
                finally:
                    self._budget.end(cost_usd)
                if not reply.again or attempt == settings.max_retries or not await self._wait(reply, attempt):
                    return reply.answer
        raise AssertionError("range(max_retries + 1) is never empty, and its last attempt returns")

    async def _attempt(self, body: bytes) -> Reply:
        """One request within the limits, and what its reply means."""
        reserved = self._expected.tokens
        now_s = time.monotonic()
        wait_s = max(self._requests.reserve(1, now_s), self._tokens.reserve(reserved, now_s))
        await asyncio.sleep(wait_s)
        while (pause_s := self._pause_until_s - time.monotonic()) > 0:
            await asyncio.sleep(pause_s)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                url = f"{self._settings.base_url.rstrip('/')}/chat/completions"
                response = await self._client.post(url, content=body)
        except TimeoutError:
            return failure("Timeout", f"no whole reply within {self._settings.timeout_s:g} s")
        except httpx2.RequestError as error:
            return failure(type(error).__name__, str(error) or "the connection broke")
        content = response.content
        if self._secret:
            content = content.replace(self._secret.encode(), b"***")  # some servers quote the key they refuse
        reply = read_reply(response.status_code, response.headers, content, time.time())
        self._tokens.correct(reserved, reply.prompt_tokens + reply.completion_tokens if reply.has_usage else reserved)
        return reply

    def _account(self, reply: Reply, *, has_image: bool) -> float:
        """Count what a reply used; its price in USD.

        Raises:
            OrchestratorError: the endpoint does not say what it charges although there is a budget, or it has rejected
                everything so far.
        """
        settings = self._settings
        if reply.was_rejected:
            self._rejections += 1
            if self._rejections >= REJECTIONS_BEFORE_STOP and not self.usage.counts["forwards"]:
                assert isinstance(reply.answer, Refusal)
                raise OrchestratorError(
                    f"the endpoint rejected each of the first {self._rejections} requests: {reply.answer.message}",
                    expected="requests that the model takes",
                    remedy="compare temperature, token_limit_field, extra_body and image_detail with what it allows",
                )
        if not reply.is_answer:
            return 0.0
        if settings.max_cost_usd is not None and not reply.has_usage:
            raise OrchestratorError(
                "the endpoint does not report the tokens it charges, so max_cost_usd cannot be kept",
                expected="usage in each reply",
                remedy="remove max_cost_usd, and bound the cost at the endpoint",
            )
        if reply.has_usage:
            self._expected.add(reply.prompt_tokens + reply.completion_tokens)
        cost_usd = (
            reply.prompt_tokens * settings.usd_per_million_prompt_tokens
            + reply.completion_tokens * settings.usd_per_million_completion_tokens
        ) / 1e6
        self.usage.add(
            forwards=1,
            images_encoded=int(has_image),
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            cost_usd=cost_usd,
            cut_at_length=int(reply.cut_at_length),
        )
        return cost_usd

    async def _wait(self, reply: Reply, attempt: int) -> bool:
        """Sleep before the next attempt; False if the server asked for more patience than the settings have."""
        backoff_s = min(MAX_BACKOFF_S, self._settings.backoff_s * 2.0 ** min(attempt, 20))
        if reply.wait_s is None:
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            return True
        if reply.wait_s > self._settings.max_retry_after_s:
            return False
        if reply.is_rate_limit:
            self._pause_until_s = max(self._pause_until_s, time.monotonic() + reply.wait_s)
        await asyncio.sleep(reply.wait_s + random.uniform(0.0, min(backoff_s, 1.0)))  # not all at the same moment
        return True


def _read_key(settings: OpenAIEndpointSettings) -> str | None:
    if settings.api_key_env:
        where, key = f"the environment variable {settings.api_key_env}", os.environ.get(settings.api_key_env, "")
    elif settings.api_key_file:
        where, path = settings.api_key_file, Path(settings.api_key_file).expanduser()
        key = path.read_text(encoding="utf-8") if path.is_file() else ""
    else:
        return None
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"{where} holds no key that could be sent",
            expected="one word of printable ASCII characters, on each node that captions",
            remedy="set it, or name another one with api_key_env or api_key_file",
        )
    return key
