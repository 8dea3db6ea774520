"""CLIP and SigLIP losses (open_clip), their distillation (open_clip, MobileCLIP), the parts of CLIP-KD."""

from collections.abc import Mapping

import torch
from torch import Tensor

from orchestrator.losses.formulas.clip_contrastive import clip_contrastive_loss, siglip_loss
from orchestrator.losses.formulas.clip_distillation import clip_distillation_loss, reinforced_clip_losses
from orchestrator.losses.formulas.clip_kd import ClipKd, Part
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters


def trained(inputs: Inputs, *names: str) -> list[Tensor]:
    return [inputs[name].requires_grad_() for name in names]


def clip_loss(inputs: Inputs, parameters: Parameters) -> Outputs:
    image, text, scale = trained(inputs, "image", "text", "logit_scale")
    parameters.sizes(B=len(image), D=image.shape[1])
    loss = clip_contrastive_loss(image, text, scale)
    gradients = torch.autograd.grad(loss, (image, text, scale))
    return {"loss": loss, **dict(zip(("grad_image", "grad_text", "grad_logit_scale"), gradients, strict=True))}


def sigmoid_loss(inputs: Inputs, parameters: Parameters) -> Outputs:
    every = trained(inputs, "image", "text", "logit_scale", "logit_bias")
    parameters.sizes(B=len(every[0]), D=every[0].shape[1])
    loss = siglip_loss(*every)
    names = ("grad_image", "grad_text", "grad_scale", "grad_bias")
    return {"loss": loss, **dict(zip(names, torch.autograd.grad(loss, every), strict=True))}


def distill_clip_loss(inputs: Inputs, parameters: Parameters) -> Outputs:
    image, text, scale = trained(inputs, "image", "text", "logit_scale")
    teacher = inputs["teacher_image"], inputs["teacher_text"], [inputs["teacher_logit_scale"]]
    parameters.sizes(B=len(image), D=image.shape[1], teacher_dim=teacher[0].shape[1])
    distill = clip_distillation_loss(image, text, scale, *teacher)
    gradients = torch.autograd.grad(distill, (image, text, scale))
    names = ("grad_image_distill", "grad_text_distill", "grad_scale_distill")
    return {
        "contrastive": clip_contrastive_loss(image, text, scale),
        "distill": distill,
        **dict(zip(names, gradients, strict=True)),
    }


def mobileclip(inputs: Inputs, parameters: Parameters) -> Outputs:
    every = trained(inputs, "image", "text", "synthetic_text", "logit_scale")
    image, text, synthetic, scale = every
    parameters.sizes(B=len(image), D=image.shape[1])
    dims, average = parameters["teacher_dims"], parameters["average_after_softmax"]
    one_scale = parameters["teacher_logit_scale"]
    options = {
        "weights": tuple(parameters["weights"]),
        "teacher_dims": dims if average else None,
    }
    scales = one_scale if isinstance(one_scale, list) else [one_scale]
    teacher_texts = torch.stack([inputs["teacher_text"], inputs["teacher_synthetic_text"]], dim=1)
    texts = torch.stack([text, synthetic], dim=1)
    teacher_image = inputs["teacher_image"]
    contrastive, distill = reinforced_clip_losses(image, texts, scale, teacher_image, teacher_texts, scales, **options)
    only = reinforced_clip_losses(image, texts[:, :1], scale, teacher_image, teacher_texts, scales, **options)
    names = ("grad_image", "grad_text", "grad_synthetic_text", "grad_logit_scale")
    return {
        "contrastive": contrastive,
        "distill": distill,
        "contrastive_gt_only": only[0],
        "distill_gt_only": only[1],
        **dict(zip(names, torch.autograd.grad(contrastive + distill, every), strict=True)),
    }


OFFICIAL_NAMES: Mapping[Part, str] = {
    "contrastive": "task",
    "crd": "ckd",
    "icl": "icl",
    "cross_kd": "cross_kd",
    "fd": "fd",
    "gd": "gd",
    "afd": "afd",
}
OFFICIAL_WEIGHTS = {
    "w_visual_proj_": "image_projection.",
    "w_text_proj_": "text_projection.",
    "w_visual_fusion_proj_": "image_fusion.",
    "w_text_fusion_proj_": "text_fusion.",
    "w_cross_logit_scale": "crossed_scale.log_scale",
    "w_fusion_logit_scale": "fusion_scale.log_scale",
}


def clip_kd(inputs: Inputs, parameters: Parameters) -> Outputs:
    image, text = trained(inputs, "image", "text")
    teacher = inputs["teacher_image"], inputs["teacher_text"]
    parameters.sizes(B=len(image), student_dim=image.shape[1], teacher_dim=teacher[0].shape[1])
    weights: dict[Part, float] = {"contrastive": 1.0}
    for part, name in OFFICIAL_NAMES.items():
        if part != "contrastive":
            weights[part] = parameters[f"alpha_{name}"]
    loss = ClipKd(
        weights=weights,
        embedding_dim=image.shape[1],
        teacher_dim=teacher[0].shape[1],
        teacher_scale=float(inputs["teacher_logit_scale"]),
        scale_without_exp=True,
        inverse_gd_scale=True,
    ).to(image.dtype)
    stored = {"scale.log_scale": inputs["logit_scale"].log()}
    for official, own in OFFICIAL_WEIGHTS.items():
        stored |= {name.replace(official, own): value for name, value in inputs.items() if name.startswith(official)}
    known = loss.state_dict()
    loss.load_state_dict({name: value for name, value in stored.items() if name in known})
    outputs: Outputs = {}
    for part, value in loss.parts((image, text), teacher, None).items():
        name, weighted = OFFICIAL_NAMES[part], loss.weights[part] * value
        gradients = torch.autograd.grad(weighted, (image, text), retain_graph=True)
        outputs |= {name: weighted, f"grad_image_{name}": gradients[0], f"grad_text_{name}": gradients[1]}
    return outputs


ADAPTERS: dict[str, Adapter] = {
    "openclip_cliploss": clip_loss,
    "openclip_siglip": sigmoid_loss,
    "openclip_distill": distill_clip_loss,
    "mobileclip_dr_v1": mobileclip,
    "mobileclip_dr_v2": mobileclip,
    "clipkd": clip_kd,
}
