"""ProCo with its Bessel functions and cosine classifier, PaCo, GPaCo, their queue and their multi-task baseline."""

import torch
from torch import Tensor

from orchestrator.losses.formulas.class_prior import class_prior
from orchestrator.losses.formulas.key_queue import KeyQueue
from orchestrator.losses.formulas.parametric_contrastive import (
    effective_number_weights,
    floored_log_prior,
    multitask_supcon_loss,
    parametric_contrastive_loss,
)
from orchestrator.losses.formulas.proco import ProCoEstimator, concentration, proco_loss
from orchestrator.losses.formulas.projection_head import follow
from orchestrator.losses.formulas.supervised_contrastive import view_rows
from orchestrator.losses.formulas.von_mises_fisher import bessel_ratio, log_vmf_normalizer
from orchestrator.students.networks.cosine_classifier import cosine_logits
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters


def log_ratio(inputs: Inputs, parameters: Parameters) -> Outputs:
    kappa, dim = inputs["kappa"].requires_grad_(), parameters["p"]
    value = log_vmf_normalizer(kappa, dim)
    derivative = torch.autograd.grad(value.sum(), kappa)[0]
    exact = bessel_ratio(kappa, dim)
    return {"value": value, "derivative": derivative, "exact_value": value, "exact_derivative": exact}


def proco(inputs: Inputs, parameters: Parameters) -> Outputs:
    count = inputs["class_counts"]
    num_rows, dim = inputs["view1_0"].shape
    parameters.sizes(N=num_rows, C=len(count), D=dim)
    dtype = inputs["view1_0"].dtype
    estimator = ProCoEstimator(len(count), dim).to(dtype)
    estimator.old.mean.copy_(inputs["init_mean_old"])
    estimator.current.mean.copy_(inputs["init_mean_new"])
    start = concentration(estimator.current.mean)
    torch.testing.assert_close(start, inputs["init_kappa"].double(), rtol=1e-4, atol=0)
    log_prior = torch.log(class_prior(count.tolist()))
    got: Outputs = {}
    for step in range(parameters["epochs"] * parameters["steps_per_epoch"]):
        epoch, within = divmod(step, parameters["steps_per_epoch"])
        if within == 0:
            estimator.start_epoch(epoch)
            estimator.current.mean.copy_(inputs[f"mean_new_after_reset_epoch{epoch}"])  # the stored random numbers
        views = [inputs[f"view{view}_{step}"].requires_grad_() for view in (1, 2)]
        label = inputs[f"labels_{step}"]
        logits = [estimator(view, label, temperature=parameters["temperature"]) for view in views]
        loss = proco_loss(logits, label, log_prior)
        gradients = torch.autograd.grad(loss, views)
        kappa = concentration(estimator.old.mean)
        seen = {
            "logits1": logits[0],
            "logits2": logits[1],
            "loss": loss,
            "grad_view1": gradients[0],
            "grad_view2": gradients[1],
            "mean_old": estimator.old.mean.clone(),
            "count_old": estimator.old.count.clone(),
            "kappa_old": kappa,
            "logc_old": log_vmf_normalizer(kappa, dim),
            "mean_new": estimator.current.mean.clone(),
            "count_new": estimator.current.count.clone(),
        }
        got |= {f"{name}_{step}": value for name, value in seen.items()}
    return got


def cosine_classifier(inputs: Inputs, parameters: Parameters) -> Outputs:
    feature, weight = inputs["x"].requires_grad_(), inputs["weight"].requires_grad_()  # stored [d, C]
    logits = cosine_logits(feature, weight.T, scale=parameters["scale"])
    gradients = torch.autograd.grad(logits, (feature, weight), inputs["upstream"])
    return {"logits": logits, "grad_x": gradients[0], "grad_weight": gradients[1]}


