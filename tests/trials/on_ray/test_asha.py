"""Our rule around Ray's ASHA, against the rule written out anew. No Ray runs here."""

from __future__ import annotations

import random

import pytest
from helpers.asha_simulation import EPOCHS, EarnedStopping, curve

from trials.early_stopping.rule import EarlyStopping, PastTrial
from trials.on_ray.asha import scheduler_of
from trials.on_ray.compat import SchedulerTrial, add_trial, report


def stopping(mode="max", grace=1, factor=2, **more):
    """The rule on accuracies or, with the signs changed, on losses."""
    metric = "val_accuracy" if mode == "max" else "val_loss"
    signal = metric.replace("_", "-")
    return EarlyStopping(
        metric=metric,
        mode=mode,
        max_epochs=EPOCHS,
        grace_epochs=grace,
        reduction_factor=factor,
        signal=signal,
        **more,
    )


def metrics(epoch, value):
    return {"epoch": epoch, "train_loss": 1.0, "val_accuracy": value, "val_loss": -value}


def granted(scheduler, number, values, **config):
    """Epochs that a scheduler grants to one more trial."""
    trial = SchedulerTrial({"number": number, "placement": str(number), **config})
    add_trial(scheduler, trial)
    for epoch, value in enumerate(values, start=1):
        if not report(scheduler, trial, metrics(epoch, value)):
            return epoch
    raise AssertionError("the last epoch ends a trial")


def expected(oracle, number, values, **trial):
    for epoch, value in enumerate(values, start=1):
        if not oracle.goes_on(number, epoch, value, **trial):
            return epoch
    raise AssertionError


@pytest.mark.parametrize(
    ("mode", "grace", "factor"), [("max", 1, 2), ("min", 1, 3), ("max", 2, 2), ("min", 4, 2)]
)
def test_trials_are_stopped_as_the_rule_says(mode, grace, factor):
    audits = {}
    scheduler = scheduler_of(stopping(mode, grace, factor, on_audit=audits.__setitem__))
    oracle = EarnedStopping(grace=grace, factor=factor)
    lengths = [granted(scheduler, n, curve(n)) for n in range(60)]
    assert lengths == [expected(oracle, n, curve(n)) for n in range(60)]
    assert lengths[:12] == [EPOCHS] * 12
    assert audits == oracle.audits
    assert audits
    assert grace in lengths


@pytest.mark.parametrize(("grace", "factor"), [(1, 2.5), (2, 1.5), (1, 1.2), (1, 1.01)])
def test_a_milestone_between_two_epochs_is_met_after_the_second(grace, factor):
    """Started again, a trial is not judged at a milestone that it has left out."""
    scheduler = scheduler_of(stopping(grace=grace, factor=factor))
    oracle = EarnedStopping(grace=grace, factor=factor)
    lengths = []
    for n in range(200):
        trial = SchedulerTrial({"number": n, "placement": str(n)})
        add_trial(scheduler, trial)
        for epoch, value in enumerate(curve(n), start=1):
            goes_on = report(scheduler, trial, metrics(epoch, value))
            assert goes_on == oracle.goes_on(n, epoch, value)
            if not goes_on:
                break
            assert report(scheduler, trial, metrics(epoch, value))  # the epoch once more
        lengths.append(epoch)
    assert min(lengths) < EPOCHS


def test_a_signal_that_tells_nothing_stops_nothing():
    scheduler = scheduler_of(stopping())
    rng = random.Random(0)
    noise = [[rng.random() for _ in range(EPOCHS)] for _ in range(80)]
    assert {granted(scheduler, n, values) for n, values in enumerate(noise)} == {EPOCHS}


@pytest.mark.parametrize(("past", "mode"), [(0, "max"), (5, "min"), (20, "max"), (30, "min")])
def test_past_trials_fill_the_rungs_as_without_an_interruption(past, mode):
    whole = scheduler_of(stopping(mode))
    lengths = [granted(whole, n, curve(n)) for n in range(50)]
    again = scheduler_of(
        stopping(mode),
        [
            PastTrial(
                number=n,
                placement=str(n),
                history=[metrics(e, v) for e, v in enumerate(curve(n)[: lengths[n]], start=1)],
            )
            for n in range(past)
        ],
    )
    assert [granted(again, n, curve(n)) for n in range(past, 50)] == lengths[past:]


