"""The peers' distillation losses (methods 5): of logits, features and maps."""

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
    log_softmax,
    unit,
    with_gradients,
)

Formula = Callable[[Tensor, Tensor, Inputs, Parameters], Tensor]


def kd(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    t = parameters["T"]
    return t**2 * divergence(teacher / t, student / t).mean()


def decoupled(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    t, terms = parameters["T"], []
    for s, g, y in zip(student / t, teacher / t, inputs["target"].tolist(), strict=True):
        others = [c for c in range(len(s)) if c != y]
        p, q = log_softmax(g).exp(), log_softmax(s).exp()
        target = p[y] * (p[y] / q[y]).log()
        target = target + p[others].sum() * (p[others].sum() / q[others].sum()).log()
        terms.append(parameters["alpha"] * target + parameters["beta"] * divergence(g[others], s[others]))
    return t**2 * torch.stack(terms).mean()


def torchdistill(
    student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters, *, standardise: bool = False
) -> Tensor:
    t, alpha = parameters["T"], parameters["alpha"]
    beta = parameters["beta"] if parameters.get("beta") is not None else 1 - alpha
    rows = [(z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-7) for z in (student, teacher)]
    s, g = rows if standardise else (student, teacher)
    soft = divergence(g / t, s / t).mean()
    return alpha * cross_entropy(student, inputs["target"]) + beta * t**2 * soft if alpha else soft


def dist(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    tau = parameters["tau"]
    s, g = (log_softmax(z / tau).exp() for z in (student, teacher))

    def distance(first: Tensor, second: Tensor) -> Tensor:
        a, b = (rows - rows.mean(dim=1, keepdim=True) for rows in (first, second))
        return 1 - (unit(a) * unit(b)).sum(dim=1).mean()

    return tau**2 * (parameters["beta"] * distance(s, g) + parameters["gamma"] * distance(s.T, g.T))


def pooled(grid: Tensor, side: int) -> Tensor:
    """Average over the cells of adaptive pooling: floor(i h / n) to ceil((i + 1) h / n)."""
    h = grid.shape[2]
    cells = [slice(i * h // side, -(-(i + 1) * h // side)) for i in range(side)]
    rows = torch.stack([grid[:, :, cell].mean(dim=2) for cell in cells], dim=2)
    return torch.stack([rows[:, :, :, cell].mean(dim=3) for cell in cells], dim=3)


def alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    side = min(student.shape[2], teacher.shape[2])
    s, t = (grid if grid.shape[2] == side else pooled(grid, side) for grid in (student, teacher))
    return s, t


def attention(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    s, t = (unit((grid ** parameters["p"]).mean(dim=1).flatten(1)) for grid in alike(student, teacher))
    return (s - t).square().mean()


def torchdistill_attention(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    s, t = (unit(grid.square().mean(dim=1).flatten(1)) for grid in (student, teacher))
    return (s - t).square().mean() if parameters["mode"] == "code" else (s - t).norm(dim=1).sum() / len(s)


def similar(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters, *, power: int = 2) -> Tensor:
    grams = [rows @ rows.T for rows in (student.flatten(1), teacher.flatten(1))]
    s, t = (gram / gram.abs().pow(power).sum(dim=1, keepdim=True).pow(1 / power) for gram in grams)
    return (s - t).square().sum() / len(s) ** 2


def smooth_l1(gap: Tensor) -> Tensor:
    return torch.where(gap.abs() < 1, gap.square() / 2, gap.abs() - 0.5)


def relations(student: Tensor, teacher: Tensor, distance: float, angle: float) -> Tensor:
    n, lengths, cosines = len(student), [], []
    for rows in (student, teacher):
        between = rows[:, None] - rows
        apart = ~torch.eye(n, dtype=torch.bool)
        length = torch.zeros(n, n, dtype=torch.float64).masked_scatter(apart, between[apart].norm(dim=1))
        lengths.append(length / length[apart].mean())
        cosines.append(torch.stack([unit(arms) @ unit(arms).T for arms in (rows - row for row in rows)]))
    lost = distance * smooth_l1(lengths[0] - lengths[1]).mean()
    return lost + angle * smooth_l1(cosines[0] - cosines[1]).mean()


def rkd(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return relations(student, teacher, parameters["distance_weight"], parameters["angle_weight"])


def torchdistill_rkd(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return relations(student, teacher, parameters["dist_factor"], parameters["angle_factor"])


def pkt(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    found = []
    for rows in (student, teacher):
        direction = rows / (rows.norm(dim=1, keepdim=True) + 1e-7)
        near = (direction @ direction.T + 1) / 2
        found.append(near / near.sum(dim=1, keepdim=True))
    s, t = found
    return (t * ((t + 1e-7) / (s + 1e-7)).log()).mean()


def nst(student: Tensor, teacher: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    s, t = (unit(grid.flatten(2)) for grid in alike(student, teacher))

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        return torch.einsum("nap,nbp->nab", first, second).square().mean()

    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)


def crd(inputs: Inputs, parameters: Parameters) -> Outputs:
    t, n, k, eps = (parameters[name] for name in ("T", "n_data", "K", "eps"))
    memories, z, got = [inputs["memory1_0"].clone(), inputs["memory2_0"].clone()], None, {}
    for step in range(sum(name.startswith("index_") for name in inputs)):
        student, own = inputs[f"student_{step}"].clone().requires_grad_(), inputs[f"index_{step}"]
        v = [
            unit(student @ inputs["ws"].T + inputs["bs"]),
            unit(inputs[f"teacher_{step}"] @ inputs["wt"].T + inputs["bt"]),
        ]
        drawn = inputs[f"contrast_index_{step}"]
        scores = [((v[i][:, None] * memories[1 - i][drawn]).sum(dim=2) / t).exp() for i in (0, 1)]
        z = torch.stack([score.mean().detach() * n for score in scores]) if z is None else z
        loss, noise = student.new_zeros(()), k / n
        for score, constant in zip(scores, z, strict=True):
            p = score / constant
            hit = (p[:, 0] / (p[:, 0] + noise + eps)).log().sum()
            loss = loss - (hit + (noise / (p[:, 1:] + noise + eps)).log().sum()) / len(p)
        for memory, vectors in zip(memories, v, strict=True):
            mixed = parameters["momentum"] * memory[own] + (1 - parameters["momentum"]) * vectors.detach()
            memory[own] = mixed / mixed.norm(dim=1, keepdim=True)
        got |= {f"loss_{step}": loss, f"grad_student_{step}": torch.autograd.grad(loss, student)[0]}
        got |= {f"memory1_{step}": memories[0].clone(), f"memory2_{step}": memories[1].clone(), f"Z_{step}": z}
    return got


def of_logits(formula: Formula, inputs: Inputs, parameters: Parameters) -> Outputs:
    teacher = inputs["teacher_logits"]
    return with_gradients(
        lambda s: formula(s, teacher, inputs, parameters), inputs, "student_logits", student_logits="grad_student"
    )


def of_pair(formula: Formula, inputs: Inputs, parameters: Parameters) -> Outputs:
    return with_gradients(lambda s: formula(s, inputs["teacher"], inputs, parameters), inputs, "student")


def logits(draw: Draw, *, rows: tuple[int, int] = (1, 40), **parameters: Any) -> Any:
    n, c, scale = draw.size(*rows), draw.size(2, 40), draw.pick(1, 4)
    given = {f"{side}_logits": draw.normal(n, c, scale=scale) for side in ("student", "teacher")}
    return {**given, "target": draw.integers(c, n)}, {"N": n, "C": c, **parameters}


def with_alpha(draw: Draw, *, beta: bool) -> Any:
    more = {"beta": draw.pick(0.9, 9.0)} if beta else {}
    return logits(draw, T=draw.pick(1.0, 2, 4.0), alpha=draw.pick(0, 0.1, 0.3, 1.0), **more)


def features(draw: Draw, **parameters: Any) -> Any:
    n = draw.size(2, 20)
    given = {"student": draw.normal(n, draw.size(6, 20)), "teacher": draw.normal(n, draw.size(6, 20))}
    return given, {"N": n, "C": draw.size(2, 20), **parameters}


def maps(draw: Draw, *, equal: bool = False, **parameters: Any) -> Any:
    n, side = draw.size(1, 8), draw.size(1, 7)
    other = side if equal else draw.size(1, 9)
    given = {"student": draw.normal(n, draw.size(1, 6), side, side)}
    given["teacher"] = draw.normal(n, draw.size(1, 6), other, other)
    return given, {"N": n, "C": draw.size(2, 20), **parameters}


def crd_inputs(draw: Draw) -> Any:
    n, d, k, dim = draw.size(1, 8), draw.size(20, 400), draw.size(1, 9), draw.size(2, 8)
    d_s, d_t = draw.size(2, 8), draw.size(2, 12)
    inputs = {"memory1_0": draw.unit(d, dim), "memory2_0": draw.unit(d, dim)}
    inputs |= {"ws": draw.normal(dim, d_s), "bs": draw.normal(dim), "wt": draw.normal(dim, d_t), "bt": draw.normal(dim)}
    for step in range(draw.size(1, 4)):
        own = draw.permutation(d)[:n]
        inputs |= {f"student_{step}": draw.normal(n, d_s), f"teacher_{step}": draw.normal(n, d_t)}
        inputs |= {f"index_{step}": own, f"contrast_index_{step}": torch.cat([own[:, None], draw.integers(d, n, k)], 1)}
    options = {"T": draw.pick(0.07, 0.2), "momentum": draw.pick(0.5, 0.9), "eps": draw.pick(1e-7, 1e-5)}
    return inputs, {"N": n, "n_data": d, "K": k, "dim": dim, **options}


REFERENCES = {
    "kd_hinton": Reference(lambda draw: logits(draw, T=draw.pick(1.0, 4.0, 7)), partial(of_logits, kd)),
    "kd_decoupled": Reference(
        lambda draw: logits(draw, alpha=draw.pick(0.0, 1.0), beta=draw.pick(2.0, 8.0), T=draw.pick(1.0, 4.0)),
        partial(of_logits, decoupled),
    ),
    "torchdistill_kd": Reference(partial(with_alpha, beta=False), partial(of_logits, torchdistill)),
    "torchdistill_logitstd": Reference(
        partial(with_alpha, beta=True), partial(of_logits, partial(torchdistill, standardise=True))
    ),
    "torchdistill_dist": Reference(
        lambda draw: logits(draw, rows=(2, 40), beta=draw.pick(0, 1), gamma=draw.pick(1, 2), tau=draw.pick(1, 2)),
        partial(of_logits, dist),
    ),
    "attention_transfer": Reference(lambda draw: maps(draw, p=draw.pick(1, 2, 3, 4)), partial(of_pair, attention)),
    **{
        f"torchdistill_at_{mode}": Reference(
            partial(maps, equal=True, mode=mode), partial(of_pair, torchdistill_attention)
        )
        for mode in ("code", "paper")
    },
    "sp": Reference(features, partial(of_pair, similar)),
    "torchdistill_spkd": Reference(features, partial(of_pair, partial(similar, power=1))),
    "rkd": Reference(
        lambda draw: features(draw, distance_weight=draw.pick(0, 25), angle_weight=draw.pick(0, 50)),
        partial(of_pair, rkd),
    ),
    "torchdistill_rkd": Reference(
        lambda draw: features(draw, dist_factor=draw.pick(0, 1), angle_factor=draw.pick(1, 2)),
        partial(of_pair, torchdistill_rkd),
    ),
    "pkt": Reference(features, partial(of_pair, pkt)),
    "nst": Reference(maps, partial(of_pair, nst)),
    "crd": Reference(crd_inputs, crd),
}
