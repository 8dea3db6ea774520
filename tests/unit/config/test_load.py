"""Settings at the border: every problem at once with its path, numbers as people write them, overrides."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.load import (
    apply_overrides,
    arm_experiment,
    load_execution,
    load_experiment,
    parse_overrides,
    read_yaml,
    with_overrides,
)
from orchestrator.errors import ConfigError


@pytest.fixture
def smoke(project: Path) -> Path:
    """The smoke experiment's sheet."""
    return project / "jobs" / "experiments" / "smoke.yaml"


def sheet(folder: Path, smoke: Path, **changes: Any) -> Path:
    """The smoke sheet with changes at dotted paths (`__` for the dot), as a file."""
    tree = yaml.safe_load(smoke.read_text())
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(apply_overrides(tree, {name.replace("__", "."): v for name, v in changes.items()})))
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_experiment(path, overrides)
    return str(error.value)


def test_all_problems_are_told_at_once_each_with_its_path(smoke: Path) -> None:
    told = refusal(
        smoke, "training.epochs=0", "training.optimizer.learning_rate=fast", "student.width=-1", "image_size=7"
    )
    lines = told.splitlines()
    assert "4 problems" in lines[0]
    assert len(lines) == 5
    for path in ("training.epochs:", "training.optimizer.learning_rate:", "student.width:", "image_size:"):
        assert sum(line.strip().startswith(path) for line in lines) == 1, path
    assert "(given 'fast')" in told


@pytest.mark.parametrize(
    ("override", "path", "meant"),
    [
        ("training.epoch=5", "training.epoch", "epochs"),
        ("training.optimizer.learningrate=1", "training.optimizer.learningrate", "learning_rate"),
        ("losses.text.temprature=0.1", "losses.text.temprature", "temperature"),
        ("adapter.depth=1", "adapter", "adaptor"),
        ("student.widht=3", "student.widht", "width"),
        ("training.schedule.final_fracton=0", "training.schedule.final_fracton", "final_fraction"),  # of a default kind
        ("texts.general.promt=general", "texts.general.promt", "prompt"),
    ],
)
def test_an_unknown_setting_names_the_nearest_known_one(smoke: Path, override: str, path: str, meant: str) -> None:
    assert f"{path}: unknown setting; did you mean {meant}?" in refusal(smoke, override)


def test_an_unknown_kind_lists_the_known_ones(smoke: Path) -> None:
    told = refusal(smoke, "student.kind=resnet")
    assert "student" in told
    assert "student.kind: unknown resnet; known: " in told
    assert "timm, tiny" in told


@pytest.mark.parametrize("written", ["1e-3", "0.001", "1.0e-3", "'1e-3'"])
def test_numbers_are_read_however_they_are_written(tmp_path: Path, smoke: Path, written: str) -> None:
    text = smoke.read_text().replace("learning_rate: 3.0e-3", f"learning_rate: {written}")
    assert written in text
    (tmp_path / "sheet.yaml").write_text(text)
    assert load_experiment(tmp_path / "sheet.yaml").training.optimizer.learning_rate == 0.001
    overridden = load_experiment(smoke, [f"training.optimizer.learning_rate={written}"])
    assert overridden.training.optimizer.learning_rate == 0.001


def test_overrides_replace_values_and_null_removes_a_loss(smoke: Path) -> None:
    experiment = load_experiment(
        smoke, ["training.epochs=7", "losses.image=null", "text_sources=[truth]", "sweep=null"]
    )
    assert experiment.training.epochs == 7
    assert set(experiment.losses) == {"classification", "text"}
    assert experiment.text_sources == ("truth",)
    assert experiment.sweep is None
    assert load_experiment(smoke).training.epochs == 3  # the sheet itself is as it was


def test_removing_every_loss_is_refused(smoke: Path) -> None:
    assert "losses: there is none" in refusal(smoke, "losses={}")


@pytest.mark.parametrize("argument", ["training.epochs", "=3"])
def test_an_override_without_path_or_sign_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.b=value"):
        parse_overrides(["training.epochs=3", argument])


