"""What a student costs at inference, told with the metrics of its training: `cost/NAME`.

Measures time. Reads and writes nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from orchestrator.evaluation.latency import inference_latency
from orchestrator.evaluation.model_size import model_size_mb, num_parameters
from orchestrator.vocabulary import COST_LATENCY, COST_PARAMETERS, COST_SIZE


@dataclass
class Costs:
    """Measured once, at the first call, because training changes none of them.

    Attributes:
        wanted: besides `cost/model_size_mb` and `cost/num_parameters`, which are always told, metrics
            `cost/latency_ms_bB_tT`: the median time of a batch of B images on T threads of the processor, or on the
            device where the student lies.
    """

    student: nn.Module
    image_size: int
    wanted: Sequence[str]
    _found: dict[str, float] = field(default_factory=dict)

    def __call__(self) -> dict[str, float]:
        """Metric name -> value."""
        if not self._found:
            names = dict.fromkeys((COST_SIZE, COST_PARAMETERS, *self.wanted))
            self._found = {name: self._measured(name) for name in names}
        return self._found

    def _measured(self, name: str) -> float:
        if name == COST_SIZE:
            return model_size_mb(self.student)
        if name == COST_PARAMETERS:
            return float(num_parameters(self.student))
        found = re.fullmatch(COST_LATENCY, name)
        assert found is not None, f"{name} was refused with the search space"
        size, threads = int(found["size"]), int(found["threads"])
        measured = inference_latency(self.student, self.image_size, batch_sizes=[size], threads=[threads])
        return measured[f"latency_ms_b{size}_t{threads}"]
