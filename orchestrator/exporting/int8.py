"""The ONNX graph with 8-bit numbers, by onnxruntime, and what that costs in agreement and accuracy.

Reads `student.onnx`; writes `student.int8.onnx`. `dynamic` measures activations as they come (better for transformers);
`static` takes their ranges from calibration inputs (faster for convolutions). Knows nothing of where inputs come from.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from orchestrator.artifacts.storage import write_atomically
from orchestrator.exporting.onnx_model import INT8, ONNX, Run

Quantization = Literal["static", "dynamic"]
CALIBRATION_BATCH = 16


def write_int8(folder: Path, kind: Quantization, calibration: npt.NDArray[np.float32], name: str) -> Path:
    """Write the 8-bit graph.

    Args:
        calibration: inputs whose activations give the ranges; read by `static` only.
        name: of the graph's input.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[npt.NDArray[np.float32]] = iter(
                [calibration[at : at + CALIBRATION_BATCH] for at in range(0, len(calibration), CALIBRATION_BATCH)]
            )

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch}

    prepared, path = folder / ".prepared.onnx", folder / INT8
    root, before = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # onnxruntime's quantiser talks through the root logger
    try:
        quant_pre_process(str(folder / ONNX), str(prepared), skip_symbolic_shape=True)

        def write(temporary: Path) -> None:
            if kind == "dynamic":
                quantize_dynamic(str(prepared), str(temporary), weight_type=QuantType.QInt8, per_channel=True)
            else:
                quantize_static(
                    str(prepared), str(temporary), Batches(), quant_format=QuantFormat.QDQ, per_channel=True,
                    weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
                )  # fmt: skip

        write_atomically(path, write)
    finally:
        root.setLevel(before)
        prepared.unlink(missing_ok=True)
    return path


def compare(
    exact: Run, coarse: Run, given: npt.NDArray[np.float32], labels: npt.NDArray[np.int64] | None, batch_size: int = 64
) -> dict[str, float]:
    """How two graphs agree on inputs; of graphs with scores (their first output is then [N, C]).

    Returns:
        `agreement`: share of inputs with the same class; `float_accuracy`, `int8_accuracy` where there are labels;
        `images`.
    """
    pairs = [
        (exact(given[at : at + batch_size])[0], coarse(given[at : at + batch_size])[0])
        for at in range(0, len(given), batch_size)
    ]
    first, second = (np.concatenate(parts).argmax(1) for parts in zip(*pairs, strict=True))
    found = {"images": float(len(given)), "agreement": float((first == second).mean())}
    if labels is not None:
        found |= {"float_accuracy": float((first == labels).mean()), "int8_accuracy": float((second == labels).mean())}
    return found