def test_overrides_leave_the_tree_they_are_applied_to(smoke: Path) -> None:
    tree = {"a": {"b": 1}, "c": 2}
    assert apply_overrides(tree, {"a.b": 3, "a.d.e": 4}) == {"a": {"b": 3, "d": {"e": 4}}, "c": 2}
    assert tree == {"a": {"b": 1}, "c": 2}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("text_sources=[truth,nonsense]", "text_sources: nonsense is not among texts (general, targeted, truth)"),
        ("texts.general.prompt=targeted_3", "texts.general.prompt: targeted_3 is not among prompts"),
        ("prompts=[general,targeted_1,haiku]", "prompts: unknown haiku"),
        ("sweep.arm=best", "sweep.arm: best is not among arms (baseline, distilled)"),
        ("arms={}", "arms: there is none"),
        ("caption_splits=[]", "caption_splits:"),
        ("name=Has Spaces", "name:"),
    ],
)
def test_references_to_what_is_not_there_are_named(smoke: Path, override: str, told: str) -> None:
    assert told in refusal(smoke, override)


def test_several_wrong_references_are_told_together(smoke: Path) -> None:
    told = refusal(smoke, "text_sources=[nonsense]", "sweep.arm=best")
    assert "nonsense is not among texts" in told
    assert "best is not among arms" in told


def test_an_arm_is_the_experiment_with_its_overrides(smoke: Path) -> None:
    experiment = load_experiment(smoke)
    baseline = arm_experiment(experiment, "baseline")
    assert set(baseline.losses) == {"classification"}
    assert arm_experiment(experiment, "distilled") == experiment
    best = arm_experiment(experiment, "distilled", {"losses.text.weight": 0.25, "adaptor.depth": 2})
    assert (best.losses["text"].weight, best.adaptor.depth) == (0.25, 2)
    assert best.losses["image"] == experiment.losses["image"]


def test_an_arm_with_a_mistake_is_refused_when_the_sheet_is_loaded(tmp_path: Path, smoke: Path) -> None:
    path = sheet(tmp_path, smoke, arms={"baseline": {}, "odd": {"training.epoch": 3}}, sweep=None)
    told = refusal(path)
    assert told.startswith("arms.odd: 1 problem")
    assert "training.epoch: unknown setting; did you mean epochs?" in told


def test_an_arm_that_varies_what_all_arms_share_is_refused(tmp_path: Path, smoke: Path) -> None:
    odd = {"odd": {"image_teacher": None, "dataset.seed": 3, "losses.text.weight": 2.0}}
    told = refusal(sheet(tmp_path, smoke, arms={"baseline": {}, **odd}, sweep=None))
    assert "arms.odd.image_teacher: all arms share image_teacher" in told
    assert "arms.odd.dataset.seed: all arms share dataset" in told
    assert "losses" not in told


def test_settings_cannot_be_changed_after_reading(smoke: Path) -> None:
    experiment = load_experiment(smoke)
    with pytest.raises(ValueError, match="frozen"):
        experiment.name = "other"  # type: ignore[misc]


def test_a_resolved_tree_reads_back_as_the_same_experiment(smoke: Path) -> None:
    experiment = load_experiment(smoke)
    assert with_overrides(experiment, {}, "again") == experiment


def test_a_file_that_is_missing_or_is_not_a_mapping_is_told(tmp_path: Path, smoke: Path) -> None:
    assert "smoke.yaml" in refusal(smoke.with_name("smok.yaml"))
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    assert "a mapping of settings" in refusal(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("name: [a\n")
    assert "not YAML" in refusal(tmp_path / "broken.yaml")
    (tmp_path / "tagged.yaml").write_text("name: !!python/object/apply:os.getcwd []\n")
    assert "not YAML" in refusal(tmp_path / "tagged.yaml")


def test_an_execution_is_overridden_and_refused_in_the_same_way(project: Path) -> None:
    path = project / "jobs" / "executions" / "laptop.yaml"
    assert load_execution(path, ["cluster.num_gpus=2", "storage_root=elsewhere"]).cluster.num_gpus == 2
    with pytest.raises(ConfigError, match=r"training\.num_worker: unknown setting; did you mean num_workers\?"):
        load_execution(path, ["training.num_worker=2"])


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("training:\n  epochs: 3\n  epochs: 4\n")
    with pytest.raises(ConfigError, match="not YAML in line 3: the key epochs stands twice"):
        read_yaml(path)


def test_an_override_that_is_no_yaml_is_told_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"override domain_texts=.*\n.*quotes"):
        parse_overrides(["domain_texts=[a dark photo of a {class}.]"])
