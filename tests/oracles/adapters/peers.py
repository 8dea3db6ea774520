"""Peer distillation losses of section 5: mdistiller's and torchdistill's."""

from collections.abc import Callable

import torch
from torch import Tensor

from orchestrator.losses.formulas.attention_transfer import attention_transfer
from orchestrator.losses.formulas.crd import ContrastiveRepresentationDistillation
from orchestrator.losses.formulas.decoupled_kd import decoupled_kd
from orchestrator.losses.formulas.dist import Dist
from orchestrator.losses.formulas.hinton_kd import hinton_kd, kd_with_cross_entropy
from orchestrator.losses.formulas.nst import nst
from orchestrator.losses.formulas.pkt import pkt
from orchestrator.losses.formulas.relational_kd import relational_kd
from orchestrator.losses.formulas.similarity_preserving import similarity_preserving
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters

Formula = Callable[[Tensor, Tensor], Tensor]


def on_logits(inputs: Inputs, parameters: Parameters, formula: Formula) -> Outputs:
    student = inputs["student_logits"].requires_grad_()
    parameters.sizes(N=student.shape[0], C=student.shape[1])
    loss = formula(student, inputs["teacher_logits"])
    return {"loss": loss, "grad_student": torch.autograd.grad(loss, student)[0]}


def on_outputs(inputs: Inputs, parameters: Parameters, formula: Formula) -> Outputs:
    student = inputs["student"].requires_grad_()
    parameters.sizes(N=len(student))
    parameters.get("C")  # of the logits that its generator also made
    loss = formula(student, inputs["teacher"])
    return {"loss": loss, "grad_student": torch.autograd.grad(loss, student)[0]}


def kd(inputs: Inputs, parameters: Parameters) -> Outputs:
    temperature = parameters["T"]
    return on_logits(inputs, parameters, lambda s, t: hinton_kd(s, t, temperature=temperature))


def decoupled(inputs: Inputs, parameters: Parameters) -> Outputs:
    options = {
        "temperature": parameters["T"],
        "target_weight": parameters["alpha"],
        "non_target_weight": parameters["beta"],
    }
    return on_logits(inputs, parameters, lambda s, t: decoupled_kd(s, t, inputs["target"], **options))


def torchdistill_kd(inputs: Inputs, parameters: Parameters) -> Outputs:
    return _torchdistill(inputs, parameters, standardise=False)


def torchdistill_logitstd(inputs: Inputs, parameters: Parameters) -> Outputs:
    return _torchdistill(inputs, parameters, standardise=True)


def _torchdistill(inputs: Inputs, parameters: Parameters, *, standardise: bool) -> Outputs:
    """Its alpha and beta weigh cross-entropy and KD; without an alpha its class gives the divergence alone."""
    alpha, beta = parameters["alpha"], parameters.get("beta")
    options = {"temperature": parameters["T"], "standardise": standardise}
    if not alpha:
        return on_logits(inputs, parameters, lambda s, t: hinton_kd(s, t, square_temperature=False, **options))
    weights = {"hard_label_weight": alpha, "teacher_weight": beta}
    return on_logits(
        inputs, parameters, lambda s, t: kd_with_cross_entropy(s, t, inputs["target"], **weights, **options)
    )


def dist(inputs: Inputs, parameters: Parameters) -> Outputs:
    loss = Dist(temperature=parameters["tau"], inter_weight=parameters["beta"], intra_weight=parameters["gamma"])
    return on_logits(inputs, parameters, loss)


def mdistiller_attention(inputs: Inputs, parameters: Parameters) -> Outputs:
    power = parameters["p"]
    return on_outputs(inputs, parameters, lambda s, t: attention_transfer(s, t, power=power, signed=True))


def torchdistill_attention(inputs: Inputs, parameters: Parameters) -> Outputs:
    form = parameters["mode"]
    return on_outputs(inputs, parameters, lambda s, t: attention_transfer(s, t, form=form))


def torchdistill_sp(inputs: Inputs, parameters: Parameters) -> Outputs:
    return on_outputs(inputs, parameters, lambda s, t: similarity_preserving(s, t, row_norm="l1"))


def relations(inputs: Inputs, parameters: Parameters, distance: str, angle: str) -> Outputs:
    options = {"distance_weight": parameters[distance], "angle_weight": parameters[angle]}
    return on_outputs(inputs, parameters, lambda s, t: relational_kd(s, t, **options))


def crd(inputs: Inputs, parameters: Parameters) -> Outputs:
    num_steps = sum(name.startswith("index_") for name in inputs)
    parameters.sizes(
        N=len(inputs["index_0"]),
        n_data=len(inputs["memory1_0"]),
        K=inputs["contrast_index_0"].shape[1] - 1,
        dim=inputs["memory1_0"].shape[1],
    )
    loss = ContrastiveRepresentationDistillation(
        student_dim=inputs["ws"].shape[1],
        teacher_dim=inputs["wt"].shape[1],
        num_images=parameters["n_data"],
        dim=parameters["dim"],
        num_negatives=parameters["K"],
        temperature=parameters["T"],
        momentum=parameters["momentum"],
        epsilon=parameters["eps"],
    ).to(inputs["ws"].dtype)
    given = {"student_projection": "s", "teacher_projection": "t"}
    state = {f"{layer}.weight": inputs[f"w{side}"] for layer, side in given.items()}
    state |= {f"{layer}.bias": inputs[f"b{side}"] for layer, side in given.items()}
    state |= {"student_memory": inputs["memory1_0"], "teacher_memory": inputs["memory2_0"]}
    loss.load_state_dict({**loss.state_dict(), **state})
    outputs: Outputs = {}
    for step in range(num_steps):
        student, rows = inputs[f"student_{step}"].requires_grad_(), inputs[f"index_{step}"]
        value = loss.contrast(student, inputs[f"teacher_{step}"], rows, inputs[f"contrast_index_{step}"])
        outputs[f"loss_{step}"] = value
        outputs[f"grad_student_{step}"] = torch.autograd.grad(value, student)[0]
        outputs[f"memory1_{step}"] = loss.student_memory.clone()
        outputs[f"memory2_{step}"] = loss.teacher_memory.clone()
        outputs[f"Z_{step}"] = loss.normaliser.clone()
    return outputs


ADAPTERS: dict[str, Adapter] = {
    "kd_hinton": kd,
    "kd_decoupled": decoupled,
    "torchdistill_kd": torchdistill_kd,
    "torchdistill_logitstd": torchdistill_logitstd,
    "torchdistill_dist": dist,
    "attention_transfer": mdistiller_attention,
    "torchdistill_at_code": torchdistill_attention,
    "torchdistill_at_paper": torchdistill_attention,
    "sp": lambda inputs, parameters: on_outputs(inputs, parameters, similarity_preserving),
    "torchdistill_spkd": torchdistill_sp,
    "rkd": lambda inputs, parameters: relations(inputs, parameters, "distance_weight", "angle_weight"),
    "torchdistill_rkd": lambda inputs, parameters: relations(inputs, parameters, "dist_factor", "angle_factor"),
    "pkt": lambda inputs, parameters: on_outputs(inputs, parameters, pkt),
    "nst": lambda inputs, parameters: on_outputs(inputs, parameters, nst),
    "crd": crd,
}
