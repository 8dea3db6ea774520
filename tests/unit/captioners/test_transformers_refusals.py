"""What the transformers back end refuses, with what was expected and what to do; and what its identity holds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from orchestrator.captioners import TransformersCaptionerSettings, Visit
from orchestrator.errors import ConfigError

Folder = Callable[[str], Path]
WHITE = Image.new("RGB", (16, 16), "white")


def refused(**changes: Any) -> ConfigError:
    """The error of building a captioner; it always says all three things."""
    with pytest.raises(ConfigError) as error:
        TransformersCaptionerSettings(**changes).build()
    assert changes["model"] in error.value.wrong
    assert error.value.expected
    assert error.value.remedy
    return error.value


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "llama"])
def test_a_chat_model_without_a_chat_template_is_refused(name: str, model_folder: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder(name), tmp_path / name)
    (folder / "chat_template.jinja").unlink()
    assert "chat template" in refused(model=str(folder)).wrong


def test_a_directory_without_safetensors_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("llava"), tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refused(model=str(folder))
    assert "safetensors" in error.wrong
    assert "save_pretrained" in error.remedy


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    assert "configuration" in refused(model=str(tmp_path)).wrong
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "martian"}))
    assert "martian" in refused(model=str(tmp_path)).wrong


def test_a_model_without_its_processor_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("llava"), tmp_path / "blind")
    (folder / "processor_config.json").unlink()
    assert "processor_config.json" in refused(model=str(folder)).expected


def test_an_architecture_that_writes_no_text_is_refused(model_folder: Folder) -> None:
    error = refused(model=str(model_folder("vit")))
    assert "a vit writes no text" in error.wrong
    assert "AutoModelForImageTextToText" in error.expected


def test_weights_that_lack_the_decoder_are_refused_instead_of_captioning_at_random(
    model_folder: Folder, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder("blip_retrieval"), tmp_path / "retrieval")
    shutil.copy(model_folder("blip") / "processor_config.json", folder)
    error = refused(model=str(folder), prompt_format="text_prefix", attention="eager")
    assert "text_decoder" in error.wrong
    assert "random" in error.expected


def test_a_prompt_format_that_is_not_the_familys_is_refused_with_the_right_one(model_folder: Folder) -> None:
    for name in ("blip", "blip_2"):
        assert "text_prefix" in refused(model=str(model_folder(name))).remedy
    for name in ("llava", "llama"):
        assert "chat" in refused(model=str(model_folder(name)), prompt_format="none").remedy


def test_an_attention_that_the_family_does_not_have_is_refused_with_one_that_it_has(model_folder: Folder) -> None:
    assert "eager" in refused(model=str(model_folder("blip")), prompt_format="text_prefix", attention="sdpa").remedy


@pytest.mark.parametrize("name", ["blip", "blip_2"])
def test_a_chat_without_an_image_is_refused_by_a_model_that_only_continues_captions(
    name: str, model_folder: Folder
) -> None:
    captioner = TransformersCaptionerSettings(
        model=str(model_folder(name)), prompt_format="text_prefix", attention="eager"
    ).build()
    with pytest.raises(ConfigError, match="writes nothing without an image"):
        captioner.caption([Visit(None, ("describe a dax",))])


def test_an_image_is_refused_by_a_language_model(model_folder: Folder) -> None:
    captioner = TransformersCaptionerSettings(model=str(model_folder("llama"))).build()
    with pytest.raises(ConfigError, match="reads no images"):
        captioner.caption([Visit(WHITE, ("describe the image",))])


def test_a_prompt_that_holds_the_image_token_is_refused(model_folder: Folder) -> None:
    captioner = TransformersCaptionerSettings(model=str(model_folder("llava"))).build()
    for image in (WHITE, None):
        with pytest.raises(ConfigError, match="<image>"):
            captioner.caption([Visit(image, ("describe the <image> please",))])


def test_a_least_length_above_the_greatest_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_new_tokens"):
        TransformersCaptionerSettings(max_new_tokens=4, min_new_tokens=5)


def test_whatever_can_change_a_text_is_in_the_identity_and_where_it_runs_is_not() -> None:
    settings = TransformersCaptionerSettings()
    changes: list[dict[str, Any]] = [
        {"dtype": "bfloat16"},
        {"attention": "eager"},
        {"prompt_format": "none"},
        {"max_new_tokens": 41},
        {"min_new_tokens": 2},
        {"num_beams": 2},
        {"trust_remote_code": True},
    ]
    identities = [settings.model_copy(update=change).identity() for change in changes]
    assert len({json.dumps(one, sort_keys=True) for one in [settings.identity(), *identities]}) == len(changes) + 1
    assert settings.model_copy(update={"device_map": "auto"}).identity() == settings.identity()


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "tokenizer.json", "processor_config.json", "model.safetensors"]
)
def test_template_tokenizer_processor_and_weights_are_in_the_identity(
    name: str, model_folder: Folder, tmp_path: Path
) -> None:
    changed = shutil.copytree(model_folder("llava"), tmp_path / "changed")
    (changed / name).write_bytes((changed / name).read_bytes() + b"\n")
    one, two = (TransformersCaptionerSettings(model=str(path)) for path in (model_folder("llava"), changed))
    assert one.identity()["weights"] != two.identity()["weights"]


def test_a_model_spread_over_devices_says_the_same(model_folder: Folder) -> None:
    pytest.importorskip("accelerate", reason="device_map needs the package accelerate")
    asked = [Visit(WHITE, ("describe the image", "what is this"))]
    plain = TransformersCaptionerSettings(model=str(model_folder("llava")), max_new_tokens=8)
    assert plain.model_copy(update={"device_map": "auto"}).build().caption(asked) == plain.build().caption(asked)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["llava_next", "qwen2_vl", "blip_2", "llama"])
def test_a_gpu_is_used_when_there_is_one_and_says_the_same_one_by_one(name: str, model_folder: Folder) -> None:
    prompts = ("describe the image", "what is this")
    captioner = TransformersCaptionerSettings(
        model=str(model_folder(name)), prompt_format="text_prefix" if name == "blip_2" else "chat", max_new_tokens=8
    ).build()
    image = None if name == "llama" else WHITE
    one_by_one = [captioner.caption([Visit(image, (prompt,))])[0][0] for prompt in prompts]
    assert captioner.caption([Visit(image, prompts)]) == [one_by_one]
    assert torch.cuda.memory_allocated() > 0
