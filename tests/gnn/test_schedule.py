"""Learning rates follow their formulas, from any point on."""

from __future__ import annotations

import math

import pytest

from gnn import TrainConfig
from gnn.schedule import Schedule


def rates(schedule: Schedule, epochs: int, batches: int, first: int = 0) -> list[float]:
    return [schedule.next_lr(e, b) for e in range(first, epochs) for b in range(batches)]


def test_a_constant_rate_rises_through_the_warmup_and_stays():
    schedule = Schedule(TrainConfig(lr=0.8, lr_warmup=4))
    assert rates(schedule, 3, 2) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_a_cosine_falls_step_by_step_where_steps_are_known_and_by_epochs_elsewhere():
    config = TrainConfig(lr=2.0, lr_schedule="cosine", epochs=4)
    expected = [1 + math.cos(math.pi * i / 8) for i in range(8)]
    assert rates(Schedule(config, 2), 4, 2) == pytest.approx(expected)
    assert rates(Schedule(config), 4, 2) == pytest.approx([e for e in expected[::2] for _ in "ab"])


def test_steps_multiply_by_the_factor_every_few_epochs():
    config = TrainConfig(lr=1.0, lr_schedule="step", lr_every=2, lr_factor=0.1)
    assert rates(Schedule(config), 6, 1) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_plateau_lowers_the_rate_after_epochs_without_a_better_score():
    schedule = Schedule(TrainConfig(lr=1.0, lr_schedule="plateau", lr_every=2, lr_factor=0.5))
    seen = []
    for epoch, score in enumerate([1, 2, 2, 1, 3, 1, 1, 1]):
        seen.append(schedule.next_lr(epoch, 0))
        schedule.finish_epoch((float(score), 0.0))
    assert seen == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("name", ["constant", "cosine", "step", "plateau"])
def test_a_restored_schedule_goes_on_with_the_same_rates(name):
    config = TrainConfig(epochs=9, lr_schedule=name, lr_every=1, lr_warmup=5)
    whole, first = Schedule(config, 3), Schedule(config, 3)
    for schedule in (whole, first):
        rates(schedule, 2, 3)
        for score in (2.0, 1.0, 1.5):
            schedule.finish_epoch((score,))
    resumed = Schedule(config, 3)
    resumed.restore(first.state())
    assert rates(resumed, 9, 3, first=2) == rates(whole, 9, 3, first=2)
    resumed.finish_epoch((1.0,))
    whole.finish_epoch((1.0,))
    assert resumed.state() == whole.state()
