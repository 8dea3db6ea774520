"""Checkpoints of masked autoencoders: converted they are the encoder, to the bit; what does not fit is told by name."""

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from typer.testing import CliRunner

from orchestrator import vocabulary as v
from orchestrator.cli import app
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.students import TimmStudentSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.networks.mae_checkpoint import Pooling, convert_mae

MODEL, SIDE, WIDTH = "test_vit", 32, 64


def encoder() -> Any:
    """A ViT as MAE trains it: class token in the sequence, norm after the blocks, no classifier."""
    torch.manual_seed(3)
    network = timm.create_model(MODEL, num_classes=0, global_pool="token", img_size=SIDE)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # norms too, so that leaving one out is seen
    return network.eval()


def official(folder: Path, network: Any, **changes: torch.Tensor | None) -> Path:
    """A file as the official pre-training saves it: encoder, decoder, optimiser and the command's arguments."""
    state = {
        **network.state_dict(),
        "mask_token": torch.zeros(1, 1, 16),
        "decoder_pos_embed": torch.zeros(1, 5, 16),
        "decoder_blocks.0.attn.qkv.weight": torch.zeros(48, 16),
        "decoder_norm.weight": torch.ones(16),
        **changes,
    }
    path = folder / "checkpoint-399.pth"
    model = {name: value for name, value in state.items() if value is not None}
    torch.save({"model": model, "epoch": 399, "args": argparse.Namespace(mask_ratio=0.75, norm_pix_loss=True)}, path)
    return path


def images() -> torch.Tensor:
    return torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def student(checkpoint: Path, pooling: Pooling) -> Any:
    settings = TimmStudentSettings(name=MODEL, image_size=SIDE, global_pool=pooling, checkpoint=str(checkpoint))
    return settings.build(StudentContext(num_classes=7)).eval()


def test_a_student_of_average_pooling_normalises_the_mean_of_the_encoders_patches(tmp_path: Path) -> None:
    network = encoder()
    told = convert_mae(official(tmp_path, network), tmp_path / "mae.safetensors", model=MODEL, image_size=SIDE)
    assert told.fresh == ("fc_norm.weight", "fc_norm.bias")
    assert set(told.left_out) == {
        "mask_token", "decoder_pos_embed", "decoder_blocks.0.attn.qkv.weight", "decoder_norm.weight",
        "norm.weight", "norm.bias",
    }  # fmt: skip
    made = student(tmp_path / "mae.safetensors", "avg")(images())
    network.norm = torch.nn.Identity()  # what the blocks give, as the official fine-tuning pools it
    mean = network.forward_features(images())[:, 1:].mean(1)
    expected = torch.nn.functional.layer_norm(mean, (WIDTH,), eps=1e-6)
    torch.testing.assert_close(made[v.STUDENT_FEATURE], expected)


def test_a_student_of_token_pooling_is_the_encoder_to_the_bit(tmp_path: Path) -> None:
    network = encoder()
    source = official(tmp_path, network)
    told = convert_mae(source, tmp_path / "mae.safetensors", model=MODEL, pooling="token", image_size=SIDE)
    assert told.fresh == ()
    made = student(tmp_path / "mae.safetensors", "token")(images())
    assert torch.equal(made[v.STUDENT_FEATURE], network(images()))


def test_a_checkpoint_that_was_fine_tuned_keeps_its_norm_and_its_classifier(tmp_path: Path) -> None:
    torch.manual_seed(4)
    tuned = timm.create_model(MODEL, num_classes=7, global_pool="avg", img_size=SIDE).eval()
    torch.nn.init.normal_(tuned.fc_norm.weight)
    torch.nn.init.normal_(tuned.head.weight)
    torch.save({"model": tuned.state_dict()}, tmp_path / "tuned.pth")
    told = convert_mae(tmp_path / "tuned.pth", tmp_path / "tuned.safetensors", model=MODEL, image_size=SIDE)
    assert (told.fresh, told.left_out) == ((), ())
    made = student(tmp_path / "tuned.safetensors", "avg")(images())
    torch.testing.assert_close(made[v.STUDENT_LOGITS], tuned(images()))


def test_all_names_and_shapes_that_do_not_fit_are_told_at_once(tmp_path: Path) -> None:
    source = official(tmp_path, encoder(), cls_token=None, gate=torch.zeros(2), pos_embed=torch.zeros(1, 17, WIDTH))
    with pytest.raises(ArtifactError) as caught:
        convert_mae(source, tmp_path / "mae.safetensors", model=MODEL, image_size=SIDE)
    with pytest.raises(ArtifactError, match="gate is unknown"):
        convert_mae(source, tmp_path / "mae.safetensors", model=MODEL, image_size=SIDE, dry_run=True)
    for told in ("cls_token is missing", "gate is unknown", "pos_embed is (1, 17, 64), not (1, 5, 64)"):
        assert told in str(caught.value)
    assert not list(tmp_path.glob("*mae.safetensors*"))


class _RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


def test_a_file_that_could_run_code_is_refused_and_runs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": encoder().state_dict(), "args": _RunsCode()}, tmp_path / "bad.pth")
    with pytest.raises(ArtifactError, match="weights alone"):
        convert_mae(tmp_path / "bad.pth", tmp_path / "mae.safetensors", model=MODEL)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps([1, 2], protocol=2))
    with pytest.raises(ArtifactError):
        convert_mae(tmp_path / "plain.pth", tmp_path / "mae.safetensors", model=MODEL)
    assert "code ran" not in capsys.readouterr().out


def test_another_network_another_format_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    source = official(tmp_path, encoder())
    for model in ("resnet18", "vit_bse_patch16_224"):
        with pytest.raises(ConfigError, match="no ViT of timm"):
            convert_mae(source, tmp_path / "mae.safetensors", model=model)
    with pytest.raises(ConfigError, match=r"\.safetensors"):
        convert_mae(source, tmp_path / "mae.pth", model=MODEL)
    with pytest.raises(ArtifactError, match="not a file"):
        convert_mae(tmp_path / "none.pth", tmp_path / "mae.safetensors", model=MODEL)
    torch.save({"optimizer": {"lr": 1.0}}, tmp_path / "other.pth")
    with pytest.raises(ArtifactError, match="no state_dict"):
        convert_mae(tmp_path / "other.pth", tmp_path / "mae.safetensors", model=MODEL)


def test_the_command_tells_what_it_wrote_and_fails_plainly(tmp_path: Path) -> None:
    source, target = official(tmp_path, encoder()), tmp_path / "mae.safetensors"
    options = ["--model", MODEL, "--image-size", str(SIDE)]
    asked = CliRunner().invoke(app, ["convert-mae", str(source), str(target), *options, "--dry-run", "--json"])
    told = json.loads(asked.output.splitlines()[-1])
    assert (told["status"], told["fresh"], target.exists()) == ("SUCCEEDED", ["fc_norm.weight", "fc_norm.bias"], False)
    ended = CliRunner().invoke(app, ["convert-mae", str(source), str(target), *options])
    assert ended.exit_code == 0, ended.output
    assert "fc_norm.weight, fc_norm.bias afresh; 6 left out" in ended.output
    refused = CliRunner().invoke(app, ["convert-mae", str(source), str(target), *options, "--pooling", "max"])
    assert refused.exit_code == 2
    assert "avg or token" in refused.output
