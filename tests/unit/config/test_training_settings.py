"""What a sheet says of views, mixing, samplers and weights: short forms, overrides, what is refused with its path."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.errors import ConfigError
from orchestrator.losses.objective import SUPPLIED_BY
from orchestrator.search.check import check_space
from orchestrator.search.space import SearchSpace
from orchestrator.training.view_settings import AugmentedViews, ShiftViews


def smoke(project: Path, *overrides: str) -> Experiment:
    return load_experiment(project / "jobs" / "experiments" / "smoke.yaml", overrides)


@pytest.mark.parametrize(
    ("override", "views"),
    [
        ("training.views.pad=4", ShiftViews(pad=4)),
        ("training.views={pad: 4, flip: false}", ShiftViews(pad=4, flip=False)),
        ("training.views={kind: shift, pad: 4}", ShiftViews(pad=4)),
        ("training.views.recipe=randcls", AugmentedViews(recipe="randcls")),
        ("training.views={recipe: livt}", AugmentedViews(recipe="livt")),
    ],
)
def test_views_need_no_kind(project: Path, override: str, views: Any) -> None:
    experiment = smoke(project, override)
    assert experiment.training.views == views
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


def test_a_trial_or_an_arm_changes_one_setting_of_the_views(project: Path) -> None:
    shifted, recipe = smoke(project), smoke(project, "training.views.recipe=randcls")
    assert with_overrides(shifted, {"training.views.pad": 4}, "trial").training.views == ShiftViews(pad=4)
    other = with_overrides(recipe, {"training.views.recipe": "sim"}, "trial").training.views
    assert other == AugmentedViews(recipe="sim")


def test_a_search_space_ranges_over_settings_of_the_views(project: Path) -> None:
    def space(path: str, values: list[Any]) -> SearchSpace:
        domains = {path: {"kind": "choice", "values": values}}
        about = {"name": "views", "question": "?", "expected": "?", "cost": "?"}
        sheet = {**about, "budget": {"num_trials": 2}, "parameters": domains}
        return SearchSpace.model_validate(sheet)

    unseen = "image_teacher_views=0"  # the image teacher's kept rows would be of other views
    check_space(space("training.views.pad", [0, 4]), smoke(project, unseen))
    check_space(space("training.views.recipe", ["sim", "livt"]), smoke(project, unseen, "training.views.recipe=sim"))
    with pytest.raises(ConfigError, match=r"has no training\.views\.recipe"):
        check_space(space("training.views.recipe", ["sim"]), smoke(project))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["training.views=sim"], "training.views: expected a mapping"),
        (["training.views={kind: nonsense}"], "training.views: expected a mapping"),
        (["training.views={recipe: simm}"], "recipe: Input should be 'randcls'"),
        (["training.views={pad: 3, recipe: sim}"], "pad: unknown setting"),
        (["frame_size=24"], "frame_size: 24 is below image_size 32"),
        (["frame_size=48"], "training.views: shifted views are as large as what they are cut of"),
        (["frame_size=48", "training.views.recipe=sim", "training.more_views=[{pad: 2}]"], "training.more_views.0:"),
        (["training.views={recipe: sim, shared_draw: true}"], "training.views.shared_draw: no teacher can see"),
        (["training.loss_schedules={txet: {points: [[0, 1]]}}"], "training.loss_schedules.txet: there is no such loss"),
        (["training.loss_schedules={text: {points: [[0.5, 1], [0.2, 1]]}}"], "fractions must rise from 0 to 1"),
        (["domain_texts=[a dark photo]"], "domain_texts: 'a dark photo' does not hold {class}"),
        (["training.mixing={cutmix_share: 2}"], "training.mixing.cutmix_share:"),
        (["student.classifier=null"], "classifier and embedding are both null"),
        (["student.classifier={kind: linear, reads: embedding}"], "and embedding is null"),
        (["student.pixel_mean=[0.5, 0.5, 0.5]"], "pixel_mean and pixel_std go together"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_path(project: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        smoke(project, *overrides)
    assert told in str(error.value)


def test_frames_are_larger_than_the_students_images_where_all_views_are_cut(project: Path) -> None:
    experiment = smoke(project, "frame_size=48", "training.views.recipe=sim", "framing=stretch")
    assert (experiment.stored_size, experiment.image_size) == (48, 32)
    assert smoke(project).stored_size == 32
    no_teacher = smoke(project, "training.views={recipe: sim, shared_draw: true}", "image_teacher_views=0")
    assert no_teacher.training.views == AugmentedViews(recipe="sim", shared_draw=True)


def test_a_schedule_may_name_a_loss_that_only_an_arm_has_or_that_an_arm_takes_away(project: Path) -> None:
    points = "{points: [[0, 0], [0.2, 1]]}"
    assert "text" in smoke(project, f"training.loss_schedules={{text: {points}}}").training.loss_schedules


# --- what supplies an input -------------------------------------------------------------------------------------------


def settings_below(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in settings_below(part)]


def exists(path: str) -> bool:
    """Whether some experiment has a setting at this dotted path."""
    candidates: list[Any] = [Experiment]
    for name in path.split("."):
        fields = [one.model_fields[name] for one in candidates if name in one.model_fields]
        if not fields:
            return False
        candidates = [model for one in fields for model in settings_below(one.annotation)]
    return True


@pytest.mark.parametrize("name", SUPPLIED_BY)
def test_what_is_said_to_supply_an_input_is_a_setting_that_exists(name: str) -> None:
    words = re.findall(r"[a-z_]+(?:\.[a-z_]+)*", SUPPLIED_BY[name])
    paths = [word for word in words if "." in word or "_" in word or word in Experiment.model_fields]
    assert paths, SUPPLIED_BY[name]
    assert [path for path in paths if not exists(path)] == []
