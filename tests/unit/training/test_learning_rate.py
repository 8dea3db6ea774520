"""The learning rate of each step in closed form, for every schedule."""

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.training.learning_rate import learning_rate_factor
from orchestrator.training.schedules import (
    CosineScheduleSettings,
    EpochCosineScheduleSettings,
    LivtScheduleSettings,
    OneCycleScheduleSettings,
    ScheduleSettings,
    StepScheduleSettings,
)
from orchestrator.training.settings import TrainingSettings

WARM = CosineScheduleSettings(warmup_fraction=0.1)


def factor(step: int, num_steps: int, schedule: ScheduleSettings, num_epochs: int = 1, *, peak: float = 1.0) -> float:
    return learning_rate_factor(step, num_steps, schedule, num_epochs=num_epochs, peak=peak)


def test_the_warm_up_is_linear_and_ends_at_the_peak() -> None:
    factors = [factor(step, 100, WARM) for step in range(10)]
    assert factors == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factor(10, 100, WARM) == 1.0


def test_after_the_warm_up_comes_half_a_cosine() -> None:
    assert factor(55, 100, WARM) == pytest.approx(0.5)
    assert factor(99, 100, WARM) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    factors = [factor(step, 100, WARM) for step in range(10, 100)]
    assert factors == sorted(factors, reverse=True)


def test_the_final_fraction_lifts_the_end_and_one_makes_it_constant() -> None:
    lifted = CosineScheduleSettings(warmup_fraction=0.0, final_fraction=0.2)
    assert factor(50, 100, lifted) == pytest.approx(0.6)
    assert factor(10**6 - 1, 10**6, lifted) == pytest.approx(0.2)
    constant = CosineScheduleSettings(warmup_fraction=0.0, final_fraction=1.0)
    assert {factor(step, 7, constant) for step in range(7)} == {1.0}


def test_a_training_of_one_step_takes_it_at_the_peak() -> None:
    assert factor(0, 1, WARM) == 1.0


def test_a_schedule_without_a_kind_is_the_cosine() -> None:
    told = TrainingSettings.model_validate({"schedule": {"warmup_fraction": 0.2}})
    assert told.schedule == CosineScheduleSettings(warmup_fraction=0.2)
    assert TrainingSettings().schedule == CosineScheduleSettings()
    assert TrainingSettings.model_validate_json(told.model_dump_json()) == told


def test_schedules_in_epochs_change_at_the_first_step_of_an_epoch() -> None:
    schedule = StepScheduleSettings(milestones=(2, 3), gamma=0.1)
    factors = [factor(step, 20, schedule, 4) for step in range(20)]
    assert factors == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 5)


def test_the_step_schedule_warms_up_by_epochs_and_milestones_count_from_the_start() -> None:
    schedule = StepScheduleSettings(milestones=(1, 3), warmup_epochs=2)
    assert [factor(e, 4, schedule, 4) for e in range(4)] == pytest.approx([0.5, 1.0, 0.1, 0.01])


def test_the_epoch_cosine_starts_below_the_peak_and_ends_above_zero() -> None:
    schedule = EpochCosineScheduleSettings(warmup_epochs=2)
    expected = [0.5, 1.0, *(0.5 * (1 + math.cos(math.pi * k / 4)) for k in (1, 2, 3))]
    assert [factor(2 * e + 1, 10, schedule, 5) for e in range(5)] == pytest.approx(expected)


def test_livts_warm_up_starts_at_zero_and_its_cosine_ends_at_the_absolute_rate() -> None:
    schedule = LivtScheduleSettings(warmup_epochs=2, final_learning_rate=1e-3)
    assert [factor(step, 40, schedule, 4, peak=0.1) for step in (0, 5, 10, 20)] == pytest.approx([0, 0.25, 0.5, 1])
    assert factor(30, 40, schedule, 4, peak=0.1) == pytest.approx(0.01 + 0.99 / 2)
    assert factor(40, 40, schedule, 4, peak=0.1) == pytest.approx(0.01)


def test_one_cycle_starts_at_a_25th_reaches_the_peak_and_ends_near_zero() -> None:
    factors = [factor(e, 10, OneCycleScheduleSettings(), 10) for e in range(10)]
    assert factors[0] == pytest.approx(1 / 25)
    assert factors[2] == 1  # 0.3 of 10 epochs
    assert factors[-1] == pytest.approx(1 / 25 / 1e4)


@pytest.mark.parametrize("kind", ["cosine", "epoch_cosine", "livt", "one_cycle", "step"])
@pytest.mark.parametrize("num_epochs", [1, 2, 7])
def test_every_schedule_is_finite_and_at_most_the_peak_however_short_the_training(kind: str, num_epochs: int) -> None:
    schedule: ScheduleSettings = TypeAdapter(ScheduleSettings).validate_python({"kind": kind})
    factors = [factor(step, 3 * num_epochs, schedule, num_epochs) for step in range(3 * num_epochs)]
    assert all(0 <= one <= 1 for one in factors)


def test_milestones_must_ascend() -> None:
    with pytest.raises(ValidationError, match="must ascend"):
        StepScheduleSettings(milestones=(60, 30))
