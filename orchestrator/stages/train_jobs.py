"""The arms' trainings as files, for drivers that know neither experiments nor engines, such as `torchrun`.

Reads shards, embeddings and the sweep's best values; writes `ARM.json`. The job trains in the arm's own folder, so that
`orchestrator train` afterwards finds its last checkpoint and finishes the artifact in seconds.
"""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.artifacts.storage import write_bytes
from orchestrator.config.load import arm_experiment
from orchestrator.stages import sweep, train
from orchestrator.stages.context import Context, Plan


def write(context: Context, parents: Mapping[str, Plan], folder: Path) -> dict[str, Path]:
    """Write the job of each arm; returns its file by the arm's name.

    Args:
        parents: the plans up to the sweep, made.
    """
    swept = context.experiment.sweep
    written = {}
    for arm in context.experiment.arms:
        best = sweep.best_values(parents["sweep"]) if swept is not None and swept.arm == arm else {}
        inner, data = sweep.data_of(context, parents, arm, best)
        planned = train.plan(inner, data, arm, best)
        context.begin(planned)
        experiment = arm_experiment(inner.experiment, arm, best)
        job = train.make_job(inner, experiment, data, planned.folder, f"{context.experiment.name}/arm/{arm}")
        written[arm] = folder / f"{arm}.json"
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(written[arm], job.model_dump_json(indent=1).encode())
    return written
