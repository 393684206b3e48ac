"""A study as arrays: scores, predictions for pruned trials, domination."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from relu_search.samplers.study_arrays import StudyArrays

CHOICES = {"a": CategoricalDistribution(("x", "y")), "b": CategoricalDistribution(("x", "y"))}


def trial(a, b, *, value=None, curve=None, state=TrialState.COMPLETE, **attributes):
    return create_trial(
        state=state,
        params={"a": a, "b": b},
        distributions=CHOICES,
        value=value if np.ndim(value) == 0 else None,
        values=list(value) if np.ndim(value) else None,
        intermediate_values=curve or {},
        user_attrs=attributes,
    )


EARLY, FINAL = [3.0, 2.5, 2.0, 1.8], [1.5, 1.4, 0.7, 0.9]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_pruned_trial_has_the_final_score_that_a_line_predicts(direction):
    """The line is numpy's, over the logarithms of losses; the prediction is never above median."""
    study = optuna.create_study(direction=direction)
    for early, final in zip(EARLY, FINAL, strict=True):
        study.add_trial(trial("x", "y", value=final, curve={1: early, 3: final}))
    for last in (2.8, 0.1 if direction == "minimize" else 9.0):
        study.add_trial(trial("y", "y", curve={1: last}, state=TrialState.PRUNED))
    study.add_trial(trial("y", "x", state=TrialState.FAIL))
    study.add_trial(trial("y", "x", state=TrialState.RUNNING))
    arrays = StudyArrays.of(study, CHOICES)

    def score(value):
        return -np.log(value) if direction == "minimize" else np.asarray(value)

    slope, intercept = np.polyfit(score(EARLY), score(FINAL), 1)
    middle = np.median(score(FINAL))
    predicted = min(slope * score(2.8) + intercept, middle)
    assert arrays.scores == pytest.approx([*score(FINAL), predicted, middle])
    assert arrays.noisier.tolist() == [False] * 4 + [True] * 2
    assert arrays.points.tolist() == [[0, 1]] * 4 + [[1, 1]] * 2
    assert arrays.pending.tolist() == [[1, 0]]
    assert arrays.seen() == {(0, 1), (1, 1), (1, 0)}


def test_with_few_full_length_trials_the_last_report_is_the_score():
    study = optuna.create_study(direction="maximize")
    study.add_trial(trial("x", "x", value=0.9, curve={1: 0.5}))
    study.add_trial(trial("x", "y", curve={1: 0.4}, state=TrialState.PRUNED))
    study.add_trial(trial("y", "y", state=TrialState.PRUNED))  # without a report: left out
    assert StudyArrays.of(study, CHOICES).scores.tolist() == [0.9, 0.4]


def test_with_several_objectives_the_score_is_minus_the_number_of_dominating_trials():
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.set_user_attr("metric", "val_loss")
    study.set_user_attr("costs", True)
    points = [(1.0, 3.0), (2.0, 2.0), (2.0, 4.0), (3.0, 3.0), (1.0, 3.0)]
    for loss, cost in points:
        history = [{"epoch": 1, "val_loss": loss}]
        study.add_trial(trial("x", "x", value=(loss, cost), costs=[cost], history=history))
    arrays = StudyArrays.of(study, CHOICES)
    expected = [-sum(p[0] <= q[0] and p[1] <= q[1] and p != q for p in points) for q in points]
    assert arrays.scores.tolist() == expected
    assert arrays.costs.tolist() == [[cost] for _, cost in points]
    assert arrays.quality == pytest.approx([-np.log(loss) for loss, _ in points])


def test_with_a_floor_the_cheapest_above_it_leads_and_below_it_the_most_accurate():
    """Rules of Deb (2000): above before below; above by cost, below by how far."""
    study = optuna.create_study(direction="minimize")
    for key, value in (("metric", "val_accuracy"), ("costs", True), ("floor", 0.8)):
        study.set_user_attr(key, value)
    rows = [(0.95, 9.0), (0.85, 3.0), (0.60, 1.0), (0.79, 2.0), (0.80, 5.0), (0.99, 3.0)]
    for accuracy, cost in rows:
        history = [{"epoch": 1, "val_accuracy": accuracy}]
        study.add_trial(trial("x", "y", value=cost, history=history, costs=[cost]))
    arrays = StudyArrays.of(study, CHOICES)
    assert arrays.quality.tolist() == [accuracy for accuracy, _ in rows]
    assert arrays.costs.tolist() == [[cost] for _, cost in rows]
    assert np.argsort(-arrays.scores).tolist() == [5, 1, 4, 0, 3, 2]
    assert arrays.floor == 0.8
