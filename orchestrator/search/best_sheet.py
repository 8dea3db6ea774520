"""A configuration that a sweep found, as an experiment sheet that `orchestrator run` accepts.

Reads and writes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from orchestrator.config.arms import of_an_arm
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment, with_overrides

WIDTH = 116  # of a header's lines


def best_sheet(experiment: Experiment, arm: str, values: Mapping[str, Any], name: str, header: Sequence[str]) -> str:
    """The sheet as text: the experiment with `values` in the arm that was swept, and without the sweep.

    It is complete, so that later defaults do not change what it makes; its other arms are those of the experiment, to
    compare with. Values that all arms share become those of all of them.

    Args:
        name: of the new experiment.
        header: lines that say where it comes from; they become comments.
    """
    shared = {path: value for path, value in values.items() if not of_an_arm(path)}
    own = {path: value for path, value in values.items() if path not in shared}
    arms = {**experiment.arms, arm: {**experiment.arms[arm], **own}}
    found = with_overrides(experiment, {"name": name, "arms": arms, "sweep": None, **shared}, "the best sheet")
    arm_experiment(found, arm)
    comments = [f"# {line}" for text in header for line in text.splitlines()]
    tree = yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=WIDTH)
    return "\n".join([*comments, tree])
