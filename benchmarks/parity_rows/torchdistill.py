"""torchdistill's losses of logits, features and maps.

Its modules look their inputs up by module path, so each is called with a path of ours.
"""

from typing import Any

import torch
from torch import Tensor

from benchmarks.parity_rows.row import Row, draws, integers, normal
from orchestrator.losses.formulas.attention_transfer import attention_transfer
from orchestrator.losses.formulas.crd import ContrastiveRepresentationDistillation
from orchestrator.losses.formulas.dist import Dist
from orchestrator.losses.formulas.fitnet import hint_distance
from orchestrator.losses.formulas.hinton_kd import hinton_kd, kd_with_cross_entropy
from orchestrator.losses.formulas.pkt import pkt
from orchestrator.losses.formulas.relational_kd import relational_kd
from orchestrator.losses.formulas.similarity_preserving import similarity_preserving

PACKAGE = "torchdistill"
N, C, D, D_TEACHER, NUM_IMAGES, K, STEPS = 16, 11, 13, 19, 64, 24, 3
LOGITS = draws(student=normal(N, C), teacher=normal(N, C), label=integers(C, N))
FEATURES = draws(student=normal(N, D), teacher=normal(N, D_TEACHER))
MAPS = draws(student=normal(N, 3, 5, 4), teacher=normal(N, 7, 5, 4))
IN_OUT = ("here", "output", "here", "output")  # student path and io, teacher path and io


def theirs(name: str, *arguments: Any, **options: Any) -> Any:
    """One of its loss modules."""
    from torchdistill.losses import mid_level

    return getattr(mid_level, name)(*arguments, **options)


def at_path(tensor: Tensor) -> dict[str, Any]:
    """What a module of its library reads outputs from."""
    return {"here": {"output": tensor}}


def on_pair(name: str, *arguments: Any, **options: Any) -> Any:
    """Its loss of a student's and a teacher's output; labels are passed where the row has them."""

    def call(student: Tensor, teacher: Tensor, label: Tensor | None = None) -> Tensor:
        loss = theirs(name, *arguments, **options)
        value: Tensor = loss(at_path(student), at_path(teacher), label)
        return value

    return call


