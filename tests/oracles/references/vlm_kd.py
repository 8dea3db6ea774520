"""VLM-KD: L_text of Eq. 2 and KD-I of Eq. 4, in the readings of methods 2.2 and 2.7; the CBAM block (6.2)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
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


def text_contrast(inputs: Inputs, parameters: Parameters) -> Outputs:
    def per_prompt(prediction: Tensor, tau: Tensor) -> Tensor:
        own = torch.arange(len(prediction))
        return torch.stack([cross_entropy(unit(prediction) @ unit(g).T / tau, own) for g in inputs["text_features"]])

    def loss(prediction: Tensor, tau: Tensor) -> Tensor:
        return parameters["alpha"] * per_prompt(prediction, tau).sum()

    each = per_prompt(inputs["adaptor_output"], inputs["tau"])
    found = with_gradients(loss, inputs, "adaptor_output", "tau")
    return {**found, "per_prompt": each, "batch_sum_form": each * len(inputs["adaptor_output"])}


def image_distillation(inputs: Inputs, parameters: Parameters) -> Outputs:
    kl = with_gradients(
        lambda z: divergence(inputs["teacher_logits"], z).mean(), inputs, "student_logits", student_logits="grad_logits"
    )
    square = with_gradients(
        lambda f: (f - inputs["teacher_feature"]).square().sum(dim=1).mean(),
        inputs,
        "student_feature",
        student_feature="grad_feature_sum",
    )
    return {
        "kl": kl["loss"],
        "grad_logits": kl["grad_logits"],
        "kl_reverse": divergence(inputs["student_logits"], inputs["teacher_logits"]).mean(),
        "feature_sum": square["loss"],
        "feature_mean": square["loss"] / inputs["student_feature"].shape[1],
        "grad_feature_sum": square["grad_feature_sum"],
    }


def cbam(inputs: Inputs, parameters: Parameters) -> Outputs:
    first, second = (inputs[f"w_channel_fc{i}_weight"][:, :, 0, 0] for i in (1, 2))
    bn = {name: inputs[f"w_spatial_conv_bn_{name}"] for name in ("weight", "bias", "running_mean", "running_var")}

    def block(x: Tensor) -> Tensor:
        gates = [(pooled @ first.T).clamp_min(0) @ second.T for pooled in (x.mean(dim=(2, 3)), x.amax(dim=(2, 3)))]
        x = x * torch.sigmoid(gates[0] + gates[1])[:, :, None, None]
        seen = torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)
        weight = inputs["w_spatial_conv_conv_weight"]
        place = F.conv2d(seen, weight, padding=parameters["kernel"] // 2)
        mean, var = bn["running_mean"], bn["running_var"]
        if parameters["mode"] == "train":
            mean, var = place.mean(), place.var(correction=0)
        place = (place - mean) / (var + parameters["bn_eps"]).sqrt() * bn["weight"] + bn["bias"]
        return x * torch.sigmoid(place)

    x = inputs["x"].clone().requires_grad_()
    y = block(x)
    return {"y": y, "grad_x": torch.autograd.grad((y * inputs["upstream"]).sum(), x)[0]}


def prompts(draw: Draw) -> Any:
    q, n, e, tau = draw.size(1, 5), draw.size(1, 30), draw.size(2, 20), draw.scalar(0.02, 1)
    inputs = {"adaptor_output": draw.normal(n, e), "text_features": draw.normal(q, n, e), "tau": tau}
    return inputs, {"Q": q, "alpha": draw.pick(0.5, 1.0), "tau": float(tau)}


def distillation_pair(draw: Draw) -> Any:
    n, c, d = draw.size(1, 30), draw.size(2, 30), draw.size(1, 20)
    inputs = {f"{side}_logits": draw.normal(n, c, scale=3) for side in ("student", "teacher")}
    return {**inputs, **{f"{side}_feature": draw.normal(n, d) for side in ("student", "teacher")}}, {}


def cbam_inputs(draw: Draw) -> Any:
    n, c, h, w = draw.size(1, 3), draw.size(2, 20), draw.size(1, 7), draw.size(2, 7)
    ratio, kernel = draw.pick(0.0625, 0.25, 0.5), draw.pick(3, 7)
    hidden = max(1, math.floor(c * ratio + 0.5))
    inputs = {"x": draw.normal(n, c, h, w), "upstream": draw.normal(n, c, h, w)}
    inputs |= {
        "w_channel_fc1_weight": draw.normal(hidden, c, 1, 1),
        "w_channel_fc2_weight": draw.normal(c, hidden, 1, 1),
    }
    inputs["w_spatial_conv_conv_weight"] = draw.normal(1, 2, kernel, kernel)
    inputs |= {f"w_spatial_conv_bn_{name}": draw.normal(1) for name in ("weight", "bias", "running_mean")}
    inputs |= {"w_spatial_conv_bn_running_var": draw.normal(1).abs() + 0.5}
    inputs |= {"w_spatial_conv_bn_num_batches_tracked": torch.tensor(draw.size(0, 9))}
    told = {"C": c, "reduction": ratio, "kernel": kernel, "bn_eps": 1e-5, "mode": draw.pick("eval", "train")}
    return inputs, told


REFERENCES = {
    "reading_vlmkd_ltext": Reference(prompts, text_contrast),
    "reading_vlmkd_kdi": Reference(distillation_pair, image_distillation),
    "cbam": Reference(cbam_inputs, cbam),
}
