"""A teacher with random weights sees images of the size that it was made for."""

from pathlib import Path

import timm
from timm.data import resolve_model_data_config

from orchestrator.teachers.random_start import make_random_start


def test_timm_opens_the_folder_with_the_size_that_was_asked_for_and_the_same_weights_each_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        make_random_start("test_resnet", tmp_path / name, num_classes=7, side=48)
    model = timm.create_model(f"local-dir:{tmp_path / 'one'}", pretrained=True)
    config = resolve_model_data_config(model)
    assert (config["input_size"], config["crop_pct"], model.num_classes) == ((3, 48, 48), 1.0, 7)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other")]
    assert weights[0] == weights[1]


def test_a_start_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    make_random_start("test_resnet", tmp_path, num_classes=7, side=48)
    assert (tmp_path / "model.safetensors").read_bytes() == b"mine"
