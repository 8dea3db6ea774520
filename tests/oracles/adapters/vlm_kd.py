"""VLM-KD: L_text (Eq. 2), KD-I (Eq. 4), logit-adjusted cross-entropy (Eq. 1)."""

import torch

from orchestrator.losses.formulas.class_prior import class_prior
from orchestrator.losses.formulas.image_distillation import feature_distillation, logit_distillation
from orchestrator.losses.formulas.logit_adjusted_cross_entropy import logit_adjusted_cross_entropy
from orchestrator.losses.formulas.text_contrastive import text_contrastive_loss
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters


def logit_adjust(inputs: Inputs, parameters: Parameters) -> Outputs:
    logits = inputs["logits"].requires_grad_()
    weight = inputs["weight"] if parameters["class_weights"] else None
    log_prior = torch.log(class_prior(inputs["class_counts"].tolist()))
    loss = logit_adjusted_cross_entropy(logits, inputs["target"], log_prior, tau=parameters["tau"], class_weight=weight)
    return {"loss": loss, "grad_logits": torch.autograd.grad(loss, logits)[0]}


def text_contrastive(inputs: Inputs, parameters: Parameters) -> Outputs:
    prediction, tau = inputs["adaptor_output"].requires_grad_(), inputs["tau"].requires_grad_()
    text = inputs["text_features"].transpose(0, 1)  # stored [Q, N, e]
    num_rows, num_texts = text.shape[:2]
    parameters.sizes(Q=num_texts)
    torch.testing.assert_close(float(tau.detach()), parameters["tau"], rtol=1e-6, atol=0)
    text_id = torch.arange(num_rows * num_texts).reshape(num_rows, num_texts)
    loss = parameters["alpha"] * text_contrastive_loss(prediction, text, text_id, 1 / tau)
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


def image_distillation(inputs: Inputs, parameters: Parameters) -> Outputs:
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


ADAPTERS: dict[str, Adapter] = {
    "logit_adjust": logit_adjust,
    "reading_vlmkd_ltext": text_contrastive,
    "reading_vlmkd_kdi": image_distillation,
}
