"""The caption stage with a real endpoint on this machine: what is asked again and what is not, and what it costs."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.artifacts.storage import read_table
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import read_yaml, validate
from orchestrator.errors import OrchestratorError
from orchestrator.stages import caption, line
from orchestrator.stages.context import Context
from tests.endpoint_server import Asked, EndpointServer, answer_to, digest, status
from tests.smoke_line import SMOKE, quiet_context


def context_for(server: EndpointServer, root: Path, **changes: Any) -> Context:
    """The smoke experiment, captioned by the server."""
    captioner = {
        "kind": "openai", "base_url": server.base_url, "model": "org/vlm", "declared_version": "1", "backoff_s": 0.01,
        "max_retries": 1, "usd_per_million_prompt_tokens": 2, "usd_per_million_completion_tokens": 8,
    } | changes  # fmt: skip
    sheet = read_yaml(SMOKE) | {"captioner": captioner}
    return quiet_context(validate(Experiment, sheet, "test"), root, max_error_fraction=1.0)


def picture_of(asked: Asked) -> Image.Image:
    """The image of a request."""
    assert asked.image_bytes is not None
    return Image.open(io.BytesIO(asked.image_bytes))


def test_making_captions_again_asks_only_for_what_passing_faults_left_out_and_every_cent_is_in_the_ledger(
    tmp_path: Path,
) -> None:
    with EndpointServer() as server:
        context = context_for(server, tmp_path)
        images: list[str] = []

        def overloaded_and_picky(asked: Asked) -> Any:
            name = digest(picture_of(asked))
            images.extend({name} - set(images))
            if "one sentence" not in asked.prompt or name not in images[:2]:
                return None
            return status(503) if name == images[0] else status(400, "not this one")

        server.rule = overloaded_and_picky
        plans = line.run(context, "caption")
        store = caption.caption_store(context)
        failed = {row["error_class"]: row for row in store.refused().to_pylist()}
        assert set(failed) == {"ServerError", "Rejected"}
        first = len(server.asked)

        server.rule = lambda asked: None
        line.run(replace(context_for(server, tmp_path), rebuild=frozenset({"caption"})), "caption")
        again = server.asked[first:]
        assert {digest(picture_of(asked)) for asked in again} == {images[0]}
        assert set(store.refused()["error_class"].to_pylist()) == {"Rejected"}

        captions = read_table(plans["caption"].folder / caption.CAPTIONS)
        told = {(row["prompt_text"], row["caption"]) for row in captions.to_pylist()}
        answered = {(asked.prompt, answer_to(asked.prompt, picture_of(asked))) for asked in server.asked}
        assert told <= answered
        totals = store.totals()
        assert totals["forwards"] == server.billed["answers"] == captions.num_rows
        assert totals["prompt_tokens"] == server.billed["prompt_tokens"]
        assert totals["completion_tokens"] == server.billed["completion_tokens"]
        cost = (2 * server.billed["prompt_tokens"] + 8 * server.billed["completion_tokens"]) / 1e6
        assert totals["cost_usd"] == pytest.approx(cost)


def test_a_withdrawn_key_ends_the_command_and_the_next_one_pays_only_for_the_rest(tmp_path: Path) -> None:
    with EndpointServer() as server:
        context = context_for(server, tmp_path, concurrency=1)
        server.rule = lambda asked: status(401, "expired") if server.billed["answers"] >= 40 else None
        with pytest.raises(OrchestratorError, match="expired"):
            line.run(context, "caption")
        assert caption.caption_store(context).totals()["forwards"] == server.billed["answers"] == 40
        server.rule = lambda asked: None
        plans = line.run(context, "caption")
        captions = read_table(plans["caption"].folder / caption.CAPTIONS)
        assert server.billed["answers"] == captions.num_rows > 40


def test_the_actors_of_a_pool_share_the_budget(tmp_path: Path) -> None:
    with EndpointServer() as server:
        context = context_for(server, tmp_path, concurrency=1, max_cost_usd=4e-3)
        pool = context.execution.captioning.model_copy(update={"num_actors": 2, "max_actors": 4})
        context = replace(context, execution=context.execution.model_copy(update={"captioning": pool}))
        line.run(context, "caption")
        cost = (2 * server.billed["prompt_tokens"] + 8 * server.billed["completion_tokens"]) / 1e6
        one = cost / server.billed["answers"]
        assert 1e-3 - 2 * one < cost <= 1e-3  # the engine in process has one of the four actors that there might be
        refused = caption.caption_store(context).refused()
        assert set(refused["error_class"].to_pylist()) == {"BudgetSpent"}
        assert all(refused["transient"].to_pylist())
