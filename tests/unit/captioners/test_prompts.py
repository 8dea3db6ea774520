"""Sets of prompts, and what a user's own prompt may say: every problem at once, with what was probably meant."""

from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.captioners.prompts import (
    DESCRIPTION_PROMPTS,
    PROMPT_SETS,
    PROMPTS,
    custom_prompt_problems,
    expand_prompts,
    inject_class,
    resolve_prompts,
    text_problems,
)
from orchestrator.config.load import load_experiment
from orchestrator.errors import ConfigError


def test_each_named_set_is_the_one_before_it_and_one_targeted_prompt_more() -> None:
    members = list(PROMPT_SETS.values())
    assert members[0] == ("general",)
    for number, (smaller, larger) in enumerate(pairwise(members), start=1):
        assert larger == (*smaller, f"targeted_{number}")
    assert list(PROMPT_SETS) == ["G", "G+T1", "G+T12", "G+T123", "G+T1234"]


def test_a_set_stands_for_its_prompts_and_none_is_asked_twice() -> None:
    assert expand_prompts(["targeted_1", "G+T12", "keyword_short"]) == (
        "targeted_1",
        "general",
        "targeted_2",
        "keyword_short",
    )
    texts = resolve_prompts(["G+T1"], {"general": "What is this?"})
    assert texts == {"general": "What is this?", "targeted_1": PROMPTS["targeted_1"]}


def test_the_short_description_prompt_is_the_one_of_the_paper() -> None:
    assert inject_class(DESCRIPTION_PROMPTS["short"], "crane") == (
        "Use a single sentence to describe the appearance and shape of crane. Only describe the shape and appearance"
    )


@pytest.mark.parametrize("text", [*PROMPTS.values(), *DESCRIPTION_PROMPTS.values()])
def test_the_built_in_prompts_obey_the_rules_for_a_users_own(text: str) -> None:
    assert text_problems(text) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("Describe. ", "has blanks or line ends around it"),
        ("x" * 2001, "has 2,001 characters, at most 2,000 are allowed"),
        ("Describe {klass}.", "has the unknown field {klass}; did you mean {class}?"),
        ("Describe {name}.", "has the unknown field {name}; did you mean {class}?"),
        ("Describe {CLASS}.", "has the unknown field {CLASS}; did you mean {class}?"),
        ("Describe {Class }.", "has the unknown field {Class }; did you mean {class}?"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_said(text: str, told: str) -> None:
    assert text_problems(text) == [told]


@pytest.mark.parametrize("text", ["What is the {class}?", 'Answer as {"color": "..."}.', "{} {0} {1.5}", "x" * 2000])
def test_braces_that_are_no_field_are_left_alone(text: str) -> None:
    assert text_problems(text) == []


def test_a_text_under_two_names_is_refused_and_a_replaced_built_in_is_not() -> None:
    general = PROMPTS["general"]
    assert custom_prompt_problems({"mine": general}) == ["mine has the same text as general"]
    assert custom_prompt_problems({"one": "Say  it.", "two": "Say it."}) == ["two has the same text as one"]
    assert custom_prompt_problems({"general": "What is this?"}) == []
    assert custom_prompt_problems({"mine": general, "general": "What is this?"}) == []


def test_all_problems_of_a_sheets_prompts_are_told_at_once(project: Path) -> None:
    custom = "{Mine: 'See {klass}', empty: '', one: 'Look! ', two: 'Say.', three: 'Say.'}"
    with pytest.raises(ConfigError) as error:
        load_experiment(project / "jobs" / "experiments" / "smoke.yaml", [f"custom_prompts={custom}", "image_size=1"])
    told = str(error.value)
    assert "2 problems" in told.splitlines()[0]
    for problem in (
        "custom_prompts: 'Mine' is no name",
        "Mine has the unknown field {klass}; did you mean {class}?",
        "empty is empty",
        "one has blanks or line ends around it",
        "three has the same text as two",
        "image_size:",
    ):
        assert problem in told, problem


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("prompts=[genral,targeted_1]", "prompts: unknown genral; did you mean general?"),
        ("prompts=[G+T,targeted_1]", "prompts: unknown G+T; did you mean G+T1?"),
        ("prompts=[zzz,targeted_1]", "prompts: unknown zzz; known: general, prompt_long"),
        ("prompts=[G]", "texts.targeted.prompt: targeted_1 is not among prompts (G)"),
        ("texts.general.prompt=G+T12", "texts.general.prompt: targeted_2 is not among prompts (general, targeted_1)"),
        ("texts.image_id={kind: oracle}", "texts.image_id: no name of a text source"),
    ],
)
def test_a_prompt_that_is_not_there_is_named(project: Path, override: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_experiment(project / "jobs" / "experiments" / "smoke.yaml", [override])
    assert told in str(error.value)


def test_a_sheet_names_sets_in_its_prompts_and_in_a_text_that_joins_them(project: Path) -> None:
    overrides = ["prompts=[G+T12]", "texts.joined={kind: caption, prompt: G+T12}"]
    experiment = load_experiment(project / "jobs" / "experiments" / "smoke.yaml", overrides)
    assert list(experiment.prompt_texts()) == ["general", "targeted_1", "targeted_2"]


def test_whatever_puts_the_class_into_a_text_is_refused_where_classes_have_no_names(project: Path) -> None:
    nameless = "dataset={kind: list_file, root: x, lists: {train: train.txt}}"
    texts = "texts={general: {kind: caption, prompt: general}, names: {kind: class_name}}"
    overrides = [nameless, texts, "text_sources=[general]", "class_text={kind: class_name}"]
    smoke = project / "jobs" / "experiments" / "smoke.yaml"
    with pytest.raises(ConfigError) as error:
        load_experiment(smoke, overrides)
    told = str(error.value)
    for what in ("prompts: targeted_1", "texts.names", "class_text"):
        assert f"{what} needs the names of the classes, and the data set has none; set dataset.class_names" in told
    assert "general needs" not in told
    load_experiment(smoke, [*overrides, "dataset.class_names=classes.tsv"])
    unlabelled = ["dataset={kind: coco_captions, root: x}", *overrides[1:]]
    with pytest.raises(ConfigError, match=r"the data set has none; set dataset\.instances"):
        load_experiment(smoke, unlabelled)
    load_experiment(smoke, [*unlabelled, "dataset.instances={train: a.json, report: b.json}"])
