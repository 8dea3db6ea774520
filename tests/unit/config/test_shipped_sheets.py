"""Every shipped YAML parses, every search space fits its experiments, and resolved experiments are the golden ones."""

import json
import os
import random
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment, load_execution, load_experiment
from orchestrator.search.check import check_space
from orchestrator.search.proposer import Proposer
from orchestrator.search.space import load_space
from orchestrator.search.trial import TrialResult

PROJECT = Path(__file__).resolve().parents[3]
EXPERIMENTS = sorted((PROJECT / "jobs" / "experiments").glob("*.yaml"))
EXECUTIONS = sorted((PROJECT / "jobs" / "executions").glob("*.yaml"))
SPACES = sorted((PROJECT / "search_spaces").glob("*.yaml"))
GOLDEN = PROJECT / "tests" / "golden"

each_experiment = pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
each_execution = pytest.mark.parametrize("path", EXECUTIONS, ids=lambda path: path.stem)
each_space = pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)


@each_experiment
def test_an_experiment_parses_with_all_its_arms_and_is_named_after_its_file(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    for arm in experiment.arms:
        assert arm_experiment(experiment, arm).name == path.stem


@each_execution
def test_an_execution_parses_and_is_named_after_its_file(path: Path) -> None:
    assert load_execution(path).name == path.stem


@each_space
def test_a_search_space_fits_the_experiment_of_the_command_in_its_header(path: Path) -> None:
    space, text = load_space(path), path.read_text()
    assert space.name == path.stem
    for word in ("Question:", "Expected:", "Cost:", "Command:"):
        assert re.search(rf"^# {word}", text, re.MULTILINE), f"the header lacks {word}"
    command = shlex.split(next(line for line in text.splitlines() if line.startswith("# Command:")))[2:]
    assert command[:2] == ["orchestrator", "sweep"]
    experiment = load_experiment(PROJECT / command[2], command[3:])
    assert experiment.sweep is not None
    assert (PROJECT / experiment.sweep.space).resolve() == path.resolve()
    arm = arm_experiment(experiment, experiment.sweep.arm)
    check_space(space, arm)
    proposer, generator = Proposer(space), random.Random(1)
    told = [
        TrialResult(n, space.sample(generator), dict.fromkeys(space.objectives, n / 9), 2, "finished") for n in range(9)
    ]
    proposed = [proposer.propose(number, told) for number in range(min(space.num_trials, 4))]
    assert all(values is not None and space.contains(values) for values in proposed)


@each_experiment
def test_a_sweep_names_a_search_space_that_is_shipped(path: Path) -> None:
    experiment = load_experiment(path)
    if experiment.sweep is not None:
        assert (PROJECT / experiment.sweep.space).resolve() in SPACES


@pytest.mark.parametrize(
    "path", [*EXPERIMENTS, *EXECUTIONS, *SPACES], ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_sheet_reads_as_an_experiment_sheet(path: Path) -> None:
    text = path.read_text()
    assert max(len(line) for line in text.splitlines()) <= 160
    if path in EXPERIMENTS:
        header = [line for line in text.splitlines() if line.startswith("#")]
        for word in ("Question:", "Expected:", "Cost:", "Command:"):
            assert any(word in line for line in header), f"the header lacks {word}"
    if path in EXECUTIONS:
        assert text.startswith("#")


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """Dotted path -> value of everything in a tree that is no mapping, or an empty one."""
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    below = (leaves(value, f"{path}.{name}" if path else name) for name, value in tree.items())
    return {name: value for part in below for name, value in part.items()}


def differences(experiment: Experiment, arm: Experiment) -> dict[str, Any]:
    """What an arm has otherwise than its experiment, by dotted path; what it lacks is told as such."""
    before, after = (leaves(one.model_dump(mode="json", exclude={"arms"})) for one in (experiment, arm))
    changed = {path: value for path, value in after.items() if path not in before or before[path] != value}
    return changed | dict.fromkeys(before.keys() - after.keys(), "(not there)")


@each_experiment
def test_a_resolved_experiment_is_the_golden_one(path: Path) -> None:
    experiment = load_experiment(path)
    found = {
        "experiment": experiment.model_dump(mode="json"),
        "arms": {arm: differences(experiment, arm_experiment(experiment, arm)) for arm in experiment.arms},
    }
    golden = GOLDEN / f"{path.stem}.json"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    refresh = "if the change is meant: UPDATE_GOLDEN=1 python -m pytest tests/unit/config, then read the diff"
    assert golden.is_file(), f"no {golden.relative_to(PROJECT)}; {refresh}"
    assert json.loads(golden.read_text()) == json.loads(json.dumps(found)), (
        f"{path.name} resolves to other settings than {golden.relative_to(PROJECT)} (a sheet or a default changed); "
        f"{refresh}"
    )


def test_every_golden_file_belongs_to_an_experiment() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} <= {path.stem for path in EXPERIMENTS}
