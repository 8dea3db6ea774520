"""Explanations say what the classes say: ranges, defaults and meanings of real settings, and what is near a mistake."""

import pytest

from orchestrator.captioners.prompts import PROMPTS
from orchestrator.config.experiment import Experiment
from orchestrator.errors import ConfigError
from orchestrator.guide.explain import explain
from orchestrator.guide.kinds import UNIONS, WORDS, listed
from orchestrator.guide.settings import every_path, models_in


def test_a_setting_has_its_range_default_meaning_and_paper() -> None:
    (found,) = explain("losses.text.temperature")
    assert (found.path, found.type, found.default) == ("losses.text_contrastive.temperature", "number > 0", "0.07")
    assert found.meaning == "`temperature` is the start value when `learnable`."
    assert "VLM-KD (Eq. 2)" in found.paper[0]


def test_a_kind_lists_every_setting_with_its_default() -> None:
    (found,) = explain("losses.text")
    rows = {name: (kind, default) for name, kind, default, _ in found.settings}
    assert rows["reduction"] == ("mean | sum", "mean")
    assert rows["weight"] == ("number >= 0", "1")
    assert set(rows) == {
        "weight", "temperature", "learnable", "symmetric", "merge_duplicates", "reduction", "negatives"
    }  # fmt: skip


def test_a_place_for_several_kinds_lists_them_and_a_sheet_says_which_is_meant() -> None:
    (found,) = explain("losses")
    assert [name for name, _ in found.kinds] == sorted(name for name, _ in listed("losses"))
    (found,) = explain("losses.mine.weight", {"losses": {"mine": {"kind": "pkt"}}})
    assert found.path == "losses.pkt.weight"
    (found,) = explain("student.name", {"student": {"kind": "timm"}})
    assert found.path == "student.name"
    assert found.default is None


def test_a_name_of_two_sheets_is_explained_for_both_and_the_sheet_in_front_chooses() -> None:
    assert [found.sheet for found in explain("training")] == ["experiment", "execution"]
    (found,) = explain("execution.training.num_workers")
    assert (found.sheet, found.default) == ("execution", "1")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("losses.text.temprature", "losses.text_contrastive.temperature"),
        ("losses.text_contrastiv", "losses.text_contrastive"),
        ("trainig", "training"),
        ("learnable_scale", "losses.clip_kd.learnable_scale"),
    ],
)
def test_a_misspelt_path_is_told_with_what_is_near(wrong: str, near: str) -> None:
    with pytest.raises(ConfigError) as told:
        explain(wrong)
    assert near in str(told.value)
    assert len(str(told.value).splitlines()) <= 3


def test_every_path_of_every_sheet_can_be_explained() -> None:
    paths = list(dict.fromkeys(every_path(depth=3)))
    assert len(paths) > 300
    assert [path for path in paths if not explain(path)] == []


def test_every_top_level_setting_of_an_experiment_has_a_meaning() -> None:
    unexplained = [name for name in Experiment.model_fields if not any(one.meaning for one in explain(name))]
    assert unexplained == []


def test_lists_name_all_kinds_of_a_union_all_prompts_and_the_shipped_sheets() -> None:
    for word, union in UNIONS.items():
        assert len(listed(word)) == len(models_in(union))
        assert all(told for _, told in listed(word))
    assert set(PROMPTS) <= {name for name, _ in listed("prompts")}
    assert ("hashed", True) in [(name, told.startswith("[images and texts]")) for name, told in listed("teachers")]
    with pytest.raises(ConfigError, match="expected: losses"):
        listed("loses")
    assert "losses" in WORDS
