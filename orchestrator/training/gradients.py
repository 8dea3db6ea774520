"""How the losses pull: norms of their gradients in the student, and the cosine of each pair.

Reads and writes nothing. Knows nothing of single losses.
"""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn


def gradient_report(terms: Mapping[str, Tensor], student: nn.Module) -> dict[str, Tensor]:
    """`gradient_norm.NAME` of each weighted term and `gradient_cosine.A~B` of each pair, in the student's parameters.

    The graphs of the terms are kept. With several workers each tells of its own share of the batch.
    """
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    vectors: dict[str, Tensor] = {}
    for name, term in terms.items():
        if not term.requires_grad:
            continue
        found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        pieces = [
            p.new_zeros(p.numel()) if g is None else g.reshape(-1) for p, g in zip(parameters, found, strict=True)
        ]
        vectors[name] = torch.cat(pieces).double()
    report = {f"gradient_norm.{name}": torch.linalg.vector_norm(vector) for name, vector in vectors.items()}
    for (name, one), (other, two) in combinations(vectors.items(), 2):
        lengths = torch.linalg.vector_norm(one) * torch.linalg.vector_norm(two)
        report[f"gradient_cosine.{name}~{other}"] = one @ two / lengths.clamp_min(1e-300)
    return report