def attention_pairs() -> dict[str, Any]:
    """One pair of maps."""
    place = {"io": "output", "path": "here"}
    return {"pair": {"student": place, "teacher": place, "weight": 1}}


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNet's second term as its sheets write it: an MSELoss of two paths, within the library's wrapper."""
    from torchdistill.losses.mid_level import SimpleLossWrapper

    config = {"input": {"is_from_teacher": False, "module_path": "here", "io": "output"}}
    config["target"] = {"is_from_teacher": True, "module_path": "here", "io": "output"}
    value: Tensor = SimpleLossWrapper(torch.nn.MSELoss(), **config)(at_path(student), at_path(teacher), None)
    return value


def crd_module() -> ContrastiveRepresentationDistillation:
    """Ours; the temperature is one that their float32 buffer holds exactly."""
    torch.manual_seed(0)
    loss = ContrastiveRepresentationDistillation(
        student_dim=D, teacher_dim=D_TEACHER, num_images=NUM_IMAGES, dim=8, num_negatives=K, temperature=0.0625
    )
    return loss.double()


def our_crd(student: Tensor, teacher: Tensor, image_row: Tensor, drawn: Tensor) -> Tensor:
    """Sum of the losses of some steps, each of which changes the memories."""
    loss = crd_module()
    steps = zip(student, teacher, image_row.argsort(dim=1)[:, :N], drawn, strict=True)
    return torch.stack([loss.contrast(s, t, row, torch.cat([row[:, None], d], dim=1)) for s, t, row, d in steps]).sum()


def their_crd(student: Tensor, teacher: Tensor, image_row: Tensor, drawn: Tensor) -> Tensor:
    """The same with their memories, started as ours; NUM_IMAGES is a power of 2 since others may fail in its set-up."""
    ours = crd_module()
    paths = {f"{who}_module_path": who for who in ("student_norm", "student_empty", "teacher_norm")}
    sizes = {"input_size": 8, "output_size": NUM_IMAGES, "num_negative_samples": K, "num_samples": NUM_IMAGES}
    loss = theirs("CRDLoss", **paths, **sizes, temperature=0.0625).double()
    loss.memory_v1.copy_(ours.student_memory)
    loss.memory_v2.copy_(ours.teacher_memory)
    total = student.new_zeros(())
    for s, t, row, d in zip(student, teacher, image_row.argsort(dim=1)[:, :N], drawn, strict=True):
        unit_s = torch.nn.functional.normalize(ours.student_projection(s), dim=1)
        unit_t = torch.nn.functional.normalize(ours.teacher_projection(t), dim=1)
        which = {"pos_idx": row, "contrast_idx": torch.cat([row[:, None], d], dim=1)}
        read = {"student_norm": {"output": unit_s}, "student_empty": {"input": which}}
        total = total + loss(read, {"teacher_norm": {"output": unit_t}}).sum()
    return total


def row(ours: str, peer: str, draw: Any, call_ours: Any, call_peer: Any) -> Row:
    """A row of this library."""
    return Row(ours, peer, PACKAGE, draw, call_ours, call_peer)


ROWS = [
    row(
        "kd_with_cross_entropy",
        "KDLoss, alpha",
        LOGITS,
        lambda student, teacher, label: kd_with_cross_entropy(student, teacher, label, hard_label_weight=0.3),
        on_pair("KDLoss", *IN_OUT, temperature=4.0, alpha=0.3),
    ),
    row(
        "hinton_kd, square_temperature: false",
        "KDLoss without labels",
        LOGITS,
        lambda student, teacher, label: hinton_kd(student, teacher, square_temperature=False),
        on_pair("KDLoss", *IN_OUT, temperature=4.0, alpha=0),
    ),
    row(
        "kd_with_cross_entropy, standardise: true",
        "LogitStdKDLoss",
        LOGITS,
        lambda student, teacher, label: kd_with_cross_entropy(
            student, teacher, label, hard_label_weight=0.1, teacher_weight=9.0, temperature=2.0, standardise=True
        ),
        on_pair("LogitStdKDLoss", *IN_OUT, temperature=2.0, alpha=0.1, beta=9.0),
    ),
    row(
        "dist",
        "DISTLoss",
        LOGITS,
        lambda student, teacher, label: Dist(temperature=2.0, inter_weight=1.0, intra_weight=2.0)(student, teacher),
        on_pair("DISTLoss", *IN_OUT, beta=1.0, gamma=2.0, tau=2.0),
    ),
    row(
        "attention_transfer, form: code",
        "ATLoss, code",
        MAPS,
        lambda student, teacher: attention_transfer(student, teacher, form="code"),
        on_pair("ATLoss", attention_pairs(), mode="code"),
    ),
    row(
        "attention_transfer, form: paper",
        "ATLoss, paper",
        MAPS,
        lambda student, teacher: attention_transfer(student, teacher, form="paper"),
        on_pair("ATLoss", attention_pairs(), mode="paper"),
    ),
    row(
        "similarity_preserving, row_norm: l1",
        "SPKDLoss",
        FEATURES,
        lambda student, teacher: similarity_preserving(student, teacher, row_norm="l1"),
        on_pair("SPKDLoss", "here", "here", reduction="batchmean"),
    ),
    row(
        "similarity_preserving on maps, row_norm: l1",
        "SPKDLoss on maps",
        MAPS,
        lambda student, teacher: similarity_preserving(student, teacher, row_norm="l1"),
        on_pair("SPKDLoss", "here", "here", reduction="batchmean"),
    ),
    row(
        "relational_kd",
        "RKDLoss",
        FEATURES,
        lambda student, teacher: relational_kd(student, teacher, distance_weight=1.0, angle_weight=2.0),
        on_pair("RKDLoss", "here", "here", dist_factor=1.0, angle_factor=2.0, reduction="mean"),
    ),
    row("pkt", "PKTLoss", FEATURES, pkt, on_pair("PKTLoss", *IN_OUT)),
    row(
        "fitnet (hint_distance)",
        "MSELoss of paths",
        draws(student=normal(N, D), teacher=normal(N, D)),
        lambda student, teacher: hint_distance(student, teacher),
        hint,
    ),
    row(
        f"crd, {STEPS} steps",
        f"CRDLoss, {STEPS} steps",
        draws(
            student=normal(STEPS, N, D),
            teacher=normal(STEPS, N, D_TEACHER),
            image_row=normal(STEPS, NUM_IMAGES),
            drawn=integers(NUM_IMAGES, STEPS, N, K),
        ),
        our_crd,
        their_crd,
    ),
]
