"""How large a network is: its parameters, and their bytes.

Holds two functions. Reads and writes nothing.
"""

from torch import nn

BYTES_PER_MB = 2**20  # the unit in which the report "Visual Model Distillation" states its sizes


def num_parameters(module: nn.Module) -> int:
    """Numbers in the module's parameters, each shared one once, trained or not; buffers are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


def model_size_mb(module: nn.Module) -> float:
    """Bytes of the parameters in their own number format, in MB of 2**20 bytes; buffers are not counted."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters()) / BYTES_PER_MB