def parametric_contrast(inputs: Inputs, parameters: Parameters) -> Outputs:
    """Of PaCo, whose anchors are view 1, and of GPaCo, whose anchors are both views."""
    features, logits = inputs["features"].requires_grad_(), inputs["sup_logits"].requires_grad_()
    label, count = inputs["labels"], inputs["class_counts"]
    num_anchors = len(logits)
    _check_sizes(parameters, features, logits)
    log_prior = floored_log_prior(count) if parameters.get("use_prior", True) else None
    loss = parametric_contrastive_loss(
        features[:num_anchors],
        features,
        logits,
        label[:num_anchors],
        label,
        torch.arange(num_anchors),
        alpha=parameters["alpha"],
        beta=parameters["beta"],
        gamma=parameters["gamma"],
        supt=parameters["supt"],
        temperature=parameters["temperature"],
        base_temperature=parameters["base_temperature"],
        smooth=parameters.get("smooth", 0.0),
        log_prior=log_prior,
    )
    gradients = torch.autograd.grad(loss, (features, logits))
    return {"loss": loss, "grad_features": gradients[0], "grad_sup_logits": gradients[1]}


def multitask(inputs: Inputs, parameters: Parameters) -> Outputs:
    features, logits = inputs["features"].requires_grad_(), inputs["sup_logits"].requires_grad_()
    label, count = inputs["labels"], inputs["class_counts"]
    num_anchors = len(logits)
    _check_sizes(parameters, features, logits)
    for unused in ("beta", "gamma", "supt", "base_temperature"):
        assert parameters[unused] != 0, "the official outputs do not depend on it"
    weight = effective_number_weights(count, "as_code")
    loss = multitask_supcon_loss(
        features[:num_anchors],
        features,
        logits,
        label[:num_anchors],
        label,
        torch.arange(num_anchors),
        log_prior=floored_log_prior(count),
        class_weight=weight,
        alpha=parameters["alpha"],
        temperature=parameters["temperature"],
    )
    gradients = torch.autograd.grad(loss, (features, logits))
    return {
        "loss": loss,
        "grad_features": gradients[0],
        "grad_sup_logits": gradients[1],
        "class_weight": weight[None],
    }


def _check_sizes(parameters: Parameters, features: Tensor, logits: Tensor) -> None:
    batch_size = parameters["B"]
    parameters.sizes(C=logits.shape[1], D=features.shape[1], K=len(features) - 2 * batch_size)
    assert len(logits) % batch_size == 0


def paco_queue(inputs: Inputs, parameters: Parameters) -> Outputs:
    return _queue(inputs, parameters, num_anchor_views=1)


def gpaco_queue(inputs: Inputs, parameters: Parameters) -> Outputs:
    return _queue(inputs, parameters, num_anchor_views=2)


def _queue(inputs: Inputs, parameters: Parameters, num_anchor_views: int) -> Outputs:
    size, dim = inputs["queue0"].shape
    parameters.sizes(K=size, dim=dim, B=len(inputs["keys_0"]))
    queue = KeyQueue(size, dim, int(inputs["queue_labels0"].max()) + 1).to(inputs["queue0"].dtype)
    queue.vectors.copy_(inputs["queue0"])
    queue.labels.copy_(inputs["queue_labels0"])
    momentum, copied = parameters["m"], inputs.get("param_k_0")
    got: Outputs = {}
    for step in range(sum(name.startswith("keys_") for name in inputs)):
        keys, label = inputs[f"keys_{step}"], inputs[f"labels_{step}"]
        if copied is not None:
            follow(copied, inputs[f"param_q_{step + 1}"], momentum)
            got[f"param_k_{step}"] = copied.clone()
        rows, labels = view_rows(torch.stack([keys, keys], dim=1), label)
        candidates, candidate_labels = queue.behind(rows, labels)
        got[f"features_queue_part_{step}"] = candidates[len(rows) :]
        got[f"labels_all_{step}"] = candidate_labels
        got[f"n_sup_logit_rows_{step}"] = num_anchor_views * len(keys)
        queue.push(keys, label)
        got[f"queue_{step}"] = queue.vectors.clone()
        got[f"queue_labels_{step}"] = queue.labels.clone()
        got[f"pointer_{step}"] = queue.pointer.clone()
    return got


ADAPTERS: dict[str, Adapter] = {
    "proco_logratio": log_ratio,
    "proco": proco,
    "cosine_classifier": cosine_classifier,
    "paco": parametric_contrast,
    "gpaco": parametric_contrast,
    "multitask_supcon": multitask,
    "paco_queue": paco_queue,
    "gpaco_queue": gpaco_queue,
}
