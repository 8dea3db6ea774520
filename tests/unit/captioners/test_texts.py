"""What each kind of text source says, word by word."""

from pathlib import Path

import open_clip
import pyarrow as pa
import pytest

from orchestrator.captioners.texts import (
    CaptionText,
    ClassDescriptionText,
    ClassNameText,
    DrawnVector,
    OracleText,
    RandomVectorText,
    WrittenDescriptionText,
)
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.errors import ArtifactError, ConfigError, DataError
from tests.unit.captioners.text_tables import IMAGES, class_table, material

ANSWERS = {
    ("a/1.jpg", "general"): "A crane.",
    ("a/1.jpg", "targeted_1"): "The crane is tall.",
    ("a/2.jpg", "targeted_1"): "The bird is small.",
    ("b/3.jpg", "general"): "A bird.",
}


def test_a_caption_is_the_answer_to_its_prompt_and_none_where_there_is_no_answer() -> None:
    assert CaptionText(prompt="general").texts_of_images(material(ANSWERS)) == [
        ("A crane.",),
        None,
        ("A bird.",),
        None,
    ]


@pytest.mark.parametrize("prompt", ["G+T1", ("general", "targeted_1"), ("G", "targeted_1")])
def test_answers_to_several_prompts_are_joined_with_a_blank(prompt: str | tuple[str, ...]) -> None:
    assert CaptionText(prompt=prompt).texts_of_images(material(ANSWERS)) == [
        ("A crane. The crane is tall.",),
        ("The bird is small.",),
        ("A bird.",),
        None,
    ]


def test_the_order_of_the_prompts_is_the_order_of_the_joined_answers() -> None:
    found = CaptionText(prompt=("targeted_1", "general")).texts_of_images(material(ANSWERS))
    assert found[0] == ("The crane is tall. A crane.",)


def test_a_permuted_caption_comes_from_an_image_of_the_class_or_of_any() -> None:
    told = {(name, "general"): f"caption of {name}" for name, _ in IMAGES}
    within = CaptionText(prompt="general", permute="within_class").texts_of_images(material(told))
    assert {within[0], within[2]} == {("caption of a/1.jpg",), ("caption of b/3.jpg",)}
    assert (within[1], within[3]) == (("caption of a/2.jpg",), ("caption of b/4.jpg",))
    over_all = CaptionText(prompt="general", permute="all").texts_of_images(material(told))
    assert sorted(map(str, over_all)) == sorted(map(str, within))


def test_a_class_name_stands_in_the_template_for_each_image_of_the_class() -> None:
    photo = ClassNameText().texts_of_images(material())
    assert photo == [("a photo of a crane.",), ("a photo of a sand_piper.",), photo[0], ("a photo of a red fox.",)]
    two = ClassNameText(template=("a {class}", "the {class}, a {class}"))
    assert two.texts_of_classes(class_table(), None)[1] == ("a crane", "the crane, a crane")


def test_the_rise_ensemble_is_the_seven_templates_of_the_paper_as_open_clip_has_them_too() -> None:
    (group,) = ClassNameText(ensemble="rise").texts_of_classes(class_table(("crane",)), None)
    assert group == tuple(template("crane") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES)
    assert group[0] == "itap of a crane."


def test_the_clip_ensemble_is_the_eighty_published_templates() -> None:
    (group,) = ClassNameText(ensemble="clip").texts_of_classes(class_table(("crane",)), None)
    assert group == tuple(template("crane") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
    assert isinstance(group, tuple)
    assert len(set(group)) == 80
    assert {"a bad photo of a crane.", "a tattoo of the crane."} <= set(group)


def test_an_ensemble_is_identified_by_its_templates_and_a_template_by_itself() -> None:
    rise = ClassNameText(ensemble="rise")
    assert ClassNameText(template=rise.templates()).identity() == rise.identity()
    assert ClassNameText(template=rise.templates()[::-1]).identity() != rise.identity()
    assert ClassNameText().identity() == ClassNameText(template="a photo of a {class}.").identity()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"template": ["a {class}", "a photo"]}, "a template must hold {class}, 'a photo' does not"),
        ({"template": []}, "there is no template"),
        ({"template": ["a {class}", "a {class}"]}, "a template stands there twice"),
        ({"template": "a {class} in {place}"}, "has the unknown field {place}; did you mean {class}?"),
        ({"template": "a {class} "}, "has blanks or line ends around it"),
        ({"template": "a {class}", "ensemble": "clip"}, "give either template or ensemble"),
        ({"ensemble": "blip"}, "'clip' or 'rise'"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match="validation error") as error:
        ClassNameText.model_validate(given)
    assert told in str(error.value)


def test_an_ensemble_survives_being_resolved_and_read_again(project: Path) -> None:
    smoke = project / "jobs" / "experiments" / "smoke.yaml"
    overrides = [
        "texts.names={kind: class_name, ensemble: clip}",
        "class_text={kind: class_name, template: 'a {class}'}",
    ]
    experiment = load_experiment(smoke, overrides)
    assert with_overrides(experiment, {}, "again") == experiment
    assert experiment.class_text is not None
    with pytest.raises(ConfigError, match=r"class_text.kind: unknown caption"):
        load_experiment(smoke, ["class_text={kind: caption, prompt: general}"])


def test_a_class_is_described_by_the_data_set_or_the_gap_is_told() -> None:
    assert ClassDescriptionText().texts_of_images(material())[3] == ("a bird called red fox",)
    with pytest.raises(DataError, match="no description of 3 of its 3 classes"):
        ClassDescriptionText().texts_of_classes(class_table(described=False), None)


def test_the_truth_of_an_image_is_its_own() -> None:
    assert OracleText().texts_of_images(material()) == [(f"truth of {name}",) for name, _ in IMAGES]


def test_a_random_vector_is_named_by_seed_and_image() -> None:
    assert RandomVectorText(seed=3).texts_of_images(material()) == [DrawnVector(3, name) for name, _ in IMAGES]


def test_a_written_description_follows_the_name_and_only_its_own_level_counts() -> None:
    rows = [(label, level, f"{level} words\n about {label}") for label in range(3) for level in ("short", "long")]
    table = pa.table(dict(zip(("label", "level", "description"), map(list, zip(*rows, strict=True)), strict=True)))
    assert WrittenDescriptionText(level="long").texts_of_classes(class_table(), table)[2] == (
        "a photo of red fox . long words about 2",
    )
    with pytest.raises(ArtifactError, match="no description at level medium of classes 0, 1, 2"):
        WrittenDescriptionText(level="medium").texts_of_classes(class_table(), table)
    with pytest.raises(ArtifactError, match="no description at level short of classes 0, 1, 2"):
        WrittenDescriptionText().texts_of_classes(class_table(), None)
