"""A chat endpoint on this machine that answers by image and prompt, keeps accounts, and misbehaves when told to.

A real HTTP server in threads. An answer names the prompt and a digest of the pixels, so that mixed-up rows show.
"""

import base64
import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np
from PIL import Image

from orchestrator.captioners.protocol import Visit

Behaviour = Callable[["_Handler"], None]


@dataclass
class Asked:
    """One request as the server saw it."""

    prompt: str
    image_bytes: bytes | None
    body: dict[str, Any]
    headers: dict[str, str]
    arrived_s: float


def digest(image: Image.Image | None) -> str:
    """A short name of the pixels; `blind` without an image."""
    return "blind" if image is None else hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()[:12]


def answer_to(prompt: str, image: Image.Image | None) -> str:
    """What the server answers when it behaves."""
    return f"asked {prompt!r} of {digest(image)}"


def picture(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """An image of noise: no two are equal, and every pixel counts."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def visits(number: int) -> list[Visit]:
    """So many images, each with a prompt of its own."""
    return [Visit(picture(i), (f"prompt {i}",)) for i in range(number)]


def expected(asked: list[Visit]) -> list[list[str]]:
    """What a well-behaved server answers."""
    return [[answer_to(prompt, visit.image) for prompt in visit.prompts] for visit in asked]


@dataclass
class EndpointServer:
    """Start it with `with`. `misbehave[prompt]` are the behaviours of the first requests with that prompt.

    `everyone` is tried before them, for any prompt, and `rule` before that. After all are used up it behaves.
    """

    rule: Callable[[Asked], Behaviour | None] = lambda asked: None

    misbehave: dict[str, list[Behaviour]] = field(default_factory=dict)
    everyone: list[Behaviour] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    billed: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    pause_s: float = 0.0
    reports_usage: bool = True
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    at_once: int = 0

    def __enter__(self) -> Self:
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """For the settings."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def count(self, prompt: str) -> int:
        """Requests with this prompt."""
        return sum(asked.prompt == prompt for asked in self.asked)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: EndpointServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    asked: Asked

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""

    def do_POST(self) -> None:
        """Record, count what is in flight, and behave or not."""
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt, image_bytes = _read_content(body["messages"][-1]["content"])
        self.asked = Asked(prompt, image_bytes, body, {k.lower(): v for k, v in self.headers.items()}, time.monotonic())
        with owner.lock:
            owner.asked.append(self.asked)
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
            scripted = owner.everyone or owner.misbehave.get(prompt, [])
            behaviour = owner.rule(self.asked) or (scripted.pop(0) if scripted else behave)
        try:
            owner.closing.wait(owner.pause_s)
            behaviour(self)
        finally:
            with owner.lock:
                owner.at_once -= 1

    def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """One whole reply."""
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _read_content(content: Any) -> tuple[str, bytes | None]:
    if isinstance(content, str):
        return content, None
    (image, text) = content
    head, data = image["image_url"]["url"].split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return text["text"], base64.b64decode(data, validate=True)


def completion(asked: Asked, owner: EndpointServer, **choice: Any) -> dict[str, Any]:
    """A well-formed reply, with its tokens on the bill."""
    picture = Image.open(io.BytesIO(asked.image_bytes)) if asked.image_bytes else None
    text = answer_to(asked.prompt, picture)
    tokens = {"prompt_tokens": 10 + len(asked.prompt.split()), "completion_tokens": len(text.split())}
    with owner.lock:
        owner.billed.update(tokens)
        owner.billed["answers"] += 1
    usage = {"usage": tokens | {"total_tokens": sum(tokens.values())}} if owner.reports_usage else {}
    message = {"role": "assistant", "content": f" {text}\n"} | choice.pop("message", {})
    return {
        "id": "1", "object": "chat.completion", "created": 0, "model": asked.body["model"], **usage,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message} | choice],
    }  # fmt: skip


def behave(handler: _Handler) -> None:
    """Answer."""
    handler.reply(200, json.dumps(completion(handler.asked, handler.server.owner)).encode())


def answering(**choice: Any) -> Behaviour:
    """Answer with other fields of the choice: finish_reason, message."""
    return lambda handler: handler.reply(
        200, json.dumps(completion(handler.asked, handler.server.owner, **choice)).encode()
    )


def body_of(body: bytes) -> Behaviour:
    """200 with exactly these bytes."""
    return lambda handler: handler.reply(200, body)


def status(code: int, message: str = "no", *, error_code: str | None = None, **headers: str) -> Behaviour:
    """An error as OpenAI words it; `retry_after="1"` becomes the header Retry-After."""
    body = json.dumps({"error": {"message": message, "code": error_code}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.reply(code, body, named)


def echo_key(code: int) -> Behaviour:
    """An error that quotes the key it was sent, as some servers do."""
    return lambda handler: status(code, f"Incorrect API key provided: {handler.asked.headers['authorization']}")(
        handler
    )


def hang(handler: _Handler) -> None:
    """No reply until the server closes."""
    handler.server.owner.closing.wait(60)


def trickle(handler: _Handler) -> None:
    """A reply whose bytes come one by one and never end: no single read is ever late."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while not handler.server.owner.closing.wait(0.02):
        handler.wfile.write(b" ")


def hang_up(handler: _Handler) -> None:
    """Half of a body, then the connection is closed."""
    body = json.dumps(completion(handler.asked, EndpointServer())).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.close_connection = True
