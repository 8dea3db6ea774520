"""ProCo with its Bessel functions and cosine classifier, PaCo, GPaCo, their queue and baseline (methods 3.1, 3.2)."""

from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import ive
from torch import Tensor

from tests.oracles.references.reference import (
    TOLERANCE,
    Draw,
    Inputs,
    Outputs,
    Parameters,
    Reference,
    cross_entropy,
    unit,
    with_gradients,
)


def values(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """log I_{p/2-1}(kappa) - (p/2-1) log kappa, and I_{p/2} / I_{p/2-1}, by scipy's scaled Bessel function."""
    k, order = kappa.detach().numpy(), dim / 2 - 1
    low, high = ive(order, k), ive(order + 1, k)
    assert (high > 1e-290).all(), "no underflow"
    return torch.as_tensor(np.log(low) + k - order * np.log(k)), torch.as_tensor(high / low)


def log_normaliser(kappa: Tensor, dim: int) -> Tensor:
    value, slope = values(kappa, dim)
    return value + slope * (kappa - kappa.detach())  # the value, with its derivative


def log_ratio(inputs: Inputs, parameters: Parameters) -> Outputs:
    value, derivative = values(inputs["kappa"], parameters["p"])
    return {"value": value, "derivative": derivative, "exact_value": value, "exact_derivative": derivative}


def concentrations(mean: Tensor) -> Tensor:
    found = []
    for row in mean:
        length = float(row.norm())
        kappa = len(row) * length / (1 - length**2)
        found.append(1e5 if kappa < 0 or kappa > 1e5 else kappa)
    return torch.tensor(found, dtype=torch.float64)


def taken_in(mean: Tensor, count: Tensor, features: Tensor, label: Tensor) -> None:
    for c in label.unique().tolist():
        own = features[label == c]
        share = len(own) / (len(own) + float(count[c]))
        mean[c] = (1 - share) * mean[c] + share * own.mean(dim=0)
        count[c] += len(own)


def proco(inputs: Inputs, parameters: Parameters) -> Outputs:
    num_classes, dim, t = parameters["C"], parameters["D"], parameters["temperature"]
    log_prior = torch.log(inputs["class_counts"].double() / inputs["class_counts"].sum())
    old = [inputs["init_mean_old"].clone(), torch.zeros(num_classes, dtype=torch.float64)]
    new = [inputs["init_mean_new"].clone(), torch.zeros(num_classes, dtype=torch.float64)]
    got: Outputs = {}
    for step in range(parameters["epochs"] * parameters["steps_per_epoch"]):
        epoch, within = divmod(step, parameters["steps_per_epoch"])
        if within == 0:
            old = [one.clone() for one in new]
            new = [inputs[f"mean_new_after_reset_epoch{epoch}"].clone(), torch.zeros(num_classes, dtype=torch.float64)]
        label = inputs[f"labels_{step}"]
        views = [inputs[f"view{v}_{step}"].clone().requires_grad_() for v in (1, 2)]
        logits = []
        for z in views:
            for statistics in (old, new):
                taken_in(*statistics, z.detach(), label)
            kappa = concentrations(old[0])
            moved = (kappa[:, None] * unit(old[0]) + z[:, None] / t).norm(dim=2)
            logits.append(log_normaliser(moved, dim) - log_normaliser(kappa, dim))
        loss = (cross_entropy(logits[0] + log_prior, label) + cross_entropy(logits[1] + log_prior, label)) / 2
        gradients = torch.autograd.grad(loss, views)
        seen = {
            "logits1": logits[0],
            "logits2": logits[1],
            "loss": loss,
            "grad_view1": gradients[0],
            "grad_view2": gradients[1],
            "mean_old": old[0].clone(),
            "count_old": old[1].clone(),
            "kappa_old": concentrations(old[0]),
            "logc_old": log_normaliser(concentrations(old[0]), dim),
            "mean_new": new[0].clone(),
            "count_new": new[1].clone(),
        }
        got |= {f"{name}_{step}": value for name, value in seen.items()}
    return got


def cosine_classifier(inputs: Inputs, parameters: Parameters) -> Outputs:
    x, weight = (inputs[name].clone().requires_grad_() for name in ("x", "weight"))
    logits = parameters["scale"] * unit(x) @ unit(weight.T).T
    gradients = torch.autograd.grad((logits * inputs["upstream"]).sum(), (x, weight))
    return {"logits": logits, "grad_x": gradients[0], "grad_weight": gradients[1]}


def parametric(features: Tensor, centres: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    """Anchor by anchor; PaCo has B of them, GPaCo 2B."""
    label, (num_anchors, num_classes) = inputs["labels"].tolist(), centres.shape
    t, smooth = parameters["temperature"], parameters.get("smooth", 0.0)
    alpha, beta, gamma = (parameters[name] for name in ("alpha", "beta", "gamma"))
    g = centres + (log_prior(inputs) if parameters.get("use_prior", True) else 0)
    terms = []
    for a in range(num_anchors):
        entries = torch.cat([g[a] / parameters["supt"], features @ features[a] / t])
        shifted = entries - entries.max().detach()
        others = [k for k in range(len(features)) if k != a]
        places = [num_classes + k for k in others]
        total = shifted[:num_classes].exp().sum() + gamma * shifted[places].exp().sum()
        log_p = shifted - (total + 1e-12).log()
        weight = [beta * (1 - smooth if c == label[a] else smooth / (num_classes - 1)) for c in range(num_classes)]
        weight += [alpha if label[k] == label[a] else 0.0 for k in others]
        w = torch.tensor(weight, dtype=torch.float64)
        terms.append((w * torch.cat([log_p[:num_classes], log_p[places]])).sum() / w.sum())
    return -torch.stack(terms).mean() * t / (parameters["base_temperature"] or t)


def multitask(features: Tensor, logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    label, terms = inputs["labels"].tolist(), []
    for a in range(len(logits)):
        entries = features @ features[a] / parameters["temperature"]
        shifted = entries - entries.max().detach()
        others = [k for k in range(len(features)) if k != a]
        log_p = shifted - (shifted[others].exp().sum() + 1e-12).log()
        terms.append(log_p[[k for k in others if label[k] == label[a]]].mean())
    balanced = cross_entropy(logits + log_prior(inputs), inputs["labels"][: len(logits)])
    return balanced - parameters["alpha"] * torch.stack(terms).mean()


def log_prior(inputs: Inputs) -> Tensor:
    return torch.log(inputs["class_counts"].double() / inputs["class_counts"].sum() + 1e-9)


def contrast(formula: Any, inputs: Inputs, parameters: Parameters) -> Outputs:
    return with_gradients(lambda f, g: formula(f, g, inputs, parameters), inputs, "features", "sup_logits")


def multitask_outputs(inputs: Inputs, parameters: Parameters) -> Outputs:
    return {**contrast(multitask, inputs, parameters), "class_weight": torch.ones(1, parameters["C"])}


def queue(inputs: Inputs, parameters: Parameters, *, anchor_views: int) -> Outputs:
    vectors, labels = list(inputs["queue0"]), inputs["queue_labels0"].tolist()
    size, place, copied, got = len(vectors), 0, inputs.get("param_k_0"), {}
    for step in range(sum(name.startswith("keys_") for name in inputs)):
        keys, label = inputs[f"keys_{step}"], inputs[f"labels_{step}"].tolist()
        if copied is not None:
            copied = parameters["m"] * copied + (1 - parameters["m"]) * inputs[f"param_q_{step + 1}"]
            got[f"param_k_{step}"] = copied
        got[f"features_queue_part_{step}"] = torch.stack(vectors)
        got[f"labels_all_{step}"] = torch.tensor([*label, *label, *labels])
        got[f"n_sup_logit_rows_{step}"] = anchor_views * len(keys)
        for key, y in zip(keys, label, strict=True):
            vectors[place], labels[place], place = key, y, (place + 1) % size
        got[f"queue_{step}"], got[f"queue_labels_{step}"] = torch.stack(vectors), torch.tensor(labels)
        got[f"pointer_{step}"] = place
    return got


def kappas(draw: Draw) -> Any:
    p = draw.pick(2, 3, 8, 33, 100, 256)
    return {"kappa": torch.tensor([draw.number(0.1 + p / 8, 1e5) for _ in range(12)], dtype=torch.float64)}, {"p": p}


def proco_inputs(draw: Draw) -> Any:
    n, c, d = draw.size(1, 12), draw.size(2, 7), draw.pick(3, 16, 64, 128, 200)
    epochs, steps = draw.size(1, 2), draw.size(1, 3)
    inputs = {"class_counts": draw.counts(c), "init_mean_old": 0.9 * draw.unit(c, d)}
    inputs["init_mean_new"] = 0.9 * draw.unit(c, d)
    inputs["init_kappa"] = concentrations(inputs["init_mean_new"])
    inputs |= {f"mean_new_after_reset_epoch{epoch}": 0.9 * draw.unit(c, d) for epoch in range(epochs)}
    for step in range(epochs * steps):
        inputs |= {f"view{v}_{step}": draw.unit(n, d) for v in (1, 2)} | {f"labels_{step}": draw.integers(c, n)}
    sizes = {"N": n, "C": c, "D": d}
    return inputs, {"temperature": draw.pick(0.05, 0.1, 0.5), **sizes, "epochs": epochs, "steps_per_epoch": steps}


def classifier_inputs(draw: Draw) -> Any:
    n, d, c = draw.size(1, 20), draw.size(2, 20), draw.size(1, 20)
    given = {"x": draw.normal(n, d), "weight": draw.normal(d, c), "upstream": draw.normal(n, c)}
    return given, {"scale": draw.pick(1, 16, 30.0)}


def contrast_inputs(draw: Draw, *, anchor_views: int, **more: Any) -> Any:
    b, c, d = draw.size(1, 12), draw.size(2, 12), draw.size(2, 16)
    k = b * draw.size(0, 4)
    label = draw.integers(c, b)
    counts = draw.counts(c)
    counts[draw.size(0, c - 1)] = draw.pick(0, 1, 3)  # a class without a training image has a finite prior
    inputs = {
        "features": draw.unit(2 * b + k, d),
        "labels": torch.cat([label, label, draw.integers(c, k)]),
        "sup_logits": draw.normal(anchor_views * b, c),
        "class_counts": counts,
    }
    scales = {"beta": draw.pick(1.0, 2.0), "gamma": draw.pick(1.0, 0.7), "supt": draw.pick(1.0, 0.8)}
    temperatures = {"temperature": draw.pick(0.07, 0.2), "base_temperature": draw.pick(None, 0.2)}
    return inputs, {"B": b, "C": c, "D": d, "K": k, "alpha": draw.pick(0.02, 0.5), **scales, **temperatures, **more}


def gpaco_inputs(draw: Draw) -> Any:
    more = {"smooth": draw.pick(0.0, 0.1), "use_prior": draw.pick(True, False)}
    return contrast_inputs(draw, anchor_views=2, **more)


def queue_inputs(draw: Draw, *, momentum: bool) -> Any:
    b, d = draw.size(1, 5), draw.size(1, 6)
    k, steps = b * draw.size(1, 4), draw.size(1, 11)
    inputs = {"queue0": draw.normal(k, d), "queue_labels0": draw.integers(9, k)}
    for step in range(steps):
        inputs |= {f"keys_{step}": draw.unit(b, d), f"labels_{step}": draw.integers(9, b)}
    if momentum:
        inputs |= {"param_k_0": draw.normal(3, d)} | {f"param_q_{step}": draw.normal(3, d) for step in range(steps + 1)}
    return inputs, {"K": k, "dim": d, "B": b, "m": draw.pick(0.9, 0.999)}


PROCO_TOLERANCE = {"float64": {"rtol": 1e-7, "atol": 1e-8}, "float32": {"rtol": 5e-3, "atol": 2e-3}}
REFERENCES = {
    "proco_logratio": Reference(
        kappas, log_ratio, {"float64": {"rtol": 1e-8, "atol": 1e-8}, "float32": {"rtol": 1e-4, "atol": 1e-3}}
    ),
    "proco": Reference(proco_inputs, proco, PROCO_TOLERANCE),
    "cosine_classifier": Reference(classifier_inputs, cosine_classifier),
    "paco": Reference(partial(contrast_inputs, anchor_views=1), partial(contrast, parametric)),
    "gpaco": Reference(gpaco_inputs, partial(contrast, parametric)),
    "multitask_supcon": Reference(partial(contrast_inputs, anchor_views=2), multitask_outputs, TOLERANCE),
    "paco_queue": Reference(partial(queue_inputs, momentum=True), partial(queue, anchor_views=1)),
    "gpaco_queue": Reference(partial(queue_inputs, momentum=False), partial(queue, anchor_views=2)),
}
