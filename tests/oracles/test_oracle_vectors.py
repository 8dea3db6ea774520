"""Our formulas against the official codes' outputs and gradients, stored as vectors outside the project.

The folder is ORACLE_VECTORS, else `vectors` of the shared materials; without one every test skips with a reason. Each
vector's own float64 tolerance is used as it stands. Vectors of kinds that we do not have are not looked at.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.losses.formulas.image_distillation import feature_distillation, logit_distillation
from orchestrator.losses.formulas.logit_adjusted_cross_entropy import logit_adjusted_cross_entropy
from orchestrator.losses.formulas.text_contrastive import text_contrastive_loss

MATERIALS = os.environ.get("SHARED_MATERIALS") or Path(__file__).resolve().parents[3] / "shared"
FOLDER = Path(os.environ.get("ORACLE_VECTORS") or Path(MATERIALS) / "vectors")

Inputs = dict[str, Tensor]
Outputs = dict[str, Any]


def _logit_adjust(inputs: Inputs, parameters: dict[str, Any]) -> Outputs:
    count = inputs["class_counts"]
    logits = inputs["logits"].requires_grad_()
    weight = inputs["weight"] if parameters["class_weights"] else None
    loss = logit_adjusted_cross_entropy(
        logits, inputs["target"], torch.log(count / count.sum()), tau=parameters["tau"], class_weight=weight
    )
    return {"loss": loss, "grad_logits": torch.autograd.grad(loss, logits)[0]}


def _text_contrastive(inputs: Inputs, parameters: dict[str, Any]) -> Outputs:
    prediction, tau = inputs["adaptor_output"].requires_grad_(), inputs["tau"].requires_grad_()
    text = inputs["text_features"].transpose(0, 1)  # stored [Q, N, e]
    num_rows, num_texts = text.shape[:2]
    text_id = torch.arange(num_rows * num_texts).reshape(num_rows, num_texts)
    loss = text_contrastive_loss(prediction, text, text_id, 1 / tau)
    each = [slice(q, q + 1) for q in range(num_texts)]
    means = [text_contrastive_loss(prediction, text[:, q], text_id[:, q], 1 / tau) for q in each]
    sums = [text_contrastive_loss(prediction, text[:, q], text_id[:, q], 1 / tau, reduction="sum") for q in each]
    gradients = torch.autograd.grad(loss, (prediction, tau))
    return {
        "loss": loss,
        "per_prompt": torch.stack(means),
        "batch_sum_form": torch.stack(sums),
        "grad_adaptor_output": gradients[0],
        "grad_tau": gradients[1],
    }


def _image_distillation(inputs: Inputs, parameters: dict[str, Any]) -> Outputs:
    logits, feature = inputs["student_logits"].requires_grad_(), inputs["student_feature"].requires_grad_()
    kl = logit_distillation(logits, inputs["teacher_logits"], "teacher_to_student")
    summed = feature_distillation(feature, inputs["teacher_feature"], raw=True)
    return {
        "kl": kl,
        "kl_reverse": logit_distillation(logits, inputs["teacher_logits"], "student_to_teacher"),
        "feature_sum": summed,
        "feature_mean": feature_distillation(feature, inputs["teacher_feature"], raw=True, mean_dims=True),
        "grad_logits": torch.autograd.grad(kl, logits)[0],
        "grad_feature_sum": torch.autograd.grad(summed, feature)[0],
    }


def _shot_accuracy(inputs: Inputs, parameters: dict[str, Any]) -> Outputs:
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    num_classes = int(max(labels.max() for labels in arrays.values())) + 1
    test, right = arrays["test_labels"], arrays["test_labels"] == arrays["predictions"]
    correct, total, trained = (
        np.bincount(labels, minlength=num_classes) for labels in (test[right], test, arrays["train_labels"])
    )
    got = shot_accuracy(correct, total, trained, empty_group=0.0)
    per_class = correct[total > 0] / total[total > 0]
    return {**{name: got[name] for name in ("many", "medium", "few")}, "per_class": per_class}


CHECKS: dict[str, Callable[[Inputs, dict[str, Any]], Outputs]] = {
    "logit_adjust": _logit_adjust,
    "reading_vlmkd_ltext": _text_contrastive,
    "reading_vlmkd_kdi": _image_distillation,
    "shot_acc": _shot_accuracy,
}


def _names_by_kind() -> dict[str, list[str]]:
    index = FOLDER / "INDEX.json"
    vectors = json.loads(index.read_text())["vectors"] if index.is_file() else []
    return {kind: [vector["name"] for vector in vectors if vector["kind"] == kind] for kind in CHECKS}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in _names_by_kind().items() for name in names])
def test_outputs_and_gradients_agree_with_the_official_code(kind: str, name: str) -> None:
    manifest = json.loads((FOLDER / f"{name}.json").read_text())
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        stored = {key: torch.from_numpy(np.array(arrays[key])) for key in arrays}
    inputs = {
        key.removeprefix("in_"): tensor.double() if tensor.is_floating_point() else tensor
        for key, tensor in stored.items()
        if key.startswith("in_")
    }
    got = CHECKS[kind](inputs, manifest["parameters"])
    assert {f"out_{key}" for key in got} == set(manifest["outputs"]), "every stored output is compared"
    tolerance = manifest["tolerance"]["float64"]
    for key, value in got.items():
        actual = torch.as_tensor(value, dtype=torch.float64).detach()
        torch.testing.assert_close({key: actual}, {key: stored[f"out_{key}"].double()}, **tolerance)


@pytest.mark.parametrize("kind", CHECKS)
def test_there_are_vectors_of_every_kind_that_we_check(kind: str) -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no oracle vectors at {FOLDER}; say where they are with ORACLE_VECTORS")
    assert _names_by_kind()[kind]
