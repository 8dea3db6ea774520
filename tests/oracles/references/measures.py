"""Metrics and protocols of the OOD paper (methods 1.10 to 1.12); Many, Medium and Few (9)."""

import itertools
import math
from typing import Any

import numpy as np
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
)


def metrics(inputs: Inputs, parameters: Parameters) -> Outputs:
    s, t, text = (unit(inputs[name]) for name in ("student", "teacher", "text"))
    n, k = len(s), min(parameters["k_neigh"], len(s) - 1)
    between = torch.stack([(row - t).norm(dim=1) for row in s])
    nearer = [[between[i, i] < between[i, j] for j in range(n) if j != i] for i in range(n)]
    pairs = list(itertools.combinations(range(n), 2))
    alike = [torch.stack([rows[i] @ rows[j] for i, j in pairs]) for rows in (s, t)]
    shared = [len(nearest(s, i, k) & nearest(t, i, k)) for i in range(n)]
    order_s, order_t = s @ text.T, t @ text.T
    per_image, per_text = inversions(order_t, order_s), inversions(order_t.T, order_s.T)
    tau, chosen = parameters["temperature"], order_t.argmax(dim=1)
    kls = []
    for wanted, given in zip(order_t / tau, order_s / tau, strict=True):
        kept = (-wanted).argsort()[: parameters["k_text"]]
        kls.append(divergence(wanted[kept], given[kept]))
    return {
        "m_rel": np.mean([all(row) for row in nearer]),
        "m_rel_pairwise": np.mean(nearer),
        "m_rel_correlation": np.corrcoef(*(one.numpy() for one in alike))[0, 1],
        "m_neigh": np.mean(shared) / k,
        "m_vlalign_inversions": per_image,
        "m_vlalign_normalised": per_image / math.comb(len(text), 2),
        "m_vlalign_per_text_inversions": per_text,
        "m_vlalign_per_text_normalised": per_text / math.comb(n, 2),
        "vl_kl": torch.stack(kls).mean(),
        "agreement": (order_s.argmax(dim=1) == chosen).double().mean(),
        "teacher_correct": (chosen == inputs["target"]).double().mean(),
    }


def nearest(rows: Tensor, i: int, k: int) -> set[int]:
    """The k neighbours of image i by cosine."""
    return set(sorted((j for j in range(len(rows)) if j != i), key=(-rows @ rows[i]).tolist().__getitem__)[:k])


def inversions(first: Tensor, second: Tensor) -> float:
    """Pairs of columns that two score matrices order oppositely, mean over rows."""
    signs = [torch.sign(scores[:, :, None] - scores[:, None]) for scores in (first, second)]
    return float((signs[0] * signs[1] < 0).sum()) / 2 / len(first)


def eigenspectrum(inputs: Inputs, parameters: Parameters) -> Outputs:
    rows = unit(inputs["text"]).numpy()
    centred = rows - rows.mean(axis=0)
    values = np.sort(np.linalg.eigvalsh(centred.T @ centred / len(rows)))[::-1][: min(rows.shape)]
    share = values[values > 1e-15] / values[values > 1e-15].sum()
    cosine = rows @ rows.T - 9 * np.eye(len(rows))
    return {
        "eigenvalues": np.ascontiguousarray(values),
        "singular_values_uncentred": np.linalg.svd(rows, compute_uv=False),
        "effective_rank": math.exp(-(share * np.log(share)).sum()),
        "participation_ratio": values.sum() ** 2 / (values**2).sum(),
        "mean_nearest_cosine": cosine.max(axis=1).mean(),
    }


def accuracy(scores: Tensor, label: Tensor) -> float:
    return 100 * float(np.mean([(scores[label == c].argmax(dim=1) == c).double().mean() for c in label.unique()]))


def evaluated(inputs: Inputs, parameters: Parameters) -> Outputs:
    cosine = unit(inputs["student"]) @ unit(inputs["text"]).T
    loss = cross_entropy(cosine / parameters["temperature"], inputs["target"])
    return {"mean_per_class_accuracy_percent": accuracy(cosine, inputs["target"]), "test_loss": loss}


def retrieved(inputs: Inputs, parameters: Parameters) -> Outputs:
    student = unit(inputs["student"])
    scores = student @ unit(inputs["text"]).T
    for c, copies in enumerate(unit(inputs["support"])):
        scores[:, c] += parameters["alpha"] * torch.exp(-parameters["beta"] * (1 - student @ copies.T)).sum(dim=1)
    loss = cross_entropy(scores, inputs["target"])
    return {"mean_per_class_accuracy_percent": accuracy(scores, inputs["target"]), "test_loss": loss}


