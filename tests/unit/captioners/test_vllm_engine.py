"""The vLLM captioner's settings: identity, engine arguments, and what happens where vLLM is missing."""

from importlib.metadata import requires
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from orchestrator.captioners.vllm_engine import VllmCaptionerSettings, chat_messages
from orchestrator.errors import ConfigError

GIVEN: dict[str, Any] = {"model": "org/vlm-7b", "revision": "0123456789" * 4}


@pytest.mark.parametrize(
    "change",
    [{"model": "org/vlm-13b"}, {"revision": "4567" * 10}, {"vllm_version": "0.30.0"}, {"dtype": "float16"},
     {"quantization": "fp8"}, {"max_model_len": 4096}, {"max_new_tokens": 65}, {"temperature": 0.5}, {"seed": 1},
     {"chat_template_content_format": "string"}, {"mm_processor_kwargs": {"max_pixels": 1000}},
     {"engine_kwargs": {"enforce_eager": True}}, {"model": "embedded:tiny_vlm"}],
)  # fmt: skip
def test_what_may_change_a_caption_changes_the_identity(change: dict[str, Any]) -> None:
    assert VllmCaptionerSettings(**(GIVEN | change)).identity() != VllmCaptionerSettings(**GIVEN).identity()


@pytest.mark.parametrize(
    "change",
    [{"tensor_parallel_size": 4}, {"pipeline_parallel_size": 2}, {"gpu_memory_utilization": 0.5}, {"max_num_seqs": 8}],
)
def test_how_an_engine_is_spread_over_gpus_is_not_in_the_identity(change: dict[str, Any]) -> None:
    assert VllmCaptionerSettings(**(GIVEN | change)).identity() == VllmCaptionerSettings(**GIVEN).identity()


def test_a_hub_id_needs_a_revision() -> None:
    with pytest.raises(ConfigError, match="a hub id without a revision"):
        VllmCaptionerSettings(model="org/vlm-7b").identity()


def test_a_revision_goes_to_the_engine_for_a_hub_id_and_not_for_a_directory() -> None:
    assert VllmCaptionerSettings(**GIVEN).engine()["revision"] == GIVEN["revision"]
    assert "revision" not in VllmCaptionerSettings(model="embedded:tiny_vlm", revision="x").engine()


def test_engine_arguments_are_those_given_and_one_image_a_prompt() -> None:
    settings = VllmCaptionerSettings(
        **GIVEN, tensor_parallel_size=2, pipeline_parallel_size=3, max_num_seqs=9, engine_kwargs={"enforce_eager": True}
    )
    engine = settings.engine()
    assert engine["limit_mm_per_prompt"] == {"image": 1}
    assert (engine["tensor_parallel_size"], engine["pipeline_parallel_size"], settings.num_gpus) == (2, 3, 6)
    assert (engine["max_num_seqs"], engine["enforce_eager"], engine["trust_remote_code"]) == (9, True, False)
    assert "max_model_len" not in engine


@pytest.mark.parametrize("name", ["trust_remote_code", "dtype", "tensor_parallel_size", "model"])
def test_an_engine_argument_that_has_a_setting_is_refused_among_the_others(name: str) -> None:
    with pytest.raises(ValidationError, match=f"engine_kwargs: {name} have settings of their own"):
        VllmCaptionerSettings(**GIVEN, engine_kwargs={name: True})


def test_without_the_wanted_vllm_the_captioner_is_not_built_and_the_remedy_is_told() -> None:
    with pytest.raises(ConfigError, match="captioner kind vllm") as caught:
        VllmCaptionerSettings(model="embedded:tiny_vlm", vllm_version="0.0.1").build()
    assert "vLLM 0.0.1" in caught.value.expected
    assert "pip install 'vlm-distill-orchestrator[vllm]'" in caught.value.remedy


def test_messages_hold_the_image_itself_before_the_prompt() -> None:
    picture = Image.new("RGB", (3, 2))
    (message,) = chat_messages(picture, "what?", "a:0:9")
    image, text = message["content"]
    assert image["image_pil"] is picture
    assert (image["type"], image["uuid"], text) == ("image_pil", "a:0:9", {"type": "text", "text": "what?"})
    assert chat_messages(None, "what?")[0]["content"] == [{"type": "text", "text": "what?"}]


def test_the_version_expected_is_the_one_that_the_installed_ray_brings() -> None:
    pinned = [line for line in requires("ray") or [] if line.startswith("vllm") and 'extra == "llm"' in line]
    assert [line.split("==")[1].split(";")[0].strip() for line in pinned] == [
        VllmCaptionerSettings(**GIVEN).vllm_version
    ]
