"""The student as an ONNX graph with a free batch size, and the proof that onnxruntime computes the same.

Writes `student.onnx`. Torch's exporter of today (`dynamo=True`) is used; it draws the graph from torch.export, so any
student whose forward pass has no branch on its values can be exported. Knows nothing of runs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orchestrator.artifacts.storage import write_atomically
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.exporting.bundle import ExportConfig
from orchestrator.exporting.network import Outputs, input_name, open_network, output_names

ONNX, INT8 = "student.onnx", "student.int8.onnx"
OPSET = 20
TOLERANCE = 1e-3  # relative to the largest number of an output
BATCH_SIZES = (1, 3, 16)

Run = Callable[[npt.NDArray[Any]], list[npt.NDArray[Any]]]


def write_onnx(folder: Path, config: ExportConfig, example: Tensor, *, opset: int = OPSET) -> Path:
    """Write the graph of an export; `example` [2 or more, ...] is an input of it.

    Raises:
        ConfigError: torch cannot export this network, or not at this opset.
    """
    network = Outputs(open_network(folder, config), output_names(config)).eval()
    path = folder / ONNX

    def write(temporary: Path) -> None:
        torch.onnx.export(
            network, (example,), str(temporary), dynamo=True, opset_version=opset, verbose=False,
            input_names=[input_name(config)], output_names=list(output_names(config)), external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip

    try:
        write_atomically(path, write)
    except Exception as error:  # the exporter has a class for each of its steps
        raise ConfigError(
            f"ONNX: torch cannot export this student: {str(error).strip().splitlines()[0][:200]}",
            expected=f"a network that torch.export understands, and an opset that it knows (given {opset})",
            remedy="leave --onnx out, or choose another --opset",
        ) from error
    return path


def open_session(path: Path, threads: int = 1) -> Run:
    """A graph on the CPU: input -> outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(given: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        return list(session.run(None, {name: given}))

    return run


@torch.inference_mode()
def onnx_parity(
    folder: Path,
    config: ExportConfig,
    given: Tensor,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    tolerance: float = TOLERANCE,
) -> dict[str, float]:
    """Greatest difference of each output between torch and onnxruntime, over several batch sizes.

    Args:
        given: inputs to take batches of, real ones where there are such.
        tolerance: of the difference, relative to the greatest number of that output.

    Returns:
        `OUTPUT`: the greatest absolute difference; `OUTPUT relative`: the same over the greatest number.

    Raises:
        ArtifactError: a relative difference above the tolerance; the graph is then removed.
    """
    network = Outputs(open_network(folder, config), output_names(config)).eval()
    run = open_session(folder / ONNX)
    found: dict[str, float] = {}
    for size in batch_sizes:
        for start in range(0, len(given), size):
            batch = given[start : start + size]
            pairs = zip(output_names(config), network(batch), run(batch.numpy()), strict=True)
            for name, expected, made in pairs:
                difference = float(np.abs(expected.numpy() - made).max())
                relative = difference / max(float(expected.abs().max()), 1e-12)
                found[name] = max(found.get(name, 0.0), difference)
                found[f"{name} relative"] = max(found.get(f"{name} relative", 0.0), relative)
    wrong = {n: value for n, value in found.items() if n.endswith(" relative") and not value <= tolerance}
    if wrong:
        (folder / ONNX).unlink()
        told = ", ".join(f"{name} {value:.3g}" for name, value in wrong.items())
        raise ArtifactError(
            f"ONNX: onnxruntime's outputs differ from torch's: {told}",
            expected=f"at most {tolerance:g}",
            remedy="try another --opset, or allow more with --tolerance",
        )
    return found
