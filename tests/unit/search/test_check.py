"""A space is proven against its experiment before anything starts: paths, values, models, all problems at once."""

from pathlib import Path

import pytest

from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment, load_experiment
from orchestrator.errors import ConfigError
from orchestrator.search.check import check_space, trial_experiment
from tests.unit.search.spaces import RANDOM, WEIGHT, space

DEPTHS = {"adaptor.depth": {"kind": "choice", "values": [0, 1]}}


@pytest.fixture(scope="module")
def experiment(project: Path) -> Experiment:
    """The smoke experiment."""
    return load_experiment(project / "jobs" / "experiments" / "smoke.yaml")


def test_a_space_over_paths_that_exist_passes(experiment: Experiment) -> None:
    check_space(space(fixed={"training.epochs": 2}, points=[{"losses.text.weight": 1.0}]), experiment)


def test_unknown_paths_are_all_named_with_the_nearest_before_anything_starts(experiment: Experiment) -> None:
    wrong = {"losses.texts.weight": {"kind": "uniform", "low": 0, "high": 1}, **WEIGHT}
    with pytest.raises(ConfigError) as error:
        check_space(space(parameters=wrong, fixed={"training.epoch": 2}), experiment)
    assert "the experiment has no losses.texts.weight; did you mean losses.text.weight?" in str(error.value)
    assert "the experiment has no training.epoch; did you mean training.epochs?" in str(error.value)


def test_a_loss_that_the_arm_does_not_have_cannot_be_swept(experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match=r"the experiment has no losses\.text\.weight"):
        check_space(space(), arm_experiment(experiment, "baseline"))


def test_a_part_of_a_setting_that_the_space_gives_may_be_swept_under_its_condition(experiment: Experiment) -> None:
    sgd, adamw = {"kind": "sgd", "learning_rate": 0.1}, {"kind": "adamw", "learning_rate": 0.001}
    momentum = {"kind": "uniform", "low": 0, "high": 0.9, "when": {"training.optimizer": [sgd]}}
    tree = {
        "training.optimizer.momentum": momentum,
        "training.optimizer": {"kind": "choice", "values": [sgd, adamw]},
    }
    check_space(space(parameters=tree), experiment)
    found = trial_experiment(
        experiment, space(parameters=tree), {"training.optimizer.momentum": 0.5, "training.optimizer": sgd}
    )
    assert found.training.optimizer.model_dump()["momentum"] == 0.5
    with pytest.raises(ConfigError, match="momentum"):
        check_space(space(parameters={**tree, "training.optimizer.momentum": {**momentum, "when": {}}}), experiment)


def test_what_all_trials_share_cannot_be_swept(experiment: Experiment) -> None:
    seeds = {"dataset.seed": {"kind": "choice", "values": [0, 1]}}
    with pytest.raises(ConfigError, match=r"dataset\.seed: all arms share dataset"):
        check_space(space(parameters=seeds), experiment)


def test_every_value_that_the_experiment_refuses_is_told_however_rare_its_draw(experiment: Experiment) -> None:
    rare = {"adaptor.depth": {"kind": "choice", "values": [*range(4), 99]}}
    wrong = {**rare, "training.optimizer.learning_rate": {"kind": "uniform", "low": -1, "high": 1e9}}
    with pytest.raises(ConfigError) as error:
        check_space(space(parameters=wrong), experiment)
    assert "adaptor.depth" in str(error.value)
    assert "training.optimizer.learning_rate" in str(error.value)


def test_a_value_whose_model_could_not_be_trained_is_refused(experiment: Experiment) -> None:
    sources = {"text_sources": {"kind": "choice", "values": [["truth"], []]}}
    with pytest.raises(ConfigError, match="text"):
        check_space(space(parameters=sources), experiment)


def test_views_that_the_image_teacher_has_not_seen_are_refused_where_its_rows_are_read(experiment: Experiment) -> None:
    seeds = space(parameters={"training.data_seed": {"kind": "choice", "values": [0, 1]}})
    with pytest.raises(ConfigError, match="the image teacher's rows are of the experiment's own views"):
        check_space(seeds, experiment)
    check_space(seeds, arm_experiment(experiment, "baseline"))  # no loss of it reads the image teacher


def test_pbt_is_refused_where_one_trial_could_not_go_on_from_anothers_weights(experiment: Experiment) -> None:
    pbt = {"kind": "pbt", "interval_epochs": 1}
    check_space(space(scheduler=pbt, searcher=RANDOM), experiment)
    with pytest.raises(ConfigError, match="differ in the shapes"):
        check_space(space(scheduler=pbt, searcher=RANDOM, parameters=DEPTHS), experiment)


def test_accuracy_on_validation_classes_is_no_objective_where_nothing_tells_it(
    experiment: Experiment, project: Path
) -> None:
    objectives = {"select/all": "max", "select/unseen_mean_per_class": "max"}
    several = {"objectives": objectives, "scheduler": {"kind": "none"}}
    with pytest.raises(ConfigError) as error:
        check_space(space(**several), experiment)
    told = str(error.value)
    assert "select/unseen_mean_per_class needs validation classes; set dataset.ood_split.select_classes" in told
    assert "a classifier of trained ones; set student.classifier: null and student.embedding" in told
    assert "class texts in the image teacher's space" not in told  # the hashed encoder has them
    sheet = load_experiment(project / "jobs" / "experiments" / "pareto_small.yaml")
    able = arm_experiment(sheet, "code_and_text")
    check_space(space(**several), able)
    students = [{"kind": "bottleneck", "text_side": False, "embedding_dim": 16}, {"kind": "tiny", "embedding": {}}]
    swept = {**WEIGHT, "student": {"kind": "choice", "values": students}}
    with pytest.raises(ConfigError) as error:
        check_space(space(**several, parameters=swept, fixed={"evaluation.measures": []}), able)
    told = str(error.value)
    assert "needs a student that tells classes apart by their texts; set student.embedding" in told
    assert "a classifier of trained ones; set student.classifier: null and student.embedding" in told


def test_a_trial_is_the_experiment_with_overrides_and_values_win_over_fixed_ones(experiment: Experiment) -> None:
    found = trial_experiment(experiment, space(fixed={"training.epochs": 2}), {"losses.text.weight": 0.7})
    assert (found.training.epochs, found.losses["text"].weight) == (2, 0.7)
    assert found.dataset == experiment.dataset