def sampler(inputs: Inputs, parameters: Parameters) -> Outputs:
    rows = []
    for num_images, num_support, batch_size in inputs["cases"].tolist():
        num_base, half = num_images - num_support, batch_size // 2
        drawn, own = (half, half) if num_support > half else (num_support, batch_size - num_support)
        batches = num_base // own + 1
        rows.append([batches * drawn + num_base, batches * drawn, num_base])
    return {"counts": torch.tensor(rows)}


def shots(inputs: Inputs, parameters: Parameters) -> Outputs:
    groups: dict[str, list[float]] = {"many": [], "medium": [], "few": []}
    for c in inputs["test_labels"].unique().tolist():
        trained = int((inputs["train_labels"] == c).sum())
        right = inputs["predictions"][inputs["test_labels"] == c] == c
        groups["many" if trained > 100 else "few" if trained < 20 else "medium"].append(float(right.double().mean()))
    each = [
        float((inputs["predictions"][inputs["test_labels"] == c] == c).double().mean())
        for c in inputs["test_labels"].unique()
    ]
    return {**{name: np.mean(found) if found else 0.0 for name, found in groups.items()}, "per_class": np.array(each)}


def metric_inputs(draw: Draw) -> Any:
    n, c, d = draw.size(3, 30), draw.size(2, 15), draw.size(2, 20)
    text, label = draw.normal(c, d), draw.integers(c, n)
    teacher = text[label] + draw.normal(n, d)
    inputs = {"student": teacher + draw.normal(n, d, scale=draw.pick(0.2, 2)), "teacher": teacher, "text": text}
    k = {"k_neigh": draw.pick(1, 5, 10, 50), "k_text": draw.pick(1, 3, 256)}
    return {**inputs, "target": label}, {**k, "temperature": draw.pick(0.07, 0.5)}


def texts(draw: Draw) -> Any:
    c, d = draw.size(2, 40), draw.size(2, 40)
    return {"text": draw.normal(c, d)}, {"C": c, "D": d}


def evaluation(draw: Draw, **parameters: Any) -> Any:
    n, c, d = draw.size(1, 50), draw.size(2, 60), draw.size(2, 30)
    inputs = {"student": draw.normal(n, d), "text": draw.normal(c, d), "target": draw.integers(c, n)}
    return inputs, {**parameters, "N": n, "C": c, "D": d}


def with_support(draw: Draw) -> Any:
    inputs, sizes = evaluation(draw, alpha=draw.pick(0.5, 1.0, 3.0), beta=draw.pick(1.0, 5.5))
    copies = draw.size(1, 6)
    return {**inputs, "support": draw.unit(sizes["C"], copies, sizes["D"])}, {**sizes, "S": copies}


def cases(draw: Draw) -> Any:
    rows = []
    for _ in range(5):
        batch_size = draw.size(2, 40)
        num_support = draw.size(1, draw.pick(batch_size - 1, 90))
        rows.append([num_support + draw.pick(draw.size(1, 200), batch_size // 2), num_support, batch_size])
    return {"cases": torch.tensor([row for row in rows if row[1] != row[2]])}, {}


def shot_inputs(draw: Draw) -> Any:
    c = draw.size(3, 12)
    counts = [draw.pick(0, 1, 19, 20, 60, 100, 101, 300) for _ in range(c)]
    test = draw.integers(c, draw.size(1, 200))
    guess = torch.where(draw.normal(len(test)) > 0, test, draw.integers(c, len(test)))
    return {
        "train_labels": torch.repeat_interleave(torch.arange(c), torch.tensor(counts)),
        "test_labels": test,
        "predictions": guess,
    }, {}


REFERENCES = {
    "reading_metrics": Reference(metric_inputs, metrics),
    "reading_eigenspectrum": Reference(texts, eigenspectrum),
    "ood_eval": Reference(lambda draw: evaluation(draw, temperature=draw.pick(0.02, 0.07, 1.0)), evaluated),
    "ood_tip": Reference(with_support, retrieved),
    "ood_fewshot_sampler": Reference(cases, sampler, {"int": {"exact": True}}),
    "shot_acc": Reference(shot_inputs, shots),
}
