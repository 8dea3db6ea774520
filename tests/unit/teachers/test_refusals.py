"""What encoders refuse: weights that are not pinned, pickled, or not there, and outputs that a model does not have."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.load import load_experiment
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.teachers import (
    OpenClipSettings,
    SentenceTransformersSettings,
    TimmEncoderSettings,
    TransformersClipSettings,
    TransformersVisionSettings,
)
from orchestrator.teachers.snapshot import weights_folder
from tests import tiny_encoders as tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the directories of the tiny models are."""
    return tmp_path_factory.mktemp("encoders")


def test_a_captioner_is_no_joint_space_because_its_projections_would_be_drawn_at_random(folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        TransformersClipSettings(model=tiny.made(folder, tiny.hf_blip_captioner)).build_image()
    assert "BlipForConditionalGeneration" in str(error.value)
    assert "blip-itm" in str(error.value)


def test_weights_that_the_checkpoint_lacks_are_refused_and_never_drawn(folder: Path) -> None:
    dino = tiny.made(folder, tiny.hf_dino)
    with pytest.raises(ArtifactError, match=r"lacks pooler\.dense\.bias, pooler\.dense\.weight"):
        TransformersVisionSettings(model=dino, pooling="pooler").build_image()


def test_outputs_that_a_model_does_not_have_are_refused_by_name(folder: Path) -> None:
    with_logits: Any = ("embedding", "logits")
    with pytest.raises(ConfigError, match="has no classifier"):
        TimmEncoderSettings(model=tiny.made(folder, tiny.timm_dino), outputs=with_logits).build_image()
    with_maps: Any = ("embedding", "attention")
    with pytest.raises(ConfigError, match="no attention maps"):
        TimmEncoderSettings(model=tiny.made(folder, tiny.timm_convnet), outputs=with_maps).build_image()
    with pytest.raises(ConfigError, match="no attention maps"):
        OpenClipSettings(outputs=with_maps).build_image()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pth"])
def test_pickled_weights_are_not_read(name: str, tmp_path: Path) -> None:
    model = Path(tiny.made(tmp_path, tiny.timm_convnet))
    (model / name).write_bytes(b"would run code")
    with pytest.raises(ArtifactError, match=f"holds {name} beside its safetensors"):
        TimmEncoderSettings(model=str(model)).build_image()
    (model / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="holds no safetensors"):
        TimmEncoderSettings(model=str(model)).build_image()


def test_a_hub_id_is_loaded_from_exactly_its_commit(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The cache is laid out as the hub's client lays it out; the network is off in tests."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--organisation--tiny" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    Path(tiny.made(folder, tiny.timm_convnet)).rename(snapshot)
    settings = TimmEncoderSettings(model="organisation/tiny", revision=COMMIT)
    assert settings.identity()["weights"] == {"hub_id": "organisation/tiny", "revision": COMMIT}
    assert settings.build_image().info["dims"] == {"embedding": [96]}
    other = TimmEncoderSettings(model="organisation/tiny", revision=COMMIT[::-1])
    with pytest.raises(ArtifactError, match="could not be had from the hub"):
        other.build_image()


def test_a_hub_id_without_a_commit_is_refused_before_anything_is_loaded() -> None:
    for settings in (
        OpenClipSettings(model="ViT-B-16", pretrained="openai"),
        TimmEncoderSettings(model="vit_small_patch16_224.dino"),
        TransformersClipSettings(model="openai/clip-vit-base-patch16"),
        SentenceTransformersSettings(model="sentence-transformers/all-mpnet-base-v2"),
    ):
        with pytest.raises(ConfigError, match="revision"):
            settings.identity()
    with pytest.raises(ConfigError, match="revision"):
        weights_folder("organisation/tiny", None)


def test_registry_names_stand_for_the_repositories_that_the_libraries_name() -> None:
    clip = OpenClipSettings(model="ViT-B-16", pretrained="openai", revision=COMMIT).identity()["weights"]
    assert clip["hub_id"] == "timm/vit_base_patch16_clip_224.openai"
    dino = TimmEncoderSettings(model="vit_small_patch16_224.dino", revision=COMMIT).identity()["weights"]
    assert dino["hub_id"] == "timm/vit_small_patch16_224.dino"
    with pytest.raises(ConfigError, match="laion2b_s34b_b88k"):
        OpenClipSettings(model="ViT-B-16", pretrained="nothing", revision=COMMIT).identity()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("image_teacher", {"kind": "sentence_transformers", "model": "x"}, "sentence_transformers"),
        ("text_encoder", {"kind": "timm", "model": "x"}, "timm"),
        ("text_encoder", {"kind": "hashed", "outputs": ["embedding", "tokens"]}, "text_encoder.outputs"),
    ],
)
def test_an_encoder_in_the_wrong_place_is_a_config_error(
    field: str, value: dict[str, Any], told: str, project: Path, tmp_path: Path
) -> None:
    import yaml

    sheet = yaml.safe_load((project / "jobs" / "experiments" / "smoke.yaml").read_text())
    path = tmp_path / "sheet.yaml"
    path.write_text(yaml.safe_dump({**sheet, field: value}))
    with pytest.raises(ConfigError) as error:
        load_experiment(path)
    assert field in str(error.value)
    assert told in str(error.value)
    said = ("hashed", "did you mean transformers_clip?", "outputs are for image_teacher")
    assert any(one in str(error.value) for one in said)
