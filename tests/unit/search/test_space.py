"""Search spaces: samples stay in their domains, wrong paths are refused at once, the best trial is a whole one."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment, validate
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.executors.protocol import TrialResult
from orchestrator.search.space import (
    Choice,
    LogUniform,
    SearchSpace,
    Uniform,
    check_space,
    load_space,
    trial_experiment,
)
from orchestrator.stages.sweep import best_trial

WEIGHT = {"losses.text.weight": {"kind": "loguniform", "low": 0.1, "high": 10}}


def space(**changes: Any) -> SearchSpace:
    tree = {"name": "test", "question": "?", "expected": "!", "cost": "none", "parameters": WEIGHT, "num_trials": 4}
    return validate(SearchSpace, {**tree, **changes}, "test")


@pytest.fixture(scope="module")
def experiment(project: Path) -> Experiment:
    """The smoke experiment."""
    return load_experiment(project / "jobs" / "experiments" / "smoke.yaml")


def draws(domain: Uniform | LogUniform | Choice, number: int = 4000) -> list[Any]:
    generator = random.Random(0)
    return [domain.sample(generator) for _ in range(number)]


def test_a_uniform_domain_is_uniform_between_its_bounds() -> None:
    values = draws(Uniform(low=-1, high=3))
    assert -1 <= min(values) < -0.95
    assert 2.95 < max(values) <= 3
    assert sum(values) / len(values) == pytest.approx(1, abs=0.06)  # 3.3 * 4 / sqrt(12 * 4000)


def test_a_loguniform_domain_puts_equal_weight_on_each_decade() -> None:
    values = draws(LogUniform(low=1e-3, high=1.0))
    assert 1e-3 <= min(values) < max(values) <= 1
    decades = [sum(10.0**-n <= value < 10.0 ** (1 - n) for value in values) / len(values) for n in (1, 2, 3)]
    assert decades == pytest.approx([1 / 3] * 3, abs=0.025)


def test_a_choice_gives_each_of_its_values_with_its_type() -> None:
    values = draws(Choice(values=(0, 0.5, "linear", True, None)), 400)
    assert {(type(value), value) for value in values} == {
        (int, 0), (float, 0.5), (str, "linear"), (bool, True), (type(None), None)
    }  # fmt: skip


def test_the_same_seed_draws_the_same_samples() -> None:
    one, two = (space().sample(random.Random(7)) for _ in range(2))
    assert one == two != space().sample(random.Random(8))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parameters": {"a": {"kind": "uniform", "low": 2, "high": 1}}}, "low must be below high"),
        ({"parameters": {"a": {"kind": "loguniform", "low": 0, "high": 1}}}, "parameters.a.low"),
        ({"parameters": {"a": {"kind": "choice", "values": []}}}, "parameters.a.values"),
        ({"parameters": {}}, "parameters"),
        ({"points": [{"losses.text.wieght": 1.0}]}, "points.0 must give exactly losses.text.weight"),
        ({"mode": "highest"}, "mode"),
        ({"num_trial": 3}, "num_trial: unknown setting; did you mean num_trials?"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        space(**changes)
    assert told in str(error.value)


def test_bounds_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: s\nquestion: a\nexpected: b\ncost: c\nnum_trials: 2\n"
        "parameters:\n  training.optimizer.learning_rate: {kind: loguniform, low: 1e-4, high: 1e-2}\n"
    )
    domain = load_space(tmp_path / "s.yaml").parameters["training.optimizer.learning_rate"]
    assert isinstance(domain, LogUniform)
    assert (domain.low, domain.high) == (1e-4, 1e-2)


def test_a_space_over_paths_that_exist_passes(experiment: Experiment) -> None:
    check_space(space(fixed={"training.epochs": 2}, points=[{"losses.text.weight": 1.0}]), experiment)


def test_unknown_paths_are_all_named_before_anything_starts(experiment: Experiment) -> None:
    wrong = {"losses.texts.weight": {"kind": "uniform", "low": 0, "high": 1}, **WEIGHT}
    with pytest.raises(ConfigError) as error:
        check_space(space(parameters=wrong, fixed={"training.epoch": 2}), experiment)
    assert "the experiment has no losses.texts.weight, training.epoch" in str(error.value)


def test_a_loss_that_the_arm_does_not_have_cannot_be_swept(experiment: Experiment) -> None:
    from orchestrator.config.load import arm_experiment

    with pytest.raises(ConfigError, match=r"the experiment has no losses\.text\.weight"):
        check_space(space(), arm_experiment(experiment, "baseline"))


def test_what_all_trials_share_cannot_be_swept(experiment: Experiment) -> None:
    seeds = {"dataset.seed": {"kind": "choice", "values": [0, 1]}}
    with pytest.raises(ConfigError, match=r"dataset\.seed: all arms share dataset"):
        check_space(space(parameters=seeds), experiment)


def test_a_domain_that_reaches_values_the_experiment_refuses_is_refused(experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match=r"adaptor\.depth"):
        check_space(space(parameters={"adaptor.depth": {"kind": "choice", "values": [0, 99]}}), experiment)


def test_a_trial_is_the_experiment_with_overrides_and_values_win_over_fixed_ones(experiment: Experiment) -> None:
    found = trial_experiment(experiment, space(fixed={"training.epochs": 2}), {"losses.text.weight": 0.7})
    assert (found.training.epochs, found.losses["text"].weight) == (2, 0.7)
    assert found.dataset == experiment.dataset


def trial(number: int, value: float, status: str = "finished") -> TrialResult:
    return TrialResult(number, {"x": number}, {"select/all": value}, 3, status)


def test_the_best_trial_is_the_best_of_those_that_ran_to_their_end() -> None:
    results = [trial(0, 0.4), trial(1, 0.9, "stopped"), trial(2, 0.5), trial(3, math.nan), trial(4, 0.5)]
    assert best_trial(results, space()).number == 2  # not the stopped 1, not the NaN 3, and of equals the first
    assert best_trial(results, space(mode="min")).number == 0


def test_failed_trials_never_win_and_stopped_ones_only_when_there_is_no_other() -> None:
    failed = TrialResult(0, {}, {"select/all": 0.99}, 1, "failed", "died")
    silent = TrialResult(1, {}, {}, 0, "finished")
    assert best_trial([failed, silent, trial(2, 0.1)], space()).number == 2
    assert best_trial([failed, silent, trial(3, 0.2, "stopped"), trial(4, 0.3, "stopped")], space()).number == 4


def test_when_no_trial_reported_the_metric_the_sweep_says_so() -> None:
    with pytest.raises(ArtifactError, match="no trial reported select/all"):
        best_trial([TrialResult(0, {}, {"train/loss": 1.0}, 3, "finished")], space())
