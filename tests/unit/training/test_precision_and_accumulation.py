"""Micro-batches, half precision and moving averages: what they equal, and that they resume in the same bits."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from orchestrator.errors import ConfigError, NonFiniteLossError
from orchestrator.training.order import Order
from orchestrator.training.precision import Stepper
from orchestrator.training.run import TrainingJob, train
from orchestrator.training.settings import EmaSettings, TrainingSettings
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import SmokeLine, trainer_of
from tests.unit.training.test_resume import assert_same, run

# No BatchNorm, and SGD, which does not magnify rounding as Adam does; losses that are a mean over images.
MEANS: dict[str, Any] = {
    "student": {"kind": "timm", "name": "test_vit", "image_size": 32},
    "training.optimizer": {"kind": "sgd", "learning_rate": 0.02},
    "adaptor.depth": 0,
    "losses.text": None,
}
MIXED: dict[str, Any] = {
    "training.mixing": {"label_smoothing": 0.1},
    "losses.image": {"kind": "image_distillation", "weight": 0.5, "feature_weight": 0},
}
VIEWS: dict[str, Any] = {
    "training.views": {"recipe": "livt", "shared_draw": True},
    "training.more_views": [{"recipe": "sim_aug"}, {"pad": 3}],
    "training.sampler": {"kind": "class_balanced"},
    "training.gradient_clip_norm": 0.5,
}


def weights(job: TrainingJob) -> dict[str, torch.Tensor]:
    return load_file(Path(job.folder) / STUDENT)


@pytest.mark.parametrize("overrides", [{}, MIXED, VIEWS], ids=["plain", "mixing", "views_sampler_clipping"])
@pytest.mark.parametrize("steps", [2, 4])
def test_accumulated_micro_batches_give_the_student_of_the_whole_batch(
    smoke_line: SmokeLine, tmp_path: Path, overrides: dict[str, Any], steps: int
) -> None:
    told = {**MEANS, **overrides}
    whole = smoke_line.job(tmp_path / "whole", told)
    parts = smoke_line.job(tmp_path / "parts", {**told, "training.accumulation_steps": steps})
    seen = [list(train(job))[-1] for job in (whole, parts)]
    one, other = weights(whole), weights(parts)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")
    assert seen[0].step == seen[1].step
    assert seen[0].metrics["train/loss"] == pytest.approx(seen[1].metrics["train/loss"], rel=1e-4)


def test_micro_batches_joined_over_workers_are_the_global_batches() -> None:
    labels = torch.arange(70).numpy() % 7
    whole = [rows for _, rows in Order(labels, 24, 5).batches(3)]
    for num_workers in (1, 2, 3):
        order = Order(labels, 24, 5, num_micro_batches=4)
        shares = [list(order.batches(3, rank=rank, num_workers=num_workers)) for rank in range(num_workers)]
        assert {len(one) for one in shares} == {4 * len(whole)}
        for number, rows in enumerate(whole):
            found = {place.share: part for one in shares for place, part in one if place.index == number}
            assert [row for share in sorted(found) for row in found[share]] == rows.tolist()
            together = [row for share in range(num_workers) for row in found[share]]  # the first micro-batch
            assert together == rows[:6].tolist()


def test_a_momentum_copy_moves_once_in_a_step_however_many_micro_batches_it_has(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    told = {
        **MEANS, "training.more_views": [{"pad": 2}], "training.batch_size": 8, "training.accumulation_steps": 2,
        "losses.views": {"kind": "paco", "queue_size": 16, "head_dim": 8, "key_momentum": 0.5},
    }  # fmt: skip
    trainer = trainer_of(smoke_line.job(tmp_path / "job", told))
    trainer.model.train()
    slow = trainer.model.momentum_student
    assert slow is not None
    batches = iter(trainer.order.batches(0))
    for _ in range(3):
        expected = {
            name: 0.5 * value.detach() + 0.5 * dict(slow.named_parameters())[name]
            for name, value in trainer.model.student.named_parameters()
        }
        for _ in range(2):
            place, rows = next(batches)
            trainer.step(trainer.make_batch(rows, place), rows)
            for name, value in slow.named_parameters():
                torch.testing.assert_close(value, expected[name], msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"training.batch_size": 10, "training.accumulation_steps": 4}, "no multiple of accumulation_steps"),
        ({"training.batch_size": 12, "training.accumulation_steps": 4, "training.mixing": {}}, "are odd"),
    ],
)
def test_batches_that_cannot_be_cut_are_refused(overrides: dict[str, Any], told: str) -> None:
    settings = {name.removeprefix("training."): value for name, value in overrides.items()}
    with pytest.raises(ValidationError, match=told):
        TrainingSettings.model_validate(settings)


def test_a_queue_must_hold_whole_micro_batches(smoke_line: SmokeLine, tmp_path: Path) -> None:
    told = {
        "training.more_views": [{"pad": 2}], "training.batch_size": 16, "training.accumulation_steps": 2,
        "losses.views": {"kind": "paco", "queue_size": 20, "head_dim": 8},
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no multiple of the 8 images that are seen together"):
        next(train(smoke_line.job(tmp_path / "job", told)))


# --- precision --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_nearly_the_same_student_with_float32_weights_and_losses(
    smoke_line: SmokeLine, tmp_path: Path, precision: str
) -> None:
    told = {"training.epochs": 8, "training.batch_size": 8}  # fp16 leaves out its first steps, until the scale fits
    kinds = ("fp32", precision, "tf32")
    jobs = [smoke_line.job(tmp_path / name, {**told, "training.precision": name}) for name in kinds]
    last = [list(train(job))[-1].metrics for job in jobs]
    full, half, tensor_float = (weights(job) for job in jobs)
    assert all(value.dtype == full[name].dtype for name, value in half.items())
    assert any(not torch.equal(value, full[name]) for name, value in half.items())
    assert all(torch.equal(value, full[name]) for name, value in tensor_float.items())  # a CPU has no TensorFloat-32
    assert last[1]["train/loss"] == pytest.approx(last[0]["train/loss"], rel=0.05)


def test_losses_read_float32_and_the_students_products_are_half(smoke_line: SmokeLine, tmp_path: Path) -> None:
    trainer = trainer_of(smoke_line.job(tmp_path / "job", {"training.precision": "bf16"}))
    place, rows = next(trainer.order.batches(0))
    batch = trainer.make_batch(rows, place)
    read: dict[str, torch.dtype] = {}
    for _, loss in trainer.model.objective.named():
        loss.register_forward_pre_hook(
            lambda _, __, given: read.update({name: value.dtype for name, value in given.items()}), with_kwargs=True
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = trainer.model.inputs(batch)
    total, _ = trainer.model(batch)
    assert made["student_logits"].dtype == made["text_prediction"].dtype == torch.bfloat16
    assert total.dtype == torch.float32
    assert read["student_logits"] == read["text_prediction"] == read["student_feature"] == torch.float32


def test_a_gradient_that_overflows_leaves_the_step_out_halves_the_scale_and_raises_nothing() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    stepper = Stepper(torch.optim.SGD(model.parameters(), lr=1.0), model, "fp16", torch.device("cpu"), clip_norm=1.0)
    stepper.begin()
    stepper.backward((model.weight * 1e38).sum())  # the gradient times the scale is above float32's largest number
    told = stepper.step()
    assert (told["skipped_steps"], told["loss_scale"]) == (1, 2**16)
    assert torch.equal(model.weight, before)
    stepper.begin()
    stepper.backward((model.weight * torch.tensor([3.0, 4.0])).sum())
    told = stepper.step()
    assert (told["skipped_steps"], told["loss_scale"]) == (0, 2**15)
    torch.testing.assert_close(model.weight.detach(), before - torch.tensor([[0.6, 0.8]]))  # unscaled, then clipped


def test_a_loss_that_is_not_finite_is_refused_under_fp16_too_in_any_micro_batch(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    told = {"training.precision": "fp16", "training.batch_size": 8, "training.accumulation_steps": 2}
    job = smoke_line.job(tmp_path / "job", told)
    order = trainer_of(job).order
    places = list(order.batches(0))
    bad = int(places[5][1][2])  # in the second micro-batch of the third step
    trainer = trainer_of(job, bad_row=bad)
    trainer.model.train()
    for place, rows in places[:5]:
        trainer.step(trainer.make_batch(rows, place), rows)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    place, rows = places[5]
    with pytest.raises(NonFiniteLossError, match="the loss is nan at step 2") as error:
        trainer.step(trainer.make_batch(rows, place), rows)
    assert trainer.images.image_ids[bad] in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())


# --- moving average ---------------------------------------------------------------------------------------------------


def test_the_moving_average_is_the_closed_form_over_the_students_of_all_steps(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    trainer = trainer_of(smoke_line.job(tmp_path / "job", {"training.batch_size": 8, "training.ema": {"decay": 0.75}}))
    trainer.model.train()
    seen = []
    for place, rows in list(trainer.order.batches(0))[:4]:
        trainer.step(trainer.make_batch(rows, place), rows)
        seen.append({name: value.double().clone() for name, value in trainer.model.student.state_dict().items()})
    share = (0.75**3, 0.25 * 0.75**2, 0.25 * 0.75, 0.25)  # the first step copies the student
    for name, value in trainer.student.state_dict().items():
        expected = sum(part * one[name] for part, one in zip(share, seen, strict=True))
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), torch.as_tensor(expected), rtol=1e-5, atol=1e-7)
        else:
            assert torch.equal(value.double(), seen[-1][name])


def test_warmup_lowers_the_decay_of_early_steps(smoke_line: SmokeLine, tmp_path: Path) -> None:
    trainer = trainer_of(
        smoke_line.job(tmp_path / "job", {"training.batch_size": 8, "training.ema": {"decay": 0.99, "warmup": True}})
    )
    trainer.model.train()
    name, expected = "classifier.weight", torch.zeros(())
    for step, (place, rows) in enumerate(list(trainer.order.batches(0))[:4], start=1):
        trainer.step(trainer.make_batch(rows, place), rows)
        decay = 0.0 if step == 1 else min(0.99, 1 - step ** (-2 / 3))
        expected = decay * expected + (1 - decay) * trainer.model.student.state_dict()[name]
    torch.testing.assert_close(trainer.student.state_dict()[name], expected)
    assert math.isclose(1 - 4 ** (-2 / 3), 0.6031, abs_tol=1e-4)


def test_the_average_is_evaluated_and_saved_or_only_kept_as_the_settings_say(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    kinds = {"none": None, "saved": EmaSettings(decay=0.9), "kept": EmaSettings(decay=0.9, is_the_student=False)}
    jobs = {
        name: smoke_line.job(tmp_path / name, {"training.ema": ema and ema.model_dump()}) for name, ema in kinds.items()
    }
    for job in jobs.values():
        run(job)
    plain, saved, kept = (weights(job) for job in jobs.values())
    assert all(torch.equal(value, kept[name]) for name, value in plain.items())
    assert any(not torch.equal(value, saved[name]) for name, value in plain.items())
    state = jobs["kept"].open_checkpoints().latest()
    assert state is not None
    assert all(torch.equal(value, state["average"][name]) for name, value in saved.items())


# --- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        {"training.precision": "fp16", "training.accumulation_steps": 2, "training.gradient_clip_norm": 1.0},
        {"training.precision": "bf16", "training.ema": {"decay": 0.9, "warmup": True}},
    ],
    ids=["fp16_accumulation_clipping", "bf16_average"],
)
def test_scaler_micro_batches_and_average_resume_in_the_same_bits(
    smoke_line: SmokeLine, tmp_path: Path, overrides: dict[str, Any]
) -> None:
    told = {**overrides, "training.epochs": 4, "training.checkpoint_every_epochs": 2}
    straight, resumed = (smoke_line.job(tmp_path / name, told) for name in ("straight", "resumed"))
    assert run(straight) == [1, 2, 3, 4]
    assert run(resumed, stop_after=3) == [1, 2, 3]
    assert run(resumed) == [3, 4]
    assert_same(straight, resumed)
    states = [job.open_checkpoints().latest() for job in (straight, resumed)]
    assert states[0] is not None
    assert states[1] is not None
    assert json.dumps(states[0]["scaler"]) == json.dumps(states[1]["scaler"])
    assert bool(states[0]["scaler"]) == (overrides["training.precision"] == "fp16")
    for name, value in states[0].get("average", {}).items():
        assert torch.equal(value, states[1]["average"][name])
