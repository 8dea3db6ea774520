"""The tags by which runs are found in a tracking store, the same ones on every kind of run.

Reads and writes nothing. Knows nothing of trackers.
"""

from orchestrator.config.experiment import Experiment


def run_tags(experiment: Experiment, kind: str, **more: str) -> dict[str, str]:
    """`kind` (run, sweep, trial, arm, teacher), `dataset`, and of a training `student`, `method` and `seed`.

    Args:
        experiment: what is trained, the values of the arm or trial in it.
        more: `arm`, `sweep`, `trial`, where the run has one.
    """
    tags = {"kind": kind, "dataset": getattr(experiment.dataset, "published", None) or experiment.dataset.kind, **more}
    if kind in ("trial", "arm"):
        student, training = experiment.student, experiment.training
        seeds = dict.fromkeys((training.data_seed, training.init_seed))
        tags["student"] = getattr(student, "name", None) or student.kind
        tags["method"] = "+".join(loss.kind for loss in experiment.losses.values())
        tags["seed"] = "/".join(map(str, seeds))
    return tags
