"""Searches for more than a metric: what costs are, and that a real search trades them."""

from __future__ import annotations

import random

import pytest

from relu_search import SearchConfig
from relu_search.settings.metrics import parse_objective
from relu_search.settings.relu_limits import relus_at_ratio
from search_spaces import Backbone, InputError


def test_names_are_read_in_any_order():
    assert parse_objective("relus, accuracy") == ("val_accuracy", ("relus",))
    assert parse_objective("relu_elements,relus") == (None, ("relus", "relu_elements"))


@pytest.mark.parametrize("text", ["", "speed", "accuracy,loss", "relus,relus", "loss;relus"])
def test_other_names_are_refused_with_a_way_out(text):
    with pytest.raises(InputError, match="accuracy,relus"):
        SearchConfig(objective=text)


def test_the_metric_may_be_named_by_the_objective_but_not_contradicted():
    assert SearchConfig(objective="accuracy,relus").resolve().metric == "val_accuracy"
    assert SearchConfig(metric="val_accuracy", objective="relus").resolve().metric == "val_accuracy"
    with pytest.raises(InputError, match="exclude"):
        SearchConfig(metric="val_accuracy", objective="loss,relus")


@pytest.mark.parametrize(
    ("backbone", "ratio", "count"),
    [("plain-38", "2:1", 18), ("plain-38", "12:7", 21), ("preresnet-20", "3:2", 12)],
)
def test_a_ratio_is_a_number_of_relus(backbone, ratio, count):
    config = SearchConfig(backbone=backbone, ratio=ratio, granularity="block").resolve()
    assert (config.min_relus, config.max_relus) == (count, count)
    assert all(p.kept == count for p in _some(config.search_space()))


def _some(space):
    return [space.decode(space.sample(random.Random(i))) for i in range(5)]


@pytest.mark.parametrize("ratio", ["7:3", "2-1", "0:1", "1:5", "2:1:1", "a:b", "9" * 30 + ":1"])
def test_an_impossible_ratio_is_refused(ratio):
    with pytest.raises(InputError, match="ratio"):
        relus_at_ratio(Backbone.parse("plain-38"), ratio)


def test_a_ratio_excludes_limits():
    with pytest.raises(InputError, match="excludes"):
        SearchConfig(ratio="2:1", max_relus=20)


def test_limits_may_be_shares():
    config = SearchConfig.from_options({"min_relus": "25%", "max_relus": "60%"}).resolve()
    assert (config.min_relus, config.max_relus) == (9, 21)  # of 36
    for wrong in ("60 %x", "%", "-3", "1.5", "many"):
        with pytest.raises(InputError, match="share"):
            SearchConfig.from_options({"max_relus": wrong})
