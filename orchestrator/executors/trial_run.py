"""How a trial is told to the tracker, by whichever engine runs it: a child of its sweep with the swept values alone.

Writes to the tracker of the trial's job. Knows nothing of Ray.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.config.run_tags import run_tags
from orchestrator.executors.protocol import SweepJob
from orchestrator.training.run import TrainingJob


def start_trial_run(sweep: SweepJob, job: TrainingJob, number: int, values: Mapping[str, Any]) -> None:
    """Begin or resume the run of trial `number`.

    The swept values are its parameters, under the same dotted names as in the runs of arms and numbers as numbers, and
    there are no others: so the columns and the parallel coordinates of the UI show what was swept.
    """
    settings = {"student": job.student, "losses": job.losses, "training": job.training}
    tags = run_tags(sweep.arm.model_copy(update=settings), "trial", sweep=sweep.space.name, trial=str(number))
    name = f"{sweep.space.name} trial {number:04d}"
    job.tracker().start_run(job.run_key, name=name, parent_key=sweep.run_key, params=values, tags=tags)
