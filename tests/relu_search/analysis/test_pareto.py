"""Pareto fronts against brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.trial_tables import loss_table, noisy_losses

from relu_search import SearchConfig
from relu_search.analysis.answer import answer_lines
from relu_search.analysis.estimates import estimates
from relu_search.analysis.pareto import pareto_front, pareto_placements
from relu_search.settings.metrics import METRICS, cost_text


@pytest.mark.parametrize("seed", range(6))
def test_the_front_is_what_nothing_dominates(seed):
    rng = np.random.default_rng(seed)
    relus = pd.Series(rng.integers(0, 6, 25))
    score = pd.Series(rng.integers(0, 8, 25) / 8)  # ties on both sides
    points = list(zip(relus, score, strict=True))
    expected = [
        not any(r <= x and s >= y and (r, s) != (x, y) for r, s in points) for x, y in points
    ]
    assert list(pareto_front(relus, score)) == expected


@pytest.mark.parametrize("objective", ["loss,relus", "accuracy,relus"])
def test_the_front_of_a_search_is_that_of_the_estimates(objective):
    bits, losses, _ = noisy_losses(2)
    trials = loss_table(bits, losses)
    config = SearchConfig(
        backbone="plain-8", granularity="site", objective=objective, max_relus=5
    ).resolve()
    metric = METRICS[config.metric]
    value = metric.sign * estimates(trials, metric)["estimate"]
    kept = {text: text.count("1") for text in value.index if 1 <= text.count("1") <= 5}
    expected = [
        text
        for text in kept
        if not any(
            kept[other] <= kept[text]
            and value[other] >= value[text]
            and (kept[other], value[other]) != (kept[text], value[text])
            for other in kept
        )
    ]
    found = pareto_placements(trials, config)
    assert [row["placement"] for row in found] == sorted(expected, key=kept.__getitem__)
    assert [row["relus"] for row in found] == sorted(kept[text] for text in expected)


def element_table():
    """Two placements with as many ReLUs, one of which has twice the elements."""
    trials = loss_table(["1100000", "0000011", "1111111"], [0.5, 0.45, 0.3])
    return trials.assign(relu_elements=[12_288, 6_144, 30_720], module=["", "", "paired"])


def test_the_front_is_printed_in_the_unit_of_its_objective_with_the_placement():
    options = {"backbone": "plain-9", "granularity": "site"}
    trials, epochs = element_table(), pd.DataFrame(columns=["trial", "epoch", "val_loss"])
    config = SearchConfig(**options, objective="loss,relu_elements").resolve()
    front = next(line for line in answer_lines(trials, epochs, config) if "Pareto" in line)
    assert "6,144 ReLU elements (0000011)" in front
    assert "30,720 ReLU elements (paired)" in front
    config = SearchConfig(**options, objective="loss,relus").resolve()
    front = next(line for line in answer_lines(trials, epochs, config) if "Pareto" in line)
    assert "2 ReLUs (" in front
    assert "7 ReLUs (paired)" in front


def test_a_cost_has_its_unit():
    assert cost_text("relus", 1) == "1 ReLU"
    assert cost_text("relu_elements", 12_288) == "12,288 ReLU elements"
