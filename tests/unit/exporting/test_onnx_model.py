"""The ONNX graph computes what torch computes, at every batch size; its 8-bit form is told for what it is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.artifacts.storage import read_json
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.exporting.bundle import read_config
from orchestrator.exporting.int8 import compare, write_int8
from orchestrator.exporting.onnx_model import INT8, ONNX, onnx_parity, open_session, write_onnx
from orchestrator.exporting.speed import count_macs, measure_speed
from orchestrator.exporting.use_student import Network, layers
from orchestrator.students import BottleneckStudentSettings, TimmStudentSettings, TinyStudentSettings
from tests.exports import export_student


@pytest.fixture(scope="module")
def given() -> torch.Tensor:
    return torch.randn(33, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, given: torch.Tensor) -> Path:
    """An export with its graph: an embedding student of class texts."""
    settings = TinyStudentSettings.model_validate({"width": 8, "classifier": None, "embedding": {}})
    export, _ = export_student(settings, tmp_path_factory.mktemp("onnx"))
    write_onnx(export, read_config(export), given[:2])
    return export


def test_onnxruntime_agrees_with_torch_at_batch_sizes_that_the_graph_was_not_drawn_with(
    exported: Path, given: torch.Tensor
) -> None:
    found = onnx_parity(exported, read_config(exported), given, batch_sizes=(1, 4, 33))
    assert set(found) == {"cosines", "cosines relative", "embedding", "embedding relative"}
    assert max(found.values()) < 1e-5
    assert found["cosines"] > 0  # two implementations: equal to the bit would mean that one was compared with itself


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "rows"])
def test_transformers_and_students_of_rows_have_graphs_too(kind: str, tmp_path: Path, given: torch.Tensor) -> None:
    if kind == "vit":
        export, _ = export_student(TimmStudentSettings(name="test_vit", image_size=32), tmp_path)
        rows = given
    else:
        export, _ = export_student(BottleneckStudentSettings(embedding_dim=8), tmp_path, text_dim=6)
        rows = torch.randn(20, 16, generator=torch.Generator().manual_seed(5))
    write_onnx(export, read_config(export), rows[:2], opset=18 if kind == "rows" else 20)
    assert max(onnx_parity(export, read_config(export), rows).values()) < 1e-5


def test_a_graph_beyond_the_tolerance_is_refused_and_removed(exported: Path, given: torch.Tensor) -> None:
    graph = (exported / ONNX).read_bytes()
    with pytest.raises(ArtifactError, match="differ from torch's"):
        onnx_parity(exported, read_config(exported), given, tolerance=1e-12)
    assert not (exported / ONNX).exists()
    (exported / ONNX).write_bytes(graph)


def test_a_network_that_torch_cannot_draw_is_a_plain_error(tmp_path: Path) -> None:
    export, _ = export_student(TinyStudentSettings(width=4), tmp_path)
    with pytest.raises(ConfigError, match="torch cannot export"):
        write_onnx(export, read_config(export), torch.randn(2, 5, 32, 32))  # five channels where three belong
    assert sorted(path.name for path in export.glob("*onnx*")) == []


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_the_8_bit_graph_is_smaller_and_agrees_mostly(kind: str, exported: Path, given: torch.Tensor) -> None:
    write_int8(exported, kind, given.numpy(), "image")  # type: ignore[arg-type]
    assert (exported / INT8).stat().st_size < (exported / ONNX).stat().st_size
    exact, coarse = open_session(exported / ONNX), open_session(exported / INT8)
    labels = exact(given.numpy())[0].argmax(1)
    found = compare(exact, coarse, given.numpy(), labels, batch_size=10)
    assert found["images"] == 33
    assert found["float_accuracy"] == 1.0
    assert found["int8_accuracy"] == found["agreement"] >= 0.8  # measured: 0.94 and more
    assert np.abs(exact(given.numpy())[0] - coarse(given.numpy())[0]).max() > 0


def test_agreement_counts_images_of_the_same_class() -> None:
    scores = np.eye(4, dtype=np.float32)
    found = compare(
        lambda rows: [scores[rows]], lambda rows: [scores[rows % 2]], np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0])
    )  # type: ignore[arg-type]
    assert found == {"images": 4.0, "agreement": 0.5, "float_accuracy": 0.75, "int8_accuracy": 0.5}


def test_multiply_accumulates_are_those_of_the_layers() -> None:
    network = layers(
        [
            {"kind": "conv", "in_channels": 3, "out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1},
            {"kind": "mean"},
            {"kind": "linear", "in_features": 4, "out_features": 7},
        ]
    )
    assert count_macs(network, torch.randn(5, 3, 8, 8)) == 4 * 4 * 4 * 3 * 9 + 4 * 7


def test_every_form_is_measured_in_turn_at_every_batch_size(exported: Path, given: torch.Tensor) -> None:
    write_int8(exported, "dynamic", given.numpy(), "image")
    found = measure_speed(exported, read_config(exported), given[:2], batch_sizes=(1, 3), rounds=2)
    assert list(found["forms"]) == ["torch", "onnxruntime", "onnxruntime int8"]
    for form in found["forms"].values():
        assert {"size_mb", "ms_b1", "ms_b3"} <= set(form)
        assert form["ms_b3"] > 0
    assert found["forms"]["onnxruntime"]["size_mb"] == pytest.approx((exported / ONNX).stat().st_size / 2**20)
    network = Network(read_json(exported / "config.json"))
    assert found["num_parameters"] == sum(one.numel() for one in network.parameters())