def test_epochs_passed_before_an_interruption_are_not_judged_again():
    scheduler = scheduler_of(stopping())
    for n in range(40):
        granted(scheduler, n, curve(n))
    bad = [0.0] * EPOCHS
    assert granted(scheduler, 99, bad) == 1
    assert granted(scheduler, 98, bad, passed=2) == 2
    assert granted(scheduler, 97, bad, passed=EPOCHS) == EPOCHS


def test_the_sum_of_train_losses_is_compared_from_the_first_epoch_on():
    """A trial that was started again repeats its epochs, and none counts twice."""
    scheduler = scheduler_of(
        EarlyStopping(metric="val_loss", mode="min", max_epochs=EPOCHS, grace_epochs=2)
    )
    oracle = EarnedStopping(grace=2, factor=4)
    lengths = []
    for n in range(50):
        trial = SchedulerTrial({"number": n, "placement": str(n)})
        add_trial(scheduler, trial)
        report(scheduler, trial, {"epoch": 1, "train_loss": 1 - curve(n)[0], "val_loss": 1.0})
        add_trial(scheduler, trial)  # started again
        losses = [1 - value for value in curve(n)]
        for epoch in range(1, EPOCHS + 1):
            goes_on = report(
                scheduler,
                trial,
                {"epoch": epoch, "train_loss": losses[epoch - 1], "val_loss": losses[-1]},
            )
            known = oracle.goes_on(n, epoch, -sum(losses[:epoch]), final=-losses[-1])
            assert goes_on == known
            if not goes_on:
                break
        lengths.append(epoch)
    assert min(lengths) == 2


def test_a_grace_period_beyond_the_end_means_no_early_stop():
    scheduler = scheduler_of(stopping(grace=50))
    assert {granted(scheduler, n, curve(n)) for n in range(40)} == {EPOCHS}


def test_a_failure_report_without_a_metric_is_no_reason_to_stop():
    scheduler = scheduler_of(stopping())
    trial = SchedulerTrial({"number": 0, "placement": "0", "protected": True})
    add_trial(scheduler, trial)
    assert report(scheduler, trial, {"epoch": 1, "failure": "no"})


def test_protected_trials_are_spared_and_count():
    scheduler, oracle = scheduler_of(stopping()), EarnedStopping(grace=1, factor=2)
    spared = range(0, 60, 3)
    lengths = [granted(scheduler, n, curve(n), protected=n in spared) for n in range(60)]
    assert lengths == [expected(oracle, n, curve(n), spared=n in spared) for n in range(60)]
    assert {lengths[n] for n in spared} == {EPOCHS}
    assert 1 in lengths


def test_a_placement_counts_once_and_its_seeds_train_to_the_end():
    """Every third trial is a further seed of one of the best four so far."""
    scheduler, oracle = scheduler_of(stopping()), EarnedStopping(grace=1, factor=2)
    best = sorted(range(12), key=lambda n: -curve(n)[-1])[:4]
    of = {n: str(best[n % 4] if n % 3 == 2 and n > 12 else n) for n in range(90)}
    lengths = [granted(scheduler, n, curve(n), placement=of[n]) for n in range(90)]
    assert lengths == [expected(oracle, n, curve(n), placement=of[n]) for n in range(90)]
    seeds = [n for n in range(90) if of[n] != str(n)]
    assert {lengths[n] for n in seeds} == {EPOCHS}
    assert {1, 2} <= set(lengths)


def test_with_costs_a_trial_is_judged_among_those_that_cost_no_more():
    scheduler = scheduler_of(stopping())
    for n in range(40):
        granted(scheduler, n, curve(n), costs=[float(n % 4)], protected=True)
    bad = [0.05 + n / 1000 for n in range(EPOCHS)]
    assert granted(scheduler, 90, bad, costs=[9.0]) < EPOCHS
    assert granted(scheduler, 91, bad, costs=[-1.0]) == EPOCHS  # nothing else is as cheap
