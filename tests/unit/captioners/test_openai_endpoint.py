"""The endpoint captioner against a real server on this machine: what it sends and what it returns."""

import asyncio
import gc
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.captioners.protocol import Visit
from tests.endpoint_server import (
    expected,
    picture,
    visits,
)

SECRET = "sk-live-0123456789-very-secret"  # pragma: allowlist secret


def test_every_prompt_of_every_image_and_of_no_image_gets_its_own_answer_in_order(server: Any, ask: Any) -> None:
    asked = [Visit(picture(i), tuple(f"p{i} {j}" for j in range(1 + i % 3))) for i in range(9)]
    asked += [Visit(None, ("without one", "and again"))]
    server.pause_s = 0.01
    assert ask(concurrency=5).caption(asked) == expected(asked)


def test_png_carries_every_pixel_and_jpeg_is_close(server: Any, ask: Any) -> None:
    smooth = Image.linear_gradient("L").convert("RGB")
    ask().caption([Visit(smooth, ("png",))])
    ask(image_format="jpeg", jpeg_quality=95).caption([Visit(smooth, ("jpeg",))])
    png, jpeg = (Image.open(io.BytesIO(asked.image_bytes)) for asked in server.asked)
    assert (png.format, jpeg.format) == ("PNG", "JPEG")
    assert np.array_equal(np.asarray(png), np.asarray(smooth))
    assert np.abs(np.asarray(jpeg).astype(int) - np.asarray(smooth)).max() <= 4


def test_only_images_larger_than_max_side_are_made_smaller(server: Any, ask: Any) -> None:
    large, small = picture(1, (200, 100)), picture(2, (40, 30))
    ask(max_side=50, concurrency=1).caption([Visit(large, ("large",)), Visit(small, ("small",))])
    sent = {asked.prompt: Image.open(io.BytesIO(asked.image_bytes)) for asked in server.asked}
    assert sent["large"].size == (50, 25)
    assert np.array_equal(np.asarray(sent["small"]), np.asarray(small))
    assert large.size == (200, 100)


def test_the_request_is_the_one_that_openais_own_client_sends(server: Any, ask: Any, monkeypatch: Any) -> None:
    openai = pytest.importorskip("openai", reason="the reference client is a development dependency")
    monkeypatch.setenv("OUR_KEY", SECRET)
    captioner = ask(
        api_key_env="OUR_KEY", seed=7, temperature=0.5, extra_body={"top_p": 0.9}, image_detail="low", max_new_tokens=9
    )
    (answers,) = captioner.caption([Visit(picture(3), ("say",))])
    ours = server.asked[0]
    with openai.OpenAI(api_key=SECRET, base_url=server.base_url, max_retries=0) as client:
        reply = client.chat.completions.create(
            model="org/vlm", messages=ours.body["messages"], max_tokens=9, temperature=0.5, seed=7, top_p=0.9
        )
    theirs = server.asked[1]
    assert ours.body == theirs.body
    for name in ("authorization", "content-type"):
        assert ours.headers[name] == theirs.headers[name]
    assert [reply.choices[0].message.content.strip()] == answers
    image, text = ours.body["messages"][0]["content"]
    assert (image["type"], image["image_url"]["detail"], text) == ("image_url", "low", {"type": "text", "text": "say"})


def test_a_call_inside_a_running_event_loop_works(ask: Any) -> None:
    captioner, asked = ask(), visits(2)

    async def notebook() -> Any:
        return captioner.caption(asked)

    assert asyncio.run(notebook()) == expected(asked)


def test_threads_and_sockets_end_with_the_captioner(server: Any, ask: Any) -> None:
    captioner = ask()
    captioner.caption(visits(2))
    thread = captioner._loop._thread
    assert thread.is_alive()
    del captioner
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
