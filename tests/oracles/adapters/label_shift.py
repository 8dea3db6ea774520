"""LiVT and the label-shift family (methods 3.3), and RISE (methods 4)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.losses.formulas.binary_cross_entropy import binary_cross_entropy
from orchestrator.losses.formulas.class_prior import class_prior, effective_number_weight, smoothed
from orchestrator.losses.formulas.label_aware_smoothing import label_aware_smoothing, smoothing_of_classes
from orchestrator.losses.formulas.lade import lade
from orchestrator.losses.formulas.ldam import ldam, ldam_margin
from orchestrator.losses.formulas.logit_adjusted_cross_entropy import logit_adjusted_cross_entropy
from orchestrator.losses.formulas.rise import Rise
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters

LIVT_BETA = 0.9999  # methods 3.3, where a manifest does not tell it

Formula = Callable[[Tensor, Inputs, Parameters], Tensor]


def of_logits(formula: Formula) -> Adapter:
    """Value and gradient of one of the formulas."""

    def adapter(inputs: Inputs, parameters: Parameters) -> Outputs:
        logits = inputs["logits"].requires_grad_()
        parameters.sizes(N=len(logits), C=logits.shape[1])
        loss = formula(logits, inputs, parameters)
        return {"loss": loss, "grad_logits": torch.autograd.grad(loss, logits)[0]}

    return adapter


def one_hot(inputs: Inputs) -> Tensor:
    return F.one_hot(inputs["target"], inputs["logits"].shape[1]).to(inputs["logits"].dtype)


def binary_target(inputs: Inputs, parameters: Parameters) -> Tensor:
    """The official code smooths labels; a mixup target comes to it smoothed."""
    label_smoothing = parameters["smoothing"]
    return inputs["soft_target"] if "soft_target" in inputs else smoothed(one_hot(inputs), label_smoothing)


def bce(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    return binary_cross_entropy(logits, binary_target(inputs, parameters))


def cb_bce(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    weight = effective_number_weight(inputs["class_counts"].tolist(), parameters.get("beta", LIVT_BETA))
    return binary_cross_entropy(logits, binary_target(inputs, parameters), class_weight=weight)


def bal_bce(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    log_odds = torch.logit(class_prior(inputs["class_counts"].tolist()))
    return binary_cross_entropy(
        logits,
        binary_target(inputs, parameters),
        log_odds=log_odds,
        tau=parameters.get("tau", 1.0),
        target_threshold=parameters.get("target_threshold"),
    )


def cross_entropy(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    """CE, LS-CE, CB-CE and Bal-CE: options of one formula."""
    count = inputs["class_counts"].tolist()
    weight = effective_number_weight(count, parameters["beta"]) if "beta" in parameters else None
    return logit_adjusted_cross_entropy(
        logits,
        inputs.get("soft_target", inputs["target"]),
        torch.log(class_prior(count)),
        tau=parameters.get("tau", 0.0),
        label_smoothing=parameters.get("smoothing", 0.0),
        class_weight=weight,
    )


def margin(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    margins = ldam_margin(inputs["class_counts"].tolist(), parameters["max_margin"])
    return ldam(logits, one_hot(inputs), margins, scale=parameters["scale"])


def label_aware(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    smoothing = smoothing_of_classes(
        inputs["class_counts"].tolist(),
        parameters["shape"],
        head=parameters["smooth_head"],
        tail=parameters["smooth_tail"],
    )
    return label_aware_smoothing(logits, one_hot(inputs), smoothing)


def disentangling(logits: Tensor, inputs: Inputs, parameters: Parameters) -> Tensor:
    prior = class_prior(inputs["class_counts"].tolist())
    return lade(logits, inputs["target"], prior, remine_lambda=parameters["remine_lambda"])


def rise(inputs: Inputs, parameters: Parameters) -> Outputs:
    embedding, logits = inputs["student_embedding"].requires_grad_(), inputs["student_logits"].requires_grad_()
    domain = inputs["domain_text_raw"]
    parameters.sizes(N=len(logits), C=logits.shape[1], K=domain.shape[1], D=domain.shape[2])
    given = embedding, logits, inputs["teacher_image"], inputs["text_anchor_raw"], domain, inputs["target"]
    temperature, scale = parameters["T"], parameters["teacher_logit_scale"]
    weights = [parameters[f"weight_{part}"] for part in ("kl", "ce", "distance")]
    every_part = Rise(temperature=temperature, logit_scale=scale, kl_weight=1, ce_weight=1, distance_weight=1)
    every_part(*given)  # a part of weight 0, which the total leaves out, is stored all the same
    kl, ce, distance = weights
    loss = Rise(temperature=temperature, logit_scale=scale, kl_weight=kl, ce_weight=ce, distance_weight=distance)
    total = loss(*given)
    gradients = torch.autograd.grad(total, (embedding, logits), materialize_grads=True)
    return {**every_part.observed(), "total": total, "grad_embedding": gradients[0], "grad_logits": gradients[1]}


ADAPTERS: dict[str, Adapter] = {
    "livt_bce": of_logits(bce),
    "livt_cb_bce": of_logits(cb_bce),
    "livt_bal_bce": of_logits(bal_bce),
    "livt_bal_bce_thr": of_logits(bal_bce),
    "livt_ce": of_logits(cross_entropy),
    "livt_bal_ce": of_logits(cross_entropy),
    "livt_ls_ce": of_logits(cross_entropy),
    "livt_cb_ce": of_logits(cross_entropy),
    "livt_ldam": of_logits(margin),
    **{f"livt_label_aware_smooth_{shape}": of_logits(label_aware) for shape in ("concave", "linear", "convex")},
    "livt_lade": of_logits(disentangling),
    "rise": rise,
}
