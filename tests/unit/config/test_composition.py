"""What nobody supplies is told from the settings alone, with who reads it and what would supply it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator import vocabulary as v
from orchestrator.config.composition import check_composition, problems_of
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.errors import ConfigError

ONE_LOSS: dict[str, Any] = {
    "losses": {}, "arms": {"only": {}}, "sweep": None, "student": {"kind": "tiny", "width": 8}, "text_sources": []
}  # fmt: skip
EMBEDDING = {"student.embedding": {}}
TWO_VIEWS = {"training.more_views": [{"kind": "shift"}]}
HASHED = {"kind": "hashed", "dim": 16}
PROJECTION = {"student": {"kind": "projection", "embedding_dim": 16}}
VISION_ONLY = {"image_teacher": {"kind": "timm", "model": "vit_small_patch16_224.dino"}}


class Case(NamedTuple):
    """A loss that reads `wanted`; the experiment is `given` without `supplies`, which supplies it."""

    wanted: str
    loss: Mapping[str, Any]
    supplies: Mapping[str, Any]
    given: Mapping[str, Any] = {}
    setting: str = ""  # that the message must name; else the last part of what supplies it


CASES = [
    Case(v.STUDENT_LOGITS, {"kind": "logit_adjusted_cross_entropy"}, {"student.classifier": {"kind": "linear"}},
         {"student.classifier": None, **EMBEDDING}),
    Case(v.STUDENT_FEATURE, {"kind": "paco", "queue_size": 16}, {"student": {"kind": "tiny"}},
         {**TWO_VIEWS, **PROJECTION}, "student"),
    Case(v.STUDENT_FEATURE, {"kind": "pkt"}, {"student": {"kind": "tiny"}},
         {"image_teacher.outputs": ["embedding", "feature"], **PROJECTION}, "student"),
    Case(v.STUDENT_MAP, {"kind": "nst"}, {"student": {"kind": "tiny"}},
         {"image_teacher.outputs": ["embedding", "tokens"], **PROJECTION}, "student"),
    Case(v.STUDENT_EMBEDDING, {"kind": "embedding_mse"}, EMBEDDING, {}, "student.embedding"),
    Case(v.STUDENT_TEXT, {"kind": "siglip"}, {"student.text_side": True, "text_sources": ["general"]},
         {**PROJECTION, "student.text_side": False}, "text_side"),
    Case(v.TEXT_PREDICTION, {"kind": "text_contrastive"}, {"text_sources": ["general"]}, {}, "text_sources"),
    Case(v.TEXT, {"kind": "caption_contrastive"}, {"text_sources": ["general"]}, EMBEDDING, "text_sources"),
    Case(v.TEXT_ID, {"kind": "text_contrastive"}, {"text_sources": ["general"]}, {}, "text_sources"),
    Case(v.VIEW_FEATURE, {"kind": "proco"}, TWO_VIEWS, {}, "training.more_views"),
    Case(v.VIEW_FEATURE, {"kind": "supervised_contrastive"}, TWO_VIEWS, {}, "training.more_views"),
    Case(v.VIEW_LOGITS, {"kind": "gpaco", "queue_size": 16}, TWO_VIEWS, {}, "training.more_views"),
    Case(v.KEY_FEATURE, {"kind": "paco", "queue_size": 16}, TWO_VIEWS, {}, "training.more_views"),
    Case(v.TEACHER_LOGITS, {"kind": "hinton_kd"}, {"image_teacher": HASHED}, {"image_teacher": None}),
    Case(v.TEACHER_LOGITS, {"kind": "hinton_kd"}, {"image_teacher.outputs": ["embedding", "logits"]}, VISION_ONLY,
         "outputs"),
    Case(v.TEACHER_LOGITS, {"kind": "hinton_kd"}, {"teacher_tuning": {"head": "random"}}, VISION_ONLY,
         "teacher_tuning"),
    Case(v.CLASS_TEXT, {"kind": "embedding_cross_entropy"}, {"teacher_tuning": None},
         {"teacher_tuning": {"mode": "linear_probe"}, **EMBEDDING}, "image_teacher"),
    Case(v.TEACHER_IMAGE, {"kind": "embedding_mse"}, {"image_teacher": HASHED},
         {"image_teacher": None, "student.embedding": {"dim": 16}}),
    Case(v.TEACHER_FEATURE, {"kind": "crd"}, {"image_teacher.outputs": ["embedding", "feature"]}, {},
         "image_teacher.outputs"),
    Case(v.TEACHER_MAP, {"kind": "attention_transfer"}, {"image_teacher.outputs": ["embedding", "tokens"]}, {},
         "image_teacher.outputs"),
    Case(v.CLASS_TEXT, {"kind": "embedding_cross_entropy"}, {"image_teacher": HASHED}, {**VISION_ONLY, **EMBEDDING}),
    Case(v.DOMAIN_TEXT, {"kind": "rise"}, {"domain_texts": ["a dark photo of a {class}.", "a photo of a {class}."]},
         EMBEDDING),
]  # fmt: skip
ALWAYS_THERE = {v.LABEL, v.IMAGE_ROW}
NEVER_NEEDED = {v.TARGET, v.MIX_ROW, v.MIX_WEIGHT}  # losses take them where images are mixed, and need them nowhere


@pytest.fixture(scope="module")
def smoke(project: Path) -> Experiment:
    """The smoke experiment without its losses."""
    return load_experiment(project / "jobs" / "experiments" / "smoke.yaml")


def changed(smoke: Experiment, *overrides: Mapping[str, Any], loss: Mapping[str, Any]) -> Experiment:
    tree: dict[str, Any] = {**ONE_LOSS, "losses": {"one": dict(loss)}}
    for each in overrides:
        tree |= each
    return with_overrides(smoke, tree, "test")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.loss['kind']}-{case.wanted}")
def test_a_missing_input_is_named_with_its_loss_and_setting_and_that_setting_supplies_it(
    smoke: Experiment, case: Case
) -> None:
    told = "; ".join(problems_of(changed(smoke, case.given, loss=case.loss)))
    assert "losses.one" in told
    assert any(word in told for word in (case.wanted, *case.wanted.split("_"), "views of an image"))
    assert (case.setting or list(case.supplies)[-1]) in told
    assert problems_of(changed(smoke, case.given, case.supplies, loss=case.loss)) == []


def test_every_input_of_the_vocabulary_is_tried() -> None:
    assert {case.wanted for case in CASES} | ALWAYS_THERE | NEVER_NEEDED == v.BATCH_INPUTS


def test_a_loss_of_class_texts_needs_no_text_source(smoke: Experiment) -> None:
    assert problems_of(changed(smoke, EMBEDDING, loss={"kind": "text_hinge"})) == []


def test_mixing_makes_mixed_targets_and_refuses_losses_of_whole_images(smoke: Experiment) -> None:
    mixing = {"training.mixing": {"mixup_alpha": 0.8}}
    assert problems_of(changed(smoke, mixing, loss={"kind": "logit_adjusted_cross_entropy"})) == []
    (told,) = problems_of(changed(smoke, mixing, EMBEDDING, loss={"kind": "embedding_mse"}))
    assert "losses.one reads teacher_image, which belong to whole images" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"student": {"kind": "cbam", "image_input": "teacher_map"}}, "set image_teacher.outputs: [embedding, tokens]"),
        ({"student": {"kind": "bottleneck"}, "image_teacher": None}, "set image_teacher"),
        ({"student": {"kind": "timm", "name": "resnet18x"}}, "such as resnet18"),
        ({"student.classifier": {"kind": "linear", "reads": "adaptor"}}, "text_sources for the adaptor"),
        ({"student.classifier": {"kind": "linear", "start": "class_texts"}, **VISION_ONLY}, "encodes texts too"),
        ({"student": {"kind": "timm", "name": "vit_tiny_patch16_224"}}, "fails at images of 32 pixels"),
        ({"student": {"kind": "timm", "name": "coat_tiny", "image_size": 32}}, "choose another student.name"),
        ({"training.freeze": ["student.nothing.*"]}, "student.nothing.*"),
        ({"training.optimizer.learning_rate_scales": {"nobody.*": 10}}, "learning_rate_scales: 'nobody.*'"),
        ({"training.optimizer.layer_decay": 0.75}, "layer"),
        ({"dataset.ood_split": {"seed": 0}}, "8 classes have no training image"),
    ],
)  # fmt: skip
def test_students_and_training_that_do_not_fit_are_told(smoke: Experiment, change: dict[str, Any], told: str) -> None:
    loss = {"kind": "logit_adjusted_cross_entropy"}
    assert problems_of(changed(smoke, loss=loss)) == []
    assert told in "; ".join(problems_of(changed(smoke, change, loss=loss)))


def test_two_losses_without_their_inputs_are_told_at_once_with_the_arms_they_are_of(smoke: Experiment) -> None:
    losses = {"spread": {"kind": "proco"}, "attend": {"kind": "attention_transfer"}}
    tree = {**ONE_LOSS, "losses": losses, "arms": {"both": {}, "again": {}}}
    experiment = with_overrides(smoke, tree, "test")
    with pytest.raises(ConfigError) as caught:
        check_composition(experiment)
    told = str(caught.value)
    assert "losses.spread: proco needs 2 views" in told
    assert "losses.attend: attention_transfer compares maps" in told
    assert "(arms both, again)" in told
    check_composition(smoke)


def test_a_run_is_refused_before_anything_is_made(smoke: Experiment, project: Path, tmp_path: Path) -> None:
    from orchestrator.executors.in_process import InProcessExecutor
    from orchestrator.stages.command import Request, run_command

    request = Request(
        project / "jobs" / "experiments" / "smoke.yaml", ["text_sources=[]"],
        project / "jobs" / "executions" / "in_process.yaml", [f"storage_root={tmp_path}", "tracking.kind=none"],
        lambda _: InProcessExecutor(), quiet=True,
    )  # fmt: skip
    for until in ("caption", "report"):
        with pytest.raises(ConfigError, match=r"losses\.text needs text, supplied by: text_sources"):
            run_command(until, request)
    assert list(tmp_path.iterdir()) == []
