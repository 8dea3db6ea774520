"""How long an exported student takes on this machine in each of its forms, and how large each is.

Measures time: the forms take turns, so that whatever else the machine does meets all of them. Reads an export. Knows
nothing of runs.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.evaluation.latency import cpu_threads
from orchestrator.evaluation.model_size import BYTES_PER_MB, num_parameters
from orchestrator.exporting.bundle import BACKBONE, HEAD, WHOLE, ExportConfig
from orchestrator.exporting.network import Outputs, open_network, output_names
from orchestrator.exporting.onnx_model import INT8, ONNX, Run, open_session

WARM_UP, ROUNDS = 3, 15


def count_macs(network: nn.Module, given: Tensor) -> int:
    """Multiply-accumulates of one row in convolutions, matrix products and attention, as torch's counter finds them."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:  # in inference mode it would see nothing
        network(given[:1])
    return int(counter.get_total_flops() // 2)


@torch.no_grad()
def measure_speed(
    folder: Path,
    config: ExportConfig,
    given: Tensor,
    *,
    batch_sizes: Sequence[int] = (1, 64),
    threads: int = 1,
    compiled: bool = False,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Median milliseconds of each form at each batch size.

    Args:
        given: an input of one row or more, which is repeated to the batch size.
        compiled: also measure torch.compile, whose first passes take long.

    Returns:
        `forms`: by name, `size_mb` (2**20 bytes on disk) and `ms_bB`, `spread_ms_bB` (distance of the quartiles);
        `num_parameters`, `macs`, `threads`, `rounds`, `machine`.
    """
    network = Outputs(open_network(folder, config), output_names(config)).eval()
    weights = sum((folder / name).stat().st_size for name in (BACKBONE, HEAD, WHOLE) if (folder / name).is_file())
    forms: dict[str, tuple[Callable[[Tensor], Any], int]] = {"torch": (network, weights)}
    if compiled:
        forms["torch.compile"] = (torch.compile(network), weights)
    for label, name in (("onnxruntime", ONNX), ("onnxruntime int8", INT8)):
        if (folder / name).is_file():
            session = open_session(folder / name, threads)
            forms[label] = (_on_tensors(session), (folder / name).stat().st_size)
    table: dict[str, dict[str, float]] = {form: {"size_mb": size / BYTES_PER_MB} for form, (_, size) in forms.items()}
    with cpu_threads(threads):
        for size in batch_sizes:
            batch = given[torch.arange(size) % len(given)].contiguous()
            times: dict[str, list[float]] = {form: [] for form in forms}
            for turn in range(WARM_UP + rounds):
                for form, (run, _) in forms.items():
                    started = time.perf_counter()
                    run(batch)
                    if turn >= WARM_UP:
                        times[form].append(1000 * (time.perf_counter() - started))
            for form, taken in times.items():
                lower, median, upper = statistics.quantiles(taken, n=4)
                table[form] |= {f"ms_b{size}": median, f"spread_ms_b{size}": upper - lower}
    return {
        "forms": table, "num_parameters": num_parameters(network), "macs": count_macs(network, given),
        "threads": threads, "rounds": rounds, "batch_sizes": list(batch_sizes), "machine": _machine(),
    }  # fmt: skip


def _on_tensors(run: Run) -> Callable[[Tensor], Any]:
    return lambda batch: run(batch.numpy())


def _machine() -> str:
    """The processor, as the system names it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
