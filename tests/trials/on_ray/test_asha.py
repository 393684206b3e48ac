"""Ray's ASHA with past trials, protected trials and costs. No Ray runs here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.asha_simulation import EPOCHS, asha, curve

from trials.on_ray.asha import scheduler_of
from trials.on_ray.compat import SchedulerTrial, add_trial, report
from trials.running.early_stopping import EarlyStopping, PastTrial


def stopping(mode="max", grace=1, factor=3):
    metric = "val_accuracy" if mode == "max" else "val_loss"
    return EarlyStopping(
        metric=metric, mode=mode, max_epochs=EPOCHS, grace_epochs=grace, reduction_factor=factor
    )


def epochs_granted(scheduler, seed: int) -> int:
    """Epochs that a scheduler grants to one more trial."""
    trial = SchedulerTrial({"number": f"new-{seed}"})
    add_trial(scheduler, trial)
    for epoch, value in enumerate(curve(seed), start=1):
        if not report(scheduler, trial, {"epoch": epoch, "val_accuracy": value, "val_loss": value}):
            return epoch
    raise AssertionError("the last epoch ends a trial")


@pytest.mark.parametrize(
    ("past", "mode", "grace", "factor"),
    [
        (0, "max", 1, 3),
        (1, "min", 1, 3),
        (2, "max", 2, 2),
        (7, "min", 2, 2),
        (7, "max", 9, 3),
        (15, "min", 1, 3),
        (15, "max", 2, 2),
    ],
)
def test_past_curves_fill_the_rungs_as_without_an_interruption(mode, grace, factor, past):
    def simulated(seeds, rungs):
        curves = [curve(seed) for seed in seeds]
        sign = 1 if mode == "max" else -1
        return asha(curves, grace=grace, factor=factor, sign=sign, rungs=rungs)

    rungs: dict[int, list[float]] = {}
    curves = [
        dict(enumerate(curve(seed)[:reached], start=1))
        for seed, reached in enumerate(simulated(range(past), rungs))
    ]
    scheduler = scheduler_of(
        stopping(mode, grace, factor), [PastTrial(curve=curve) for curve in curves]
    )
    after = [epochs_granted(scheduler, seed) for seed in range(200, 215)]
    assert after == simulated(range(200, 215), rungs)


def test_a_grace_period_beyond_the_end_means_no_early_stop():
    scheduler = scheduler_of(stopping(grace=50))
    assert [epochs_granted(scheduler, seed) for seed in range(6)] == [EPOCHS] * 6


def test_a_failure_report_without_a_metric_is_no_reason_to_stop():
    scheduler = scheduler_of(stopping())
    trial = SchedulerTrial({"number": 0, "protected": True})
    add_trial(scheduler, trial)
    assert report(scheduler, trial, {"epoch": 1, "failure": "no"})


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_ray_hears_the_verdict_and_protected_trials_are_spared(mode, sign):
    past = [PastTrial(curve={1: sign * 0.1 * k}, costs=(float(k),)) for k in range(1, 9)]
    scheduler = scheduler_of(replace(stopping(mode), metric="val_loss"), past)

    def decision(number, loss, cost, protected=False):
        config = {"number": number, "costs": [cost], "protected": protected}
        trial = SchedulerTrial(config)
        add_trial(scheduler, trial)
        return report(scheduler, trial, {"epoch": 1, "val_loss": sign * loss})

    assert decision(0, 0.05, 9.0)
    assert decision(1, 5.0, 0.5)
    assert not decision(2, 5.0, 5.0)
    assert decision(3, 5.0, 5.0, protected=True)
