"""The OOD paper's losses and its research losses (methods 1.1 to 1.9)."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.oracles.references.reference import (
    Draw,
    Inputs,
    Outputs,
    Parameters,
    Reference,
    cross_entropy,
    divergence,
    unit,
    with_gradients,
)

Formula = Callable[[Tensor, Inputs, Parameters], Tensor]


def cosines(rows: Tensor, others: Tensor) -> Tensor:
    return unit(rows) @ unit(others).T


def l_cls(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return cross_entropy(cosines(student, inputs["text"]) / parameters["temperature"], inputs["target"])


def l_mse(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return (unit(student) - unit(inputs["teacher"])).pow(2).sum(dim=1).mean()


def l_mse_raw(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return torch.log(1 + (student - inputs["teacher"]).pow(2).sum(dim=1).mean() / 10)


def l_imcst(student: Tensor, inputs: Inputs, parameters: Parameters, *, same_class: bool = True) -> Tensor:
    logits = cosines(student, inputs["teacher"]) / parameters["temperature"]
    own = torch.arange(len(student))
    if not same_class:
        allowed = inputs["target"][:, None] != inputs["target"]
        logits = torch.where(allowed | torch.eye(len(own), dtype=torch.bool), logits, -1e7)
    one_way = cross_entropy(logits, own)
    return one_way if parameters.get("mode") == "single" else (one_way + cross_entropy(logits.T, own)) / 2


def kl_on_nearest(wanted: Tensor, given: Tensor, k: int) -> list[Tensor]:
    found = []
    for row, other in zip(wanted, given, strict=True):
        nearest = sorted(range(len(row)), key=lambda j: -float(row[j]))[:k]
        found.append(divergence(row[nearest], other[nearest]))
    return found


def l_imcst_kl(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    wanted = cosines(inputs["teacher"], inputs["teacher"]) / parameters["temperature"]
    given = cosines(student, inputs["teacher"]) / parameters["temperature"]
    both = [torch.stack(kl_on_nearest(wanted, one, 10)).mean() for one in (given, given.T)]
    return l_imcst(student, inputs, parameters) + 2.5 * (both[0] + both[1])


def l_vlprox(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    wanted, given = (cosines(rows, inputs["text"]) / parameters["temperature"] for rows in (inputs["teacher"], student))
    terms = kl_on_nearest(wanted, given, parameters["k"])
    kept = [term for term, keep in zip(terms, right(inputs), strict=True) if keep or not parameters["filter"]]
    return torch.stack(kept).mean() if kept else 0 * student.sum()


def right(inputs: Inputs) -> list[bool]:
    chosen = cosines(inputs["teacher"], inputs["text"]).argmax(dim=1)
    return [int(c) == int(y) for c, y in zip(chosen, inputs["target"], strict=True)]


def l_vlprox_of_images(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    wanted, given = (cosines(inputs["text"], rows) / parameters["temperature"] for rows in (inputs["teacher"], student))
    return torch.stack(kl_on_nearest(wanted, given, parameters["k"])).mean()


def l_cap(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    cosine, label = cosines(student, inputs["caption"]), inputs["target"].tolist()
    terms = []
    for i in range(len(label)):
        candidates = [j for j in range(len(label)) if j == i or label[j] != label[i]]
        terms.append(torch.logsumexp(cosine[i, candidates], dim=0) - cosine[i, i])
    return torch.stack(terms).mean()


def total(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    told = {"k": 256, "filter": True, **parameters}
    return sum((one(student, inputs, told) for one in (l_cls, l_vlprox, l_cap, l_mse)), l_imcst(student, inputs, told))


def hinge(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    cosine = cosines(student, inputs["text"])
    rows = [(row - row[int(y)] + 0.2).clamp_min(0).sum() for row, y in zip(cosine, inputs["target"], strict=True)]
    return torch.stack(rows).mean()


def neighbourhoods(student: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    wanted, given = (cosines(rows, rows) / parameters["temperature"] for rows in (inputs["teacher"], student))
    return torch.stack(kl_on_nearest(wanted, given, parameters["k"])).mean()


def relative(student: Tensor, inputs: Inputs, parameters: Parameters, *, variant: str) -> Tensor:
    s, t = unit(student), unit(inputs["teacher"])
    if variant == "relative_angle_direction":
        return 5 * angles(s[::2], t[::2])
    terms = []
    for i, j in itertools.permutations(range(len(s)), 2):
        d, e = s[i] - s[j], t[i] - t[j]
        if variant == "norm_diff_rkd":
            gap = (d.norm() - e.norm()).abs()
            terms.append(gap.square() / 2 if gap < 0.5 else 0.5 * (gap - 0.25))
        elif variant == "norm_diff_ours":
            terms.append((d - e).norm())
        else:
            terms.append((d / (d.norm() + 1e-6) - e / (e.norm() + 1e-6)).norm())
    return 2 * torch.stack(terms).sum() / len(s) ** 2


def angles(s: Tensor, t: Tensor) -> Tensor:
    gaps = [0 * s.sum()]
    for i, j, k in itertools.product(range(len(s)), repeat=3):
        if i in (j, k):
            continue
        cosine = [
            (a / (a.norm() + 1e-6)) @ (b / (b.norm() + 1e-6)) for a, b in ((x[i] - x[j], x[i] - x[k]) for x in (s, t))
        ]
        gaps.append((cosine[0] - cosine[1]).abs())
    return torch.stack(gaps).sum() / len(s) ** 3


def asymmetric(inputs: Inputs, parameters: Parameters) -> Outputs:
    y = inputs["target"]

    def loss(logits: Tensor, bias: Tensor) -> Tensor:
        p = logits[0].exp() / (logits[0].exp() + logits[1].exp())
        p = (p + torch.tanh(bias)).clamp(0, 1)
        n = (1 - p + parameters["clip"]).clamp_max(1)
        gamma = parameters["gamma_pos"] * y + parameters["gamma_neg"] * (1 - y)
        focus = (1 - (y * p + (1 - y) * n)).detach() ** gamma
        eps = parameters["eps"]
        return -(focus * (y * p.clamp_min(eps).log() + (1 - y) * n.clamp_min(eps).log())).sum(dim=1).mean()

    return with_gradients(loss, inputs, "logits", "score_bias")


def of_student(formula: Formula, inputs: Inputs, parameters: Parameters) -> Outputs:
    return with_gradients(lambda student: formula(student, inputs, parameters), inputs, "student")


def lcls_outputs(inputs: Inputs, parameters: Parameters) -> Outputs:
    chosen, label = cosines(inputs["student"], inputs["text"]).argmax(dim=1), inputs["target"]
    each = [(chosen[label == c] == c).double().mean() for c in label.unique()]
    return {
        **of_student(l_cls, inputs, parameters),
        "per_class_mean_accuracy_percent": 100 * torch.stack(each).mean(),
    }


def vlprox_outputs(inputs: Inputs, parameters: Parameters) -> Outputs:
    kept = [keep or not parameters["filter"] for keep in right(inputs)]
    return {**of_student(l_vlprox, inputs, parameters), "kept": torch.tensor(kept)}


def caption_outputs(inputs: Inputs, parameters: Parameters) -> Outputs:
    both = l_cls(inputs["student"], inputs, {"temperature": 0.07}) + l_cap(inputs["student"], inputs, parameters)
    return {**of_student(l_cap, inputs, parameters), "loss_cls_plus_cap": both}


def all_filtered_outputs(inputs: Inputs, parameters: Parameters) -> Outputs:
    found = of_student(l_cls, inputs, parameters)
    return {"loss_cls_plus_vlprox_required": found["loss"], "grad_student_required": found["grad_student"]}


def images(draw: Draw, *, rows: tuple[int, int] = (2, 40), caption: bool = False, **parameters: Any) -> Any:
    """Images, teacher features near them for some, class texts; the sizes are parameters, the teacher often right."""
    n, c, d = draw.size(*rows), draw.size(2, 40), draw.size(2, 40)
    text, label = draw.normal(c, d), draw.integers(c, n)
    inputs = {"student": draw.normal(n, d), "teacher": text[label] + draw.normal(n, d), "text": text, "target": label}
    if caption:
        inputs["caption"] = draw.normal(n, d)
    return inputs, {**parameters, "N": n, "C": c, "D": d}


def with_temperature(draw: Draw, **options: Any) -> Any:
    return images(draw, temperature=draw.pick(0.02, 0.07, draw.number(0.03, 2)), **options)


def with_mode(draw: Draw) -> Any:
    return with_temperature(draw, mode=draw.pick("single", "bidirectional"))


def with_nearest(draw: Draw) -> Any:
    k = draw.pick(1, 2, 7, 256)
    inputs, parameters = with_temperature(draw, k=k, filter=draw.pick(True, False))
    return inputs, {**parameters, "k_used": min(k, parameters["C"])}


def with_neighbours(draw: Draw) -> Any:
    k = draw.pick(1, 3, 10, 99)
    inputs, parameters = with_temperature(draw, k=k)
    return inputs, {**parameters, "k_used": min(k, parameters["N"])}


def single_class(draw: Draw) -> Any:
    inputs, parameters = images(draw, caption=True)
    return {**inputs, "target": torch.full_like(inputs["target"], 1)}, {key: parameters[key] for key in "ND"}


def batch_of_one(draw: Draw) -> Any:
    inputs, parameters = with_temperature(draw, rows=(1, 1))
    return inputs, {key: parameters[key] for key in ("N", "D", "temperature")}


def all_wrong(draw: Draw) -> Any:
    inputs, parameters = with_temperature(draw, k=draw.pick(1, 3, 256))
    chosen = cosines(inputs["teacher"], inputs["text"]).argmax(dim=1)
    return {**inputs, "target": (chosen + 1) % parameters["C"]}, parameters


def multi_label(draw: Draw) -> Any:
    n, c = draw.size(1, 20), draw.size(1, 20)
    inputs = {
        "logits": draw.normal(2, n, c),
        "target": draw.integers(2, n, c).double(),
        "score_bias": draw.normal(scale=0.2),
    }
    gammas = {"gamma_neg": draw.pick(0, 1, 2, 4), "gamma_pos": draw.pick(0, 1, 2)}
    return inputs, {**gammas, "clip": draw.pick(0.0, 0.05, 0.2), "eps": draw.pick(1e-8, 1e-4)}


RELATIVE = ("norm_diff_rkd", "norm_diff_ours", "norm_diff_direction_ours", "relative_angle_direction")
REFERENCES = {
    "ood_lcls": Reference(with_temperature, lcls_outputs),
    "ood_mse_norm": Reference(images, partial(of_student, l_mse)),
    "ood_mse_unnorm": Reference(images, partial(of_student, l_mse_raw)),
    "ood_imcst": Reference(with_mode, partial(of_student, l_imcst)),
    "ood_vlprox": Reference(with_nearest, vlprox_outputs),
    "ood_caption": Reference(partial(images, caption=True), caption_outputs),
    "ood_total": Reference(partial(with_temperature, caption=True), partial(of_student, total)),
    "ood_asymmetric": Reference(multi_label, asymmetric),
    "edge_caption_single_class": Reference(single_class, partial(of_student, l_cap)),
    "edge_imcst_batch1": Reference(batch_of_one, partial(of_student, l_imcst)),
    "edge_vlprox_all_filtered": Reference(all_wrong, all_filtered_outputs),
    "ooddev_hinge": Reference(with_temperature, partial(of_student, hinge)),
    "ooddev_imcst_kl": Reference(partial(with_temperature, rows=(10, 40)), partial(of_student, l_imcst_kl)),
    "ooddev_imcst_otherclass": Reference(with_temperature, partial(of_student, partial(l_imcst, same_class=False))),
    "ooddev_neighkl": Reference(with_neighbours, partial(of_student, neighbourhoods)),
    "ooddev_vlprox_axis0": Reference(
        lambda draw: with_temperature(draw, k=draw.pick(1, 4, 9)), partial(of_student, l_vlprox_of_images)
    ),
    **{
        f"ooddev_relvec_{variant}": Reference(
            partial(with_temperature, rows=(2, 12)), partial(of_student, partial(relative, variant=variant))
        )
        for variant in RELATIVE
    },
}
