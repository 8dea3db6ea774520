"""The measure `post_hoc`: a finished classifier's accuracy after the corrections for class frequency made at test time.

Joins a student's outputs with `evaluation/post_hoc.py`. Reads shards. Knows nothing of training.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.evaluation.post_hoc import adjust_logits, prior_of, shift_prior, tau_normalize
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.students.networks.student import CLASSIFIER_READS

if TYPE_CHECKING:
    from orchestrator.stages.measures import Subject

PRIOR_FLOOR = 1e-9  # prior of a class without a training image (PaCo's)


def post_hoc(subject: "Subject") -> dict[str, float]:
    """`report/adjusted_all` and so on: z - tau log prior; `report/tau_normalised_all` and so on: the linear classifier
    with weights w / |w|^tau and no bias, tau chosen on the select split by the mean per class; with a `test_prior`
    `report/shifted_all` and so on: logits for that prior (methods 2.1, 16.9). Empty groups are left out.
    """
    settings = subject.settings
    trained = np.bincount(subject.data(v.SPLIT_TRAIN).labels, minlength=subject.groups.num_classes)
    prior = prior_of(torch.from_numpy(trained)).clamp_min(PRIOR_FLOOR)

    def accuracies(logits: Tensor, split: str) -> dict[str, float]:
        labels = subject.data(split).labels
        right = labels[logits.argmax(1).numpy() == labels]
        correct, total = (np.bincount(rows, minlength=subject.groups.num_classes) for rows in (right, labels))
        return shot_accuracy(correct, total, trained)

    logits = torch.from_numpy(subject.made(v.SPLIT_REPORT, v.STUDENT_LOGITS))
    corrected = {"adjusted": adjust_logits(logits, prior, tau=settings.post_hoc_tau)}
    if settings.test_prior is not None:
        test_prior = torch.tensor(settings.test_prior, dtype=torch.float64)
        own = torch.full_like(prior, 1 / len(prior)) if settings.balanced_logits else prior
        corrected["shifted"] = shift_prior(logits, own, test_prior / test_prior.sum())
    found: dict[str, float] = {}
    classifier = subject.student.heads().get(v.STUDENT_LOGITS)
    if isinstance(classifier, nn.Linear):
        read = CLASSIFIER_READS[getattr(subject.student, "classifier_reads", "feature")]
        weight = classifier.weight.detach().cpu().float()
        on_select, on_report = (torch.from_numpy(subject.made(s, read)) for s in (v.SPLIT_SELECT, v.SPLIT_REPORT))

        def judged(tau: float) -> float:
            made = on_select @ tau_normalize(weight, tau=tau).T
            return accuracies(made, v.SPLIT_SELECT)["mean_per_class"]

        best = max(settings.normalise_taus, key=judged)  # the first of equals; without selection images the first
        corrected["tau_normalised"] = on_report @ tau_normalize(weight, tau=best).T
        found["report/tau_normalised_tau"] = best
    for name, one in corrected.items():
        of_groups = accuracies(one, v.SPLIT_REPORT)
        found |= {f"report/{name}_{group}": value for group, value in of_groups.items() if not math.isnan(value)}
    return found
