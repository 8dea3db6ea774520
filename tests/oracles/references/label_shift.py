"""LiVT and the label-shift family (methods 3.3), logit adjustment (2.1), RISE (4)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.oracles.references.reference import (
    TOLERANCE,
    Draw,
    Inputs,
    Outputs,
    Parameters,
    Reference,
    cross_entropy,
    divergence,
    log_softmax,
    unit,
    with_gradients,
)

LIVT_BETA = 0.9999
LIVT_TOLERANCE = {**TOLERANCE, "float64": {"rtol": 2e-6, "atol": 1e-7}}  # of the shipped vectors
Formula = Callable[[Tensor, Inputs, Parameters], Tensor]


def one_hot(inputs: Inputs) -> Tensor:
    return torch.eye(inputs["logits"].shape[1], dtype=torch.float64)[inputs["target"]]


def prior(inputs: Inputs) -> Tensor:
    return inputs["class_counts"].double() / inputs["class_counts"].sum()


def class_balance(inputs: Inputs, beta: float) -> Tensor:
    weight = torch.tensor([(1 - beta) / (1 - beta**n) for n in inputs["class_counts"].tolist()], dtype=torch.float64)
    return weight / weight.sum() * len(weight)


def binary(logits: Tensor, inputs: Inputs, parameters: Parameters, *, shift: Any = 0.0, weight: Any = 1.0) -> Tensor:
    s, c = parameters["smoothing"], logits.shape[1]
    target = inputs.get("soft_target", torch.where(one_hot(inputs) > 0, 1 - s + s / c, s / c))
    if "target_threshold" in parameters:
        target = (target > parameters["target_threshold"]).double()
    x = logits + shift
    positive, negative = -torch.log(1 + torch.exp(-x)), -torch.log(1 + torch.exp(x))
    return c * (-weight * (target * positive + (1 - target) * negative)).mean()


def balanced_binary(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return binary(logits, inputs, parameters, shift=torch.log(prior(inputs)) - torch.log(1 - prior(inputs)))


def class_balanced_binary(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return binary(logits, inputs, parameters, weight=class_balance(inputs, LIVT_BETA))


def soft(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return -(inputs["soft_target"] * log_softmax(logits)).sum(dim=1).mean()


def balanced_soft(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return soft(logits + parameters["tau"] * torch.log(prior(inputs)), inputs, parameters)


def smoothed(logits: Tensor, inputs: Inputs, parameters: Parameters, *, smoothing: Tensor | None = None) -> Tensor:
    s = torch.tensor(parameters["smoothing"]).double() if smoothing is None else smoothing[inputs["target"]]
    surprise = -log_softmax(logits)
    return ((1 - s) * (one_hot(inputs) * surprise).sum(dim=1) + s * surprise.mean(dim=1)).mean()


def class_balanced(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return weighted(logits, inputs["target"], class_balance(inputs, parameters["beta"]))


def weighted(logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    surprise = torch.stack([-row[y] for row, y in zip(log_softmax(logits), label.tolist(), strict=True)])
    return (weight[label] * surprise).sum() / weight[label].sum()


def margins(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    margin = inputs["class_counts"].double().pow(-0.25)
    margin = parameters["max_margin"] * margin / margin.max()
    return cross_entropy(parameters["scale"] * (logits - one_hot(inputs) * margin), inputs["target"])


def label_aware(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    n = inputs["class_counts"].double()
    q = (n - n.min()) / (n.max() - n.min())
    head, tail = parameters["smooth_head"], parameters["smooth_tail"]
    base, curve = {
        "concave": (tail, torch.sin(math.pi * q / 2)),
        "linear": (tail, q),
        "convex": (head, torch.sin(1.5 * math.pi + math.pi * q / 2)),
    }[parameters["shape"]]
    return smoothed(logits, inputs, parameters, smoothing=base + (head - tail) * curve)


def disentangled(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    pi, (n, c) = prior(inputs), logits.shape
    total = logits.new_zeros(())
    for k in range(c):
        own = logits[inputs["target"] == k, k]
        shifted = logits[:, k] - torch.log(pi[k] + 1e-9) + math.log(1 / c + 1e-9)
        bound = torch.logsumexp(shifted, dim=0) - math.log(n)
        total = total - pi[k] * (own.sum() / (len(own) + 1e-8) - bound - parameters["remine_lambda"] * bound**2)
    return total


def of_logits(formula: Formula) -> Callable[[Inputs, Parameters], Outputs]:
    return lambda inputs, parameters: with_gradients(lambda z: formula(z, inputs, parameters), inputs, "logits")


def logit_adjusted(inputs: Inputs, parameters: Parameters) -> Outputs:
    def loss(logits: Tensor) -> Tensor:
        shifted = logits + parameters["tau"] * torch.log(prior(inputs))
        weight = inputs["weight"] if parameters["class_weights"] else torch.ones(logits.shape[1], dtype=torch.float64)
        return weighted(shifted, inputs["target"], weight)

    return with_gradients(loss, inputs, "logits")


def rise(inputs: Inputs, parameters: Parameters) -> Outputs:
    label, anchor, domain = inputs["target"], unit(inputs["text_anchor_raw"]), unit(inputs["domain_text_raw"])
    t = parameters["T"]
    e, z = (inputs[name].clone().requires_grad_() for name in ("student_embedding", "student_logits"))
    teacher = parameters["teacher_logit_scale"] * unit(inputs["teacher_image"]) @ anchor.T
    parts = {
        "kl": t**2 * divergence(teacher / t, z / t).mean(),
        "ce": cross_entropy(z, label),
        "absolute_distance": (1 - (unit(e) * anchor[label]).sum(dim=1)).mean(),
    }
    gaps = []
    for row, y in zip(unit(e), label.tolist(), strict=True):
        gaps.append((log_softmax(domain[y] @ row).exp() - log_softmax(domain[y] @ anchor[y]).exp()).square())
    parts["relative_distance"] = 10 * torch.stack(gaps).mean()
    w = {name: parameters[f"weight_{name}"] for name in ("kl", "ce", "distance")}
    total = w["kl"] * parts["kl"] + w["ce"] * parts["ce"]
    total = total + w["distance"] * (parts["absolute_distance"] + parts["relative_distance"])
    grads = torch.autograd.grad(total, (e, z))
    return {**parts, "total": total, "grad_embedding": grads[0], "grad_logits": grads[1]}


def logits(draw: Draw, *, soft: bool | None = None, **parameters: Any) -> Any:
    """Logits, labels that may leave classes out, counts, and mixed labels where a kind takes them."""
    n, c = draw.size(1, 40), draw.size(2, 40)
    inputs = {"logits": draw.normal(n, c, scale=2), "target": draw.integers(c, n), "class_counts": draw.counts(c)}
    inputs["class_counts"][:2] += torch.tensor([0, 300])  # not all equal, which MiSLAS divides by
    if draw.pick(True, False) if soft is None else soft:
        inputs["soft_target"] = draw.distributions(n, c)
    return inputs, {"N": n, "C": c, **parameters}


def binary_logits(draw: Draw) -> Any:
    return logits(draw, smoothing=draw.pick(0.0, 0.1, 0.3))


def threshold_logits(draw: Draw) -> Any:
    return logits(draw, smoothing=draw.pick(0.0, 0.1, 0.3), target_threshold=draw.pick(0.05, 0.2, 0.6))


def label_aware_logits(shape: str) -> Callable[[Draw], Any]:
    def draw_one(draw: Draw) -> Any:
        tail = draw.pick(0.0, 0.05)
        return logits(draw, soft=False, shape=shape, smooth_head=draw.pick(0.3, 0.5), smooth_tail=tail)

    return draw_one


def adjusted_logits(draw: Draw) -> Any:
    inputs, sizes = logits(draw, soft=False)
    inputs["weight"] = draw.normal(sizes["C"]).abs() + 0.1
    return inputs, {"tau": draw.pick(0.5, 1.0, 2.0), "class_weights": draw.pick(True, False)}


def rise_inputs(draw: Draw) -> Any:
    n, c, k, d = draw.size(1, 30), draw.size(2, 20), draw.size(1, 5), draw.size(2, 64)
    inputs = {
        "student_embedding": draw.normal(n, d),
        "student_logits": draw.normal(n, c, scale=2),
        "teacher_image": draw.normal(n, d),
        "text_anchor_raw": draw.normal(c, d),
        "domain_text_raw": draw.normal(c, k, d),
        "target": draw.integers(c, n),
    }
    weights = {"weight_kl": draw.pick(0.0, 0.1, 0.9), "weight_ce": draw.pick(0.0, 0.1, 0.9)}
    scales = {"T": draw.pick(1.0, 3.0), "teacher_logit_scale": draw.pick(10.0, 100.0)}
    return inputs, {**weights, "weight_distance": draw.pick(0.5, 2.0), **scales, "N": n, "C": c, "K": k, "D": d}


def livt(draw_one: Callable[[Draw], Any], formula: Formula) -> Reference:
    return Reference(draw_one, of_logits(formula), LIVT_TOLERANCE)


REFERENCES = {
    "livt_bce": livt(binary_logits, binary),
    "livt_cb_bce": livt(binary_logits, class_balanced_binary),
    "livt_bal_bce": livt(binary_logits, balanced_binary),
    "livt_bal_bce_thr": livt(threshold_logits, balanced_binary),
    "livt_ce": livt(lambda draw: logits(draw, soft=True), soft),
    "livt_bal_ce": livt(lambda draw: logits(draw, soft=True, tau=draw.pick(0.0, 0.5, 1.0, 2.0)), balanced_soft),
    "livt_ls_ce": livt(lambda draw: logits(draw, soft=False, smoothing=draw.pick(0.0, 0.1, 0.4)), smoothed),
    "livt_cb_ce": livt(lambda draw: logits(draw, soft=False, beta=draw.pick(0.9, 0.999, 0.9999)), class_balanced),
    "livt_ldam": livt(
        lambda draw: logits(draw, soft=False, scale=draw.pick(1, 30, 50), max_margin=draw.pick(0.2, 0.5, 2.0)), margins
    ),
    "livt_lade": livt(lambda draw: logits(draw, soft=False, remine_lambda=draw.pick(0.0, 0.1, 0.5)), disentangled),
    **{
        f"livt_label_aware_smooth_{shape}": livt(label_aware_logits(shape), label_aware)
        for shape in ("concave", "linear", "convex")
    },
    "logit_adjust": Reference(adjusted_logits, logit_adjusted),
    "rise": Reference(rise_inputs, rise),
}
