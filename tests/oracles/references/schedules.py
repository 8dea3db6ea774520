"""Learning rates of the official codes (methods 11)."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from tests.oracles.references.reference import (
    Draw,
    Inputs,
    Outputs,
    Parameters,
    Reference,
)


def warm_cosine(inputs: Inputs, parameters: Parameters) -> Outputs:
    w, epochs = parameters["warmup"], parameters["epochs"]
    factors = [
        (e + 1) / w if e < w else (1 + math.cos(math.pi * (e - w + 1) / (epochs - w + 1))) / 2 for e in range(epochs)
    ]
    return {"lr": inputs["base_lr"][:, None] * torch.tensor(factors, dtype=torch.float64)}


def livt_rate(inputs: Inputs, parameters: Parameters) -> Outputs:
    peak, last, w = parameters["lr"], parameters["min_lr"], parameters["warmup"]
    rates = []
    for epoch in inputs["epoch"].tolist():
        share = (epoch - w) / (parameters["epochs"] - w)
        down = last + (peak - last) * 0.5 * (1 + math.cos(math.pi * share))
        rates.append(parameters["lr_scale"] * (peak * epoch / w if epoch < w else down))
    return {"lr": torch.tensor(rates, dtype=torch.float64)}


def ood_rates(inputs: Inputs, parameters: Parameters) -> Outputs:
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-4, total_steps=parameters["epochs"])
    cycle = []
    for epoch in range(parameters["epochs"]):
        cycle.append(schedule.get_last_lr()[0])
        optimiser.step()
        if epoch + 1 < parameters["epochs"]:
            schedule.step()
    epochs = inputs["epochs"].tolist()
    steps = [0.05 * 0.1 ** len([one for one in parameters["milestones"] if one <= epoch]) for epoch in epochs]
    return {"step": np.array(steps), "onecycle": np.array([cycle[epoch] for epoch in epochs])}


def rates(draw: Draw, warmups: Sequence[int]) -> Any:
    peaks = torch.tensor([draw.number(1e-4, 1) for _ in range(draw.size(1, 3))], dtype=torch.float64)
    return {"base_lr": peaks}, {"epochs": draw.size(11, 200), "warmup": draw.pick(*warmups)}


def livt_epochs(draw: Draw) -> Any:
    epochs = draw.size(8, 100)
    told = {"lr": draw.number(1e-4, 1e-1), "warmup": draw.pick(1, 5), "epochs": epochs}
    places = torch.tensor([epochs * i / 29 for i in range(30)], dtype=torch.float64)
    return {"epoch": places}, {**told, "min_lr": draw.pick(0.0, 1e-6, 1e-5), "lr_scale": draw.pick(1.0, 0.75, 0.3)}


def ood_epochs(draw: Draw) -> Any:
    epochs = draw.size(3, 120)
    first = draw.size(1, epochs)
    return {"epochs": torch.arange(epochs)}, {"epochs": epochs, "milestones": [first, first + draw.size(1, 40)]}


REFERENCES = {
    "schedule_proco": Reference(partial(rates, warmups=(0, 5)), warm_cosine),
    "schedule_gpaco": Reference(partial(rates, warmups=(5, 10)), warm_cosine),
    "schedule_livt": Reference(livt_epochs, livt_rate),
    "schedule_ood": Reference(ood_epochs, ood_rates),
}
