"""Metrics, costs and the names of several objectives."""

from __future__ import annotations

import math

import pytest

from relu_search.settings.metrics import METRICS, parse_objective
from search_spaces import InputError


@pytest.mark.parametrize(("name", "better", "worse"), [("val_accuracy", 2, 1), ("val_loss", 1, 2)])
def test_every_word_for_the_direction_agrees_on_which_value_is_better(name, better, worse):
    metric = METRICS[name]
    assert metric.sign * better > metric.sign * worse
    pick = {"maximize": max, "minimize": min}[metric.direction]
    assert pick(better, worse) == better
    assert {"max": max, "min": min}[metric.mode] is pick


def test_a_value_is_written_for_people_with_its_unit():
    assert METRICS["val_accuracy"].text(0.96249) == "96.2 %"
    assert METRICS["val_loss"].text(0.13649) == "0.136"
    assert METRICS["val_accuracy"].axis_label == "validation accuracy (%)"
    assert math.isclose(float(METRICS["val_loss"].text(1 / 3)), 1 / 3, abs_tol=5e-4)


def test_objectives_are_read_in_any_order():
    assert parse_objective("relus, accuracy") == ("val_accuracy", ("relus",))
    assert parse_objective("relu_elements,relus") == (None, ("relus", "relu_elements"))


def test_other_objectives_are_refused_with_a_way_out():
    for text in ("", "speed", "accuracy,loss", "relus,relus", "loss;relus"):
        with pytest.raises(InputError, match="accuracy,relus"):
            parse_objective(text)
