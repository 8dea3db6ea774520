"""Class prompts and a text encoder that are learnt with the student: by the product's own training, on tiny CLIPs."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from orchestrator.artifacts.storage import read_json
from orchestrator.config.load import with_overrides
from orchestrator.errors import ConfigError
from orchestrator.evaluation.predict import count_correct, images_of
from orchestrator.stages import line
from orchestrator.teachers import OpenClipSettings
from orchestrator.teachers.prompt_learning import LearntClassText
from orchestrator.training.data import load_split
from orchestrator.training.run import HISTORY, TrainingJob, train
from orchestrator.training.student_file import LEARNT_CLASS_TEXT, STUDENT, load_class_text, load_student
from tests.smoke_line import SmokeLine, make_smoke_line, quiet_context
from tests.unit.training.test_resume import assert_same, run
from tests.unit.training.test_two_workers import one_worker

CLIP = {"kind": "open_clip", "model": "embedded:tiny_clip"}
PROMPTS: dict[str, Any] = {
    "student": {"kind": "tiny", "width": 8, "classifier": None, "embedding": {}},
    "losses": {"cls": {"kind": "embedding_cross_entropy"}, "prox": {"kind": "vl_proximity", "weight": 0.5, "k": 4}},
    "class_prompt": {"num_context": 4},
    "training.epochs": 4,
    "training.optimizer.learning_rate": 1e-2,
}
TUNED: dict[str, Any] = {
    "losses": {"text": {"kind": "text_contrastive", "symmetric": True}},
    "text_tuning": {"learning_rate": 1e-3},
    "training.epochs": 4,
}
VIT: dict[str, Any] = {"kind": "timm", "name": "test_vit", "image_size": 32}  # no BatchNorm
SGD = {"training.optimizer": {"kind": "sgd", "learning_rate": 0.02}}


@pytest.fixture(scope="module")
def clip_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """The smoke experiment with the embedded CLIP as image teacher and text encoder."""
    return make_smoke_line(tmp_path_factory.mktemp("clip"), 0, {"image_teacher": CLIP, "text_encoder": CLIP})


def state(job: TrainingJob) -> dict[str, Any]:
    """The newest checkpoint."""
    newest = sorted((Path(job.folder) / "checkpoints").glob("*.pt"))[-1]
    found: dict[str, Any] = torch.load(newest, weights_only=True)
    return found


def fallen(job: TrainingJob, name: str) -> float:
    """By what share a part of the loss has fallen from the first epoch to the last."""
    history = read_json(Path(job.folder) / HISTORY)
    return float(1 - history[-1][f"train/{name}"] / history[0][f"train/{name}"])


def test_class_prompts_are_learnt_with_the_student_and_lie_in_its_file(clip_line: SmokeLine, tmp_path: Path) -> None:
    scales = {"training.optimizer.learning_rate_scales": {"class_prompt.context": 3}}
    job, short = (
        clip_line.job(tmp_path / str(epochs), {**PROMPTS, **scales, "training.epochs": epochs}) for epochs in (4, 1)
    )
    run(job)
    run(short)
    assert fallen(job, "cls") > 0.05
    last = state(job)
    context, first = last["model"]["class_prompt.context"], state(short)["model"]["class_prompt.context"]
    assert float((context - first).abs().mean()) > 1e-2
    assert [name for name in last["model"] if name.startswith("class_prompt")] == ["class_prompt.context"]
    lowest, highest = sorted({group["lr"] for group in last["optimizer"]["param_groups"]})
    assert highest / lowest == pytest.approx(3.0)  # the context has a rate of its own

    # the tower is as it was: from settings and context alone come the class texts of the student's file
    assert job.live_texts.class_prompt is not None
    prompts = list(job.live_texts.class_prompt.prompts)
    again = LearntClassText(OpenClipSettings().build_text_tower(), prompts, num_trained=6, context=context)
    kept = load_class_text(tmp_path / "4" / STUDENT)
    assert kept is not None
    torch.testing.assert_close(again.of_all_classes(), kept, rtol=0, atol=1e-6)
    assert kept.shape == (6, 128)
    assert load_class_text(tmp_path / "1" / STUDENT) is not None


def test_without_class_prompts_the_same_losses_leave_class_texts_alone(clip_line: SmokeLine, tmp_path: Path) -> None:
    job = clip_line.job(tmp_path / "job", {**PROMPTS, "class_prompt": None})
    run(job)
    assert load_class_text(tmp_path / "job" / STUDENT) is None
    assert job.settings().keys() == {
        "student", "adaptor", "losses", "training", "text_sources", "image_size"
    }  # fmt: skip


def test_seen_and_unseen_classes_are_evaluated_by_the_class_texts_of_the_students_file_without_a_teacher(
    clip_line: SmokeLine,
) -> None:
    told = {**PROMPTS, "dataset.ood_split": {"seed": 1}, "arms": {"learnt": {}}, "sweep": None, "name": "coop"}
    context = quiet_context(with_overrides(clip_line.context.experiment, told, "test"), clip_line.context.root)
    plans = line.run(context, "evaluate")
    file = plans["train/learnt"].folder / STUDENT
    student, class_text = load_student(file), load_class_text(file)
    assert class_text is not None
    assert len(class_text) == 6  # of three the student has seen no image

    def counted(split: str, first: int, last: int, texts: Tensor) -> tuple[list[int], float]:
        data = load_split(plans["shard"].folder, split)
        correct, total = count_correct(
            student, images_of(data.pixels, 32), data.labels, 6, class_text=texts, label_range=(first, last)
        )
        return correct.tolist(), float(correct.sum() / total.sum())

    found = read_json(plans["evaluate/learnt"].folder / "evaluation.json")
    unseen, seen = counted("report", 3, 6, class_text), counted("select", 0, 3, class_text)
    assert found["correct"] == unseen[0]
    assert found["metrics"]["unseen_all"] == pytest.approx(unseen[1])
    assert found["metrics"]["seen_all"] == pytest.approx(seen[1])
    assert read_json(file.parent / "result.json")["metrics"]["select/all"] == pytest.approx(seen[1])
    turned = torch.cat([class_text[:3], class_text[3:].roll(1, 0)])
    assert counted("report", 3, 6, turned)[0] != unseen[0]  # other texts, other answers


def test_the_text_encoder_is_trained_at_its_own_rate_and_the_text_loss_falls(
    clip_line: SmokeLine, tmp_path: Path
) -> None:
    job = clip_line.job(tmp_path / "job", TUNED)
    run(job)
    frozen = clip_line.job(tmp_path / "frozen", {**TUNED, "text_tuning": None})
    run(frozen)
    assert fallen(job, "text") > fallen(frozen, "text") > 0
    shipped = OpenClipSettings().build_text_tower().state_dict()
    tuned = {name.removeprefix("live_text.tower."): value for name, value in state(job)["model"].items()}
    moved = [name for name in shipped if not torch.equal(shipped[name], tuned[name])]
    assert len(moved) > 0.8 * len(shipped)
    groups = state(job)["optimizer"]["param_groups"]
    assert sum(len(group["params"]) for group in groups) == len(state(job)["optimizer"]["state"])
    lowest, highest = sorted({group["lr"] for group in groups})
    assert highest / lowest == pytest.approx(3.0)  # the student's 3e-3, of the same schedule
    assert not any("live_text" in name or name == LEARNT_CLASS_TEXT for name in load_file(tmp_path / "job" / STUDENT))


@pytest.mark.parametrize("changes", [PROMPTS, TUNED], ids=["class_prompt", "text_tuning"])
def test_a_resumed_training_that_learns_texts_equals_an_undisturbed_one_bit_for_bit(
    clip_line: SmokeLine, tmp_path: Path, changes: dict[str, Any]
) -> None:
    straight, resumed = (clip_line.job(tmp_path / name, changes) for name in ("straight", "resumed"))
    assert run(straight) == [1, 2, 3, 4]
    run(resumed, stop_after=2)
    assert run(resumed) == [3, 4]
    assert_same(straight, resumed)


@pytest.mark.parametrize(
    "changes",
    [
        {**PROMPTS, **SGD, "student": {**VIT, "classifier": None, "embedding": {}}},
        {**TUNED, **SGD, "student": VIT, "adaptor.depth": 0, "text_tuning": {"learning_rate": 0.02}},
    ],
    ids=["class_prompt", "text_tuning"],
)
def test_two_workers_that_learn_texts_equal_one_process(
    clip_line: SmokeLine, tmp_path: Path, changes: dict[str, Any]
) -> None:
    alone, together = (
        clip_line.job(tmp_path / name, {**changes, "training.epochs": 2}) for name in ("alone", "together")
    )
    for _ in train(alone):
        pass
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    spawn(one_worker, args=(port, together.model_dump_json()), nprocs=2)
    one, two = state(alone)["model"], state(together)["model"]
    learnt = [name for name in one if name.startswith(("class_prompt.", "live_text."))]
    assert learnt
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"class_prompt": {}}, "class_prompt is on, and no loss"),
        ({"text_tuning": {}, "losses": {"cls": {"kind": "logit_adjusted_cross_entropy"}}}, "text_tuning is on"),
    ],
)
def test_texts_that_no_loss_would_teach_are_refused(
    clip_line: SmokeLine, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        run(clip_line.job(tmp_path / "job", changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"class_prompt": {}, "image_teacher": {"kind": "hashed"}}, "class_prompt needs an image_teacher"),
        ({"text_tuning": {}, "text_encoder": {"kind": "hashed"}}, "text_tuning needs a text_encoder"),
    ],
)
def test_encoders_that_cannot_learn_are_refused_with_the_experiment(
    clip_line: SmokeLine, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        with_overrides(clip_line.context.experiment, changes, "test")


def test_prompts_hold_each_class_s_name_and_its_sentence_where_asked(clip_line: SmokeLine, tmp_path: Path) -> None:
    plain, long = (
        clip_line.job(tmp_path / "job", {**PROMPTS, "class_prompt": {"with_class_text": sentence}})
        for sentence in (False, True)
    )
    assert plain.live_texts.class_prompt is not None
    assert long.live_texts.class_prompt is not None
    for short, whole in zip(plain.live_texts.class_prompt.prompts, long.live_texts.class_prompt.prompts, strict=True):
        assert whole.startswith(f"{short.removesuffix('.')} . ")
        assert whole.endswith(".")
        assert not whole.endswith("..")
    assert len(np.unique(plain.live_texts.class_prompt.prompts)) == 6
