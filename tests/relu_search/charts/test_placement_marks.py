"""One mark per placement, and the front of the marks."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.trial_tables import LINEAR, rows_like

from relu_search.analysis.estimates import estimate_text, estimates
from relu_search.charts.placement_marks import front_of, marks_of

VALUES = (0.5, 0.7, 0.9)
SEEDS = [{"placement": "01*3", "val_loss": value, "seed": i} for i, value in enumerate(VALUES)]


def test_a_placement_with_several_seeds_is_one_mark_at_its_mean(snapshot_of):
    seeds = [{**row, "module": "2:1" if i == 1 else ""} for i, row in enumerate(SEEDS)]
    stopped = {"placement": "01*3", "state": "PRUNED", "epochs": 1, "val_loss": 0.1}
    failed = {"placement": "1*6", "state": "FAIL", "val_loss": None}
    run = snapshot_of(rows_like(*seeds, stopped, {"placement": "1*6", "relus": 6}, failed))
    first, second = marks_of(run.trials, run.config)
    assert (first.placement, first.module, first.runs, first.stopped) == ("01*3", "2:1", VALUES, 1)
    assert first.mean == first.estimate == pytest.approx(0.7)
    assert first.sd is None
    assert (second.placement, second.runs, second.costs["relus"]) == ("1*6", (1.0,), 6)


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy"])
def test_marks_are_the_estimates_of_the_tables_best_first(metric, snapshot_of):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.2, 0.9, 14)
    rows = [{"placement": f"{i % 11:06b}", "val_loss": v, metric: v} for i, v in enumerate(values)]
    run = snapshot_of(rows_like(*rows), metric=metric)
    known = estimates(run.trials, run.config.optimised)
    marks = marks_of(run.trials, run.config)
    assert sorted(mark.placement for mark in marks) == sorted(known.index)
    order = [run.config.optimised.sign * mark.estimate for mark in marks]
    assert order == sorted(order, reverse=True)
    for mark in marks:
        assert mark.estimate == known["estimate"][mark.placement]
        assert mark.sd == known["sd"][mark.placement]
        assert mark.value == estimate_text(known, mark.placement, run.config.optimised)


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy"])
def test_the_front_is_what_no_cheaper_placement_beats(metric, snapshot_of):
    rng = np.random.default_rng(1)
    rows = [
        {"placement": f"{i:06b}", "relus": int(r), metric: v}
        for i, (r, v) in enumerate(
            zip(rng.integers(1, 7, 7), rng.uniform(0.1, 0.9, 7), strict=True), start=1
        )
    ]
    run = snapshot_of(rows_like(*rows), metric=metric)
    marks = marks_of(run.trials, run.config)
    sign = run.config.optimised.sign
    best = {
        mark.placement
        for mark in marks
        if not any(
            other is not mark
            and other.costs["relus"] <= mark.costs["relus"]
            and sign * other.estimate >= sign * mark.estimate
            for other in marks
        )
    }
    front = front_of(marks, run.config.optimised, "relus")
    assert {mark.placement for mark in front} == best
    assert [m.costs["relus"] for m in front] == sorted({m.costs["relus"] for m in front})


def test_the_control_is_not_on_the_front_of_a_search_that_does_not_admit_it(snapshot_of):
    rows = rows_like({**LINEAR, "val_loss": 0.1}, {"placement": "01*3", "val_loss": 0.5})
    for least, front in ((1, ["01*3"]), (0, ["0*6"])):
        run = snapshot_of(rows, min_relus=least)
        marks = marks_of(run.trials, run.config)
        assert [m.placement for m in front_of(marks, run.config.optimised, "relus")] == front


def test_a_lucky_seed_moves_the_front_by_its_share_of_the_mean(snapshot_of):
    lucky = [{"placement": "01*3", "val_loss": value, "seed": 0} for value in (0.1, 0.9)]
    steady = [{"placement": "10*3", "val_loss": value, "seed": 0} for value in (0.4, 0.4)]
    run = snapshot_of(rows_like(*lucky, *steady))
    front = front_of(marks_of(run.trials, run.config), run.config.optimised, "relus")
    assert [mark.placement for mark in front] == ["10*3"]
