"""The findings of the OOD paper in the embedded world: the two small sheets on several seeds, told in docs/recipes.md.

Each seed (it sets initial weights, order and views) trains every arm of `ood_small.yaml`, then every arm of
`ood_few_shot_small.yaml` from those students. Finished arms are reused. Prints Markdown: means over the seeds, in
percent where it is a share, and the unseen accuracy of each seed.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json
from orchestrator.config.execution import Execution
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.stages import line
from orchestrator.stages.context import Context
from orchestrator.stages.evaluate import EVALUATION
from orchestrator.stages.feedback import Feedback
from orchestrator.tracking import NullTracker, TrackingSettings

SHEETS = Path(__file__).resolve().parent.parent / "jobs" / "experiments"
COLUMNS: Mapping[str, tuple[str, str, float]] = {  # heading -> (which sheet, name of the value, factor)
    "seen": ("zero", "seen_mean_per_class", 100),
    "unseen": ("zero", "unseen_mean_per_class", 100),
    "5-shot": ("few", "unseen_mean_per_class", 100),
    "retrieval": ("few", "report/start_few_shot_retrieval", 100),
    "no shot": ("few", "report/start_zero_shot", 100),
    "M_rel train": ("zero", "train/m_rel", 100),
    "M_rel unseen": ("zero", "report/m_rel", 100),
    "M_neigh": ("zero", "report/m_neigh", 100),
    "M_vlalign": ("zero", "report/m_vlalign_normalised", 100),
    "distance²": ("zero", "report/mean_squared_distance", 1),
}


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--storage-root", default="runs")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    print(table([run_seed(seed, Path(options.storage_root).resolve()) for seed in seeds], seeds))


def run_seed(seed: int, root: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Sheet ("zero", "few") -> arm -> all values of one seed; `ceiling` holds the teacher's own."""
    seeded = {"training.init_seed": seed, "training.data_seed": seed}
    zero = with_overrides(load_experiment(SHEETS / "ood_small.yaml"), seeded, "seed")
    zero = with_overrides(zero, {"name": f"ood_small_{seed}"}, "seed")
    found = {"zero": _run(zero, root)}
    few = with_overrides(load_experiment(SHEETS / "ood_few_shot_small.yaml"), seeded, "seed")
    arms: dict[str, Any] = {
        arm: {**changes, "student.checkpoint": str(root / zero.name / "arms" / arm / "student.safetensors")}
        for arm, changes in few.arms.items()
    }
    few = with_overrides(few, {"name": f"ood_few_shot_small_{seed}", "arms": arms}, "seed")
    return {**found, "few": _run(few, root)}


def _run(experiment: Experiment, root: Path) -> dict[str, dict[str, float]]:
    execution = Execution(
        name="benchmark", engine="in_process", storage_root=str(root), tracking=TrackingSettings(kind="none")
    )
    context = Context(experiment, execution, NullTracker(), Feedback(), InProcessExecutor)
    plans = line.run(context, "evaluate")
    values: dict[str, dict[str, float]] = {}
    for arm in experiment.arms:
        found = read_json(plans[f"evaluate/{arm}"].folder / EVALUATION)
        values[arm] = {**found["metrics"], **found["measures"]}
    embedded = read_manifest(plans["embed"].folder)
    assert embedded is not None
    values["(teacher)"] = {
        "seen_mean_per_class": embedded.metrics["select/mean_per_class"],
        "unseen_mean_per_class": embedded.metrics["report/mean_per_class"],
    }
    return values


def table(results: Sequence[Mapping[str, Mapping[str, Mapping[str, float]]]], seeds: Sequence[int]) -> str:
    """Markdown: a row for each arm; the last column is the unseen accuracy of each seed."""
    lines = [f"| arm | {' | '.join(COLUMNS)} | unseen by seed {', '.join(map(str, seeds))} |"]
    lines.append(f"|{'---|' * (2 + len(COLUMNS))}")
    for arm in results[0]["few"]:
        cells = []
        for sheet, name, factor in COLUMNS.values():
            values = [result[sheet].get(arm, {}).get(name) for result in results]
            known = [factor * value for value in values if value is not None]
            cells.append(f"{statistics.fmean(known):.{1 if factor == 100 else 2}f}" if known else "")
        each = [f"{100 * result['zero'][arm]['unseen_mean_per_class']:.1f}" for result in results]
        lines.append(f"| {arm} | {' | '.join(cells)} | {', '.join(each)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
