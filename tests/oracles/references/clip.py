"""CLIP and SigLIP, their distillation, MobileCLIP's ensemble, CLIP-KD (methods 5)."""

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


def contrast(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    own = torch.arange(len(image))
    return (cross_entropy(scale * image @ text.T, own) + cross_entropy(scale * text @ image.T, own)) / 2


def clip_loss(inputs: Inputs, parameters: Parameters) -> Outputs:
    return with_gradients(contrast, inputs, "image", "text", "logit_scale")


def siglip(inputs: Inputs, parameters: Parameters) -> Outputs:
    def loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        sign = 2 * torch.eye(len(image), dtype=torch.float64) - 1
        return torch.log(1 + torch.exp(-sign * (scale * image @ text.T + bias))).sum() / len(image)

    names = {"logit_scale": "grad_scale", "logit_bias": "grad_bias"}
    return with_gradients(loss, inputs, "image", "text", "logit_scale", "logit_bias", **names)


def soft_cross_entropy(wanted: Tensor, given: Tensor) -> Tensor:
    """-sum p log q of each row, of probabilities and logits."""
    return -(wanted * log_softmax(given)).sum(dim=1).mean()


def distill(inputs: Inputs, parameters: Parameters) -> Outputs:
    teacher = inputs["teacher_logit_scale"] * inputs["teacher_image"] @ inputs["teacher_text"].T

    def loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        logits = scale * image @ text.T
        return (
            sum(soft_cross_entropy(log_softmax(t).exp(), s) for t, s in ((teacher, logits), (teacher.T, logits.T))) / 2
        )

    renamed = {"image": "grad_image_distill", "text": "grad_text_distill", "logit_scale": "grad_scale_distill"}
    found = with_gradients(loss, inputs, "image", "text", "logit_scale", **renamed)
    found["distill"] = found.pop("loss")
    return {**found, "contrastive": contrast(inputs["image"], inputs["text"], inputs["logit_scale"])}


def reinforced(inputs: Inputs, parameters: Parameters) -> Outputs:
    dims, scales = parameters["teacher_dims"], parameters["teacher_logit_scale"]
    if not parameters["average_after_softmax"]:
        dims = [sum(dims)]
    scales = scales if isinstance(scales, list) else [scales] * len(dims)
    leaves = [inputs[name].clone().requires_grad_() for name in ("image", "text", "synthetic_text", "logit_scale")]
    image, text, synthetic, scale = leaves

    def ensemble(texts: Tensor, *, of_texts: bool) -> Tensor:
        members = zip(scales, inputs["teacher_image"].split(dims, dim=1), texts.split(dims, dim=1), strict=True)
        each = [s * (t @ i.T if of_texts else i @ t.T) for s, i, t in members]
        return torch.stack([log_softmax(one).exp() for one in each]).mean(dim=0)

    def parts(own: Tensor, name: str) -> tuple[Tensor, Tensor]:
        logits, teacher = scale * image @ own.T, inputs[name]
        rows = soft_cross_entropy(ensemble(teacher, of_texts=False), logits)
        columns = soft_cross_entropy(ensemble(teacher, of_texts=True), logits.T)
        weights = parameters["weights"]
        return weights[0] * contrast(image, own, scale), weights[1] * (rows + columns) / 2

    first, second = parts(text, "teacher_text"), parts(synthetic, "teacher_synthetic_text")
    contrastive, distilled = first[0] + second[0], first[1] + second[1]
    gradients = torch.autograd.grad(contrastive + distilled, leaves)
    return {
        "contrastive": contrastive,
        "distill": distilled,
        "contrastive_gt_only": first[0],
        "distill_gt_only": first[1],
        **{
            f"grad_{name}": gradient
            for name, gradient in zip(("image", "text", "synthetic_text", "logit_scale"), gradients, strict=True)
        },
    }


def clip_kd(inputs: Inputs, parameters: Parameters) -> Outputs:
    raw = [inputs[name].clone().requires_grad_() for name in ("image", "text")]
    own = [unit(rows) for rows in raw]
    s = own
    if "w_visual_proj_weight" in inputs:
        s = [
            unit(rows @ inputs[f"w_{side}_proj_weight"].T + inputs[f"w_{side}_proj_bias"])
            for rows, side in zip(raw, ("visual", "text"), strict=True)
        ]
    t = [inputs["teacher_image"], inputs["teacher_text"]]
    scale, teacher_scale = inputs["logit_scale"], inputs["teacher_logit_scale"]
    logits, wanted = scale * own[0] @ own[1].T, teacher_scale * t[0] @ t[1].T
    crossed = [inputs["w_cross_logit_scale"] * s[0] @ t[1].T, inputs["w_cross_logit_scale"] * s[1] @ t[0].T]
    index = torch.arange(len(wanted))
    values = {
        "task": contrast(*own, scale),
        "ckd": (divergence(wanted, logits).mean() + divergence(wanted.T, logits.T).mean()) / 2,
        "icl": (cross_entropy(crossed[0], index) + cross_entropy(crossed[1], index)) / 2,
        "cross_kd": (divergence(wanted, crossed[0]).mean() + divergence(wanted.T, crossed[1]).mean()) / 2,
        "fd": (s[0] - t[0]).square().mean() + (s[1] - t[1]).square().mean(),
        "gd": matched_gradients(s, t, scale, teacher_scale),
    }
    if parameters["alpha_afd"]:
        fused = [
            unit(
                torch.cat(pair, dim=1) @ inputs[f"w_{side}_fusion_proj_weight"].T + inputs[f"w_{side}_fusion_proj_bias"]
            )
            for pair, side in zip(zip(s, t, strict=True), ("visual", "text"), strict=True)
        ]
        values["afd"] = contrast(*fused, inputs["w_fusion_logit_scale"])
    found: Outputs = {}
    for name, value in values.items():
        weighted = (1 if name == "task" else parameters[f"alpha_{name}"]) * value
        gradients = torch.autograd.grad(weighted, raw, retain_graph=True)
        found |= {name: weighted, f"grad_image_{name}": gradients[0], f"grad_text_{name}": gradients[1]}
    return found


def matched_gradients(s: list[Tensor], t: list[Tensor], scale: Tensor, teacher_scale: Tensor) -> Tensor:
    """MSEs of the contrastive loss' own gradients, found by differentiating it; divided by the scale, as the code."""
    total = scale.new_zeros(())
    for a, b in ((0, 1), (1, 0)):
        found = []
        for pair, one in ((s, scale), ([rows.clone().requires_grad_() for rows in t], teacher_scale)):
            loss = cross_entropy(pair[a] @ pair[b].T / one, torch.arange(len(s[0])))
            found.append(torch.autograd.grad(loss, (pair[a], pair[b]), create_graph=True))
        for got, wanted in zip(*found, strict=True):
            total = total + (got - wanted.detach()).square().mean()
    return total


def pairs(draw: Draw) -> Any:
    b, d = draw.size(1, 24), draw.size(2, 24)
    return {"image": draw.unit(b, d), "text": draw.unit(b, d), "logit_scale": draw.scalar(1, 100)}, {"B": b, "D": d}


def biased_pairs(draw: Draw) -> Any:
    inputs, sizes = pairs(draw)
    return {**inputs, "logit_bias": draw.normal(scale=5)}, sizes


def pairs_with_teacher(draw: Draw) -> Any:
    inputs, sizes = pairs(draw)
    d = draw.size(2, 24)
    teacher = {f"teacher_{side}": draw.unit(sizes["B"], d) for side in ("image", "text")}
    return {**inputs, **teacher, "teacher_logit_scale": draw.scalar(1, 100)}, {**sizes, "teacher_dim": d}


def ensembles(draw: Draw, *, scale_of_each: bool) -> Any:
    inputs, sizes = pairs(draw)
    b, average = sizes["B"], draw.pick(True, False)
    dims = [draw.size(2, 9) for _ in range(draw.size(1, 3))]
    inputs["synthetic_text"] = draw.unit(b, sizes["D"])
    for name in ("image", "text", "synthetic_text"):
        inputs[f"teacher_{name}"] = torch.cat([draw.unit(b, d) for d in dims], dim=1)
    scale: Any = draw.pick(60.0, 100.0)
    if scale_of_each and average and draw.pick(True, False):
        scale = [draw.pick(70.0, 60.0) for _ in dims]
    weights = draw.pick([0.0, 1.0], [0.25, 0.75], [1.0, 1.0], [1.0, 0.0])
    options = {"teacher_dims": dims, "weights": weights, "average_after_softmax": average}
    return inputs, {**sizes, **options, "teacher_logit_scale": scale}


def two_towers(draw: Draw) -> Any:
    b, d, fuses = draw.size(2, 16), draw.size(3, 10), draw.pick(True, False)
    d_t = d if fuses else d + draw.size(1, 6)
    inputs = {name: draw.normal(b, d) for name in ("image", "text")}
    inputs |= {f"teacher_{name}": draw.unit(b, d_t) for name in ("image", "text")}
    inputs |= {"logit_scale": draw.scalar(5, 50), "teacher_logit_scale": draw.scalar(5, 100)}
    inputs |= {f"w_{name}_logit_scale": draw.scalar(1, 4) for name in ("cross", "fusion")}
    for side in ("visual", "text"):
        if fuses:
            inputs[f"w_{side}_fusion_proj_weight"], inputs[f"w_{side}_fusion_proj_bias"] = (
                draw.normal(d, 2 * d),
                draw.normal(d),
            )
        else:
            inputs[f"w_{side}_proj_weight"], inputs[f"w_{side}_proj_bias"] = draw.normal(d_t, d), draw.normal(d_t)
    alphas = {f"alpha_{name}": draw.pick(0.5, 1, 2) for name in ("ckd", "icl", "cross_kd")}
    alphas |= {"alpha_fd": draw.pick(1, 2000), "alpha_gd": draw.pick(1e4, 1e6), "alpha_afd": int(fuses)}
    return inputs, {"B": b, "student_dim": d, "teacher_dim": d_t, **alphas}


REFERENCES = {
    "openclip_cliploss": Reference(pairs, clip_loss),
    "openclip_siglip": Reference(biased_pairs, siglip),
    "openclip_distill": Reference(pairs_with_teacher, distill),
    "mobileclip_dr_v1": Reference(lambda draw: ensembles(draw, scale_of_each=False), reinforced),
    "mobileclip_dr_v2": Reference(lambda draw: ensembles(draw, scale_of_each=True), reinforced),
    "clipkd": Reference(two_towers, clip_kd),
}
