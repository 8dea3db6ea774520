"""OOD paper (Li et al., ICCV 2023): its losses, their sum, its research losses, the multi-label loss."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.losses import (
    CaptionContrastiveSettings,
    EmbeddingCrossEntropySettings,
    EmbeddingMSESettings,
    ImageContrastiveSettings,
    LossSettings,
    VLProximitySettings,
)
from orchestrator.losses.context import LossContext
from orchestrator.losses.formulas.caption_contrastive import caption_contrastive_loss
from orchestrator.losses.formulas.cosines import cosine_logits
from orchestrator.losses.formulas.embedding_cross_entropy import embedding_cross_entropy, text_hinge
from orchestrator.losses.formulas.embedding_mse import embedding_mse
from orchestrator.losses.formulas.image_contrastive import image_contrastive_loss
from orchestrator.losses.formulas.multi_label_asymmetric import asymmetric_loss, two_prompt_probability
from orchestrator.losses.formulas.neighbourhood_kl import neighbourhood_kl
from orchestrator.losses.formulas.relative_vector import relative_vector_loss
from orchestrator.losses.formulas.vl_proximity import teacher_is_right, vl_proximity_loss
from orchestrator.losses.objective import Objective
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters

OOD_TEMPERATURE, OOD_NUM_TEXTS = 0.07, 256  # methods 1.1 and 1.4, where a manifest does not tell them


def sizes(inputs: Inputs, parameters: Parameters) -> None:
    num_images, width = inputs["student"].shape
    of = {"N": num_images, "D": width, "C": len(inputs["text"])}
    parameters.sizes(**{name: size for name, size in of.items() if name in parameters})


def differentiated(formula: Callable[[Tensor], Tensor], inputs: Inputs, parameters: Parameters) -> Outputs:
    """The loss of the student's embedding and its gradient; the sizes are checked."""
    sizes(inputs, parameters)
    student = inputs["student"].requires_grad_()
    loss = formula(student)
    return {"loss": loss, "grad_student": torch.autograd.grad(loss, student)[0]}


def unused_temperature(parameters: Parameters) -> None:
    """Some manifests name the run's temperature for a loss whose formula has none (methods, 1.9)."""
    assert parameters["temperature"] > 0


def cross_entropy(inputs: Inputs, parameters: Parameters) -> Outputs:
    text, label, tau = inputs["text"], inputs["target"], parameters["temperature"]
    out = differentiated(
        lambda student: embedding_cross_entropy(student, text, label, temperature=tau), inputs, parameters
    )
    right = label[cosine_logits(inputs["student"], text).argmax(dim=1) == label]
    count, total = (np.bincount(labels.numpy(), minlength=len(text)) for labels in (right, label))
    accuracy = shot_accuracy(count, total, total)["mean_per_class"]
    return {**out, "per_class_mean_accuracy_percent": 100 * accuracy}


def mse_unit(inputs: Inputs, parameters: Parameters) -> Outputs:
    return differentiated(lambda student: embedding_mse(student, inputs["teacher"]), inputs, parameters)


def mse_raw_log(inputs: Inputs, parameters: Parameters) -> Outputs:
    return differentiated(lambda student: embedding_mse(student, inputs["teacher"], form="raw_log"), inputs, parameters)


def contrastive(inputs: Inputs, parameters: Parameters) -> Outputs:
    mode, tau = parameters.get("mode", "bidirectional"), parameters["temperature"]
    return differentiated(
        lambda student: image_contrastive_loss(student, inputs["teacher"], temperature=tau, mode=mode),
        inputs,
        parameters,
    )


def contrastive_kl(inputs: Inputs, parameters: Parameters) -> Outputs:
    tau = parameters["temperature"]
    return differentiated(
        lambda student: image_contrastive_loss(student, inputs["teacher"], temperature=tau, mode="kl"),
        inputs,
        parameters,
    )


def contrastive_other_classes(inputs: Inputs, parameters: Parameters) -> Outputs:
    tau, label = parameters["temperature"], inputs["target"]
    return differentiated(
        lambda student: image_contrastive_loss(student, inputs["teacher"], temperature=tau, label=label),
        inputs,
        parameters,
    )


def proximity(inputs: Inputs, parameters: Parameters) -> Outputs:
    teacher, text, label = inputs["teacher"], inputs["text"], inputs["target"]
    k, tau = parameters["k"], parameters["temperature"]
    parameters.sizes(k_used=min(k, len(text)))
    right = teacher_is_right(teacher, text, label)
    kept = right if parameters["filter"] else torch.ones_like(right)
    out = differentiated(
        lambda student: vl_proximity_loss(student, teacher, text, k=k, temperature=tau, kept=kept), inputs, parameters
    )
    return {**out, "kept": kept}


def proximity_of_images(inputs: Inputs, parameters: Parameters) -> Outputs:
    k, tau = parameters["k"], parameters["temperature"]
    return differentiated(
        lambda student: vl_proximity_loss(
            student, inputs["teacher"], inputs["text"], k=k, temperature=tau, axis="images"
        ),
        inputs,
        parameters,
    )


