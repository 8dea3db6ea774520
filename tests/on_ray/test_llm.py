"""vLLM on Ray: the plan is built by Ray's own builder; where vLLM is missing, stand-ins take its two stages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
from PIL import Image

from orchestrator.captioners.vllm_engine import VllmCaptionerSettings
from orchestrator.config.execution import ActorPoolSettings, ClusterSettings
from orchestrator.errors import ConfigError
from orchestrator.on_ray.cluster import Cluster
from orchestrator.teachers.weights import resolve_model
from tests.endpoint_server import digest

pytest.importorskip("ray.data.llm", reason="this Ray has no LLM processor")

from orchestrator.on_ray.llm import (
    ANSWER_SCHEMA,
    build_captioning_processor,
    map_visits,
    one_row_per_prompt,
    plan_visits,
)
from tests.on_ray.stand_in_engine import CommitToFolder, replace_engine

pytestmark = [
    pytest.mark.ray,
    # Ray waits a second for each process that it kills; on a loaded machine one may take longer to be reaped.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]
SETTINGS = VllmCaptionerSettings(model="embedded:tiny_vlm", dtype="float32", max_model_len=512, max_new_tokens=9)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One cluster for all tests; the GPUs are logical."""
    opened = Cluster(ClusterSettings(num_cpus=2, num_gpus=2))
    ray.data.DataContext.get_current().execution_no_progress_timeout_s = (
        90  # a plan that cannot be placed must not hang
    )
    yield
    opened.close()


def test_rays_builder_makes_the_plan_with_the_engine_as_one_stage() -> None:
    processor = build_captioning_processor(SETTINGS, ActorPoolSettings(num_actors=2, batch_size=8))
    assert processor.list_stage_names() == ["PrepareMultimodalStage", "ChatTemplateStage", "vLLMEngineStage"]
    engine = processor.get_stage_by_name("vLLMEngineStage")
    given = engine.fn_constructor_kwargs
    assert given["model"] == resolve_model("embedded:tiny_vlm")
    assert given["batch_size"] == 8
    assert given["should_continue_on_error"]
    kept = {"dtype": "float32", "max_model_len": 512, "seed": 0, "limit_mm_per_prompt": {"image": 1}}
    assert {name: given["engine_kwargs"][name] for name in kept} == kept
    assert engine.map_batches_kwargs["num_gpus"] == 1
    pool = engine.map_batches_kwargs["compute"]
    assert (pool.min_size, pool.max_size) == (2, 2)
    template = processor.get_stage_by_name("ChatTemplateStage").fn_constructor_kwargs["chat_template"]
    assert template == (Path(resolve_model("embedded:tiny_vlm")) / "chat_template.jinja").read_text()


def test_an_engine_over_two_gpus_gets_them_from_a_placement_group() -> None:
    settings = SETTINGS.model_copy(update={"tensor_parallel_size": 2})
    stage = build_captioning_processor(settings, ActorPoolSettings()).get_stage_by_name("vLLMEngineStage")
    assert stage.fn_constructor_kwargs["engine_kwargs"]["distributed_executor_backend"] == "ray"
    assert stage.map_batches_kwargs["num_gpus"] == 0
    assert stage.map_batches_kwargs["ray_remote_args_fn"].args[0] == settings.num_gpus == 2


def test_a_plan_does_not_start_where_vllm_is_missing_or_another_version() -> None:
    wanted = SETTINGS.model_copy(update={"vllm_version": "0.0.1"})
    with pytest.raises(ConfigError, match="captioner kind vllm") as caught:
        map_visits(pa.table({}), wanted, ActorPoolSettings(), lambda answers: answers, lambda receipt: None)
    assert "vLLM 0.0.1" in caught.value.expected
    assert "[vllm]" in caught.value.remedy


def test_every_prompt_is_committed_under_its_key_and_bad_images_and_prompts_cost_only_their_own_rows(
    tmp_path: Path,
) -> None:
    pictures = [Image.radial_gradient("L").convert("RGB").resize((20 + i, 30)) for i in range(6)]
    visits = []
    for i, picture in enumerate(pictures):
        path = tmp_path / f"{i}.png"
        picture.save(path)
        size = path.stat().st_size
        if i == 3:
            path.write_bytes(path.read_bytes()[: size // 2] + bytes(size - size // 2))
        asked = [f"Say {i}{letter}." for letter in "abc"[: 1 + i % 3]]
        visits.append({"path": str(path), "offset": 0, "size": size, "prompts": asked})
    visits[4]["prompts"][0] = "UNANSWERABLE"
    visits[5]["path"] = str(tmp_path / "gone.png")
    visits.append({"path": None, "offset": None, "size": None, "prompts": ["Without an image."]})
    table = pa.Table.from_pylist([v | {"keys": [f"key of {p}" for p in v["prompts"]]} for v in visits])

    pool = ActorPoolSettings(batch_size=4)
    processor = build_captioning_processor(SETTINGS, pool)
    replace_engine(processor)
    committed = tmp_path / "committed"
    committed.mkdir()
    receipts = plan_visits(table, processor, pool, CommitToFolder(committed)).take_all()

    rows = one_row_per_prompt(table).to_pylist()
    assert sum(receipt["done"] for receipt in receipts) == len(rows) == 13
    found: dict[str, Any] = {}
    for part in committed.iterdir():
        answers = pq.read_table(part)
        assert answers.schema.equals(ANSWER_SCHEMA)
        found |= {row["key"]: row for row in answers.to_pylist()}
    assert set(found) == {row["key"] for row in rows}
    for row in rows:
        number = None if row["path"] is None else Path(row["path"]).stem
        answer = found[row["key"]]
        if number == "3" or number == "gone" or row["prompt"] == "UNANSWERABLE":
            cause = "too long" if row["prompt"] == "UNANSWERABLE" else "decoded" if number == "3" else "gone.png"
            assert cause in answer["error"]
            assert answer["text"] is None
        else:
            assert answer["error"] == ""
            assert (answer["prompt_tokens"], answer["completion_tokens"]) == (7, 9)
            templated, pixels = answer["text"].split("|")
            assert row["prompt"] in templated
            assert templated != row["prompt"]
            assert pixels == digest(None if number is None else pictures[int(number)])