def caption(inputs: Inputs, parameters: Parameters) -> Outputs:
    label = inputs["target"]
    return differentiated(
        lambda student: caption_contrastive_loss(student, inputs["caption"], label), inputs, parameters
    )


def caption_beside_classes(inputs: Inputs, parameters: Parameters) -> Outputs:
    cls = EmbeddingCrossEntropySettings(temperature=parameters.get("temperature", OOD_TEMPERATURE))
    both = objective({"cls": cls, "cap": CaptionContrastiveSettings()}, inputs)
    return {**caption(inputs, parameters), "loss_cls_plus_cap": both}


def objective(losses: dict[str, LossSettings], inputs: Inputs) -> Tensor:
    """The product's weighted sum of these losses."""
    num_images, width = inputs["student"].shape
    num_classes = len(inputs["text"])
    context = LossContext(
        (1,) * num_classes, 0, width, width, 1, num_classes, embedding_dim=width, num_images=num_images
    )
    batch = {
        "student_embedding": inputs["student"],
        "teacher_image": inputs["teacher"],
        "class_text": inputs["text"],
        "label": inputs["target"],
    }
    if "caption" in inputs:
        batch |= {"text": inputs["caption"][:, None], "text_id": torch.arange(num_images)[:, None]}
    total, _ = Objective.build(losses, context)(batch)
    assert isinstance(total, Tensor)
    return total


def total(inputs: Inputs, parameters: Parameters) -> Outputs:
    tau = parameters["temperature"]
    losses: dict[str, LossSettings] = {
        "cls": EmbeddingCrossEntropySettings(temperature=tau),
        "vlprox": VLProximitySettings(temperature=tau, k=parameters.get("k", OOD_NUM_TEXTS), filter="teacher_correct"),
        "cap": CaptionContrastiveSettings(),
        "mse": EmbeddingMSESettings(),
        "imcst": ImageContrastiveSettings(temperature=tau, mode="bidirectional"),
    }
    return differentiated(lambda student: objective(losses, {**inputs, "student": student}), inputs, parameters)


def nothing_kept(inputs: Inputs, parameters: Parameters) -> Outputs:
    tau = parameters["temperature"]
    losses: dict[str, LossSettings] = {
        "cls": EmbeddingCrossEntropySettings(temperature=tau),
        "vlprox": VLProximitySettings(temperature=tau, k=parameters["k"], filter="teacher_correct"),
    }
    out = differentiated(lambda student: objective(losses, {**inputs, "student": student}), inputs, parameters)
    return {"loss_cls_plus_vlprox_required": out["loss"], "grad_student_required": out["grad_student"]}


def asymmetric(inputs: Inputs, parameters: Parameters) -> Outputs:
    logits, bias = inputs["logits"].requires_grad_(), inputs["score_bias"].requires_grad_()
    loss = asymmetric_loss(
        two_prompt_probability(logits),
        inputs["target"],
        bias,
        gamma_pos=parameters["gamma_pos"],
        gamma_neg=parameters["gamma_neg"],
        shift=parameters["clip"],
        eps=parameters["eps"],
    )
    gradients = torch.autograd.grad(loss, (logits, bias))
    return {"loss": loss, "grad_logits": gradients[0], "grad_score_bias": gradients[1]}


def hinge(inputs: Inputs, parameters: Parameters) -> Outputs:
    unused_temperature(parameters)
    return differentiated(lambda student: text_hinge(student, inputs["text"], inputs["target"]), inputs, parameters)


def neighbours(inputs: Inputs, parameters: Parameters) -> Outputs:
    k, tau = parameters["k"], parameters["temperature"]
    parameters.sizes(k_used=min(k, len(inputs["student"])))
    return differentiated(
        lambda student: neighbourhood_kl(student, inputs["teacher"], k=k, temperature=tau), inputs, parameters
    )


def relative(inputs: Inputs, parameters: Parameters, *, variant: str) -> Outputs:
    unused_temperature(parameters)
    return differentiated(
        lambda student: relative_vector_loss(student, inputs["teacher"], variant=variant),  # type: ignore[arg-type]
        inputs,
        parameters,
    )


RELATIVE = ("norm_diff_rkd", "norm_diff_ours", "norm_diff_direction_ours", "relative_angle_direction")
ADAPTERS: dict[str, Adapter] = {
    "ood_lcls": cross_entropy,
    "ood_mse_norm": mse_unit,
    "ood_mse_unnorm": mse_raw_log,
    "ood_imcst": contrastive,
    "ood_vlprox": proximity,
    "ood_caption": caption_beside_classes,
    "ood_total": total,
    "ood_asymmetric": asymmetric,
    "edge_caption_single_class": caption,
    "edge_imcst_batch1": contrastive,
    "edge_vlprox_all_filtered": nothing_kept,
    "ooddev_hinge": hinge,
    "ooddev_imcst_kl": contrastive_kl,
    "ooddev_imcst_otherclass": contrastive_other_classes,
    "ooddev_neighkl": neighbours,
    "ooddev_vlprox_axis0": proximity_of_images,
    **{f"ooddev_relvec_{variant}": partial(relative, variant=variant) for variant in RELATIVE},
}
