"""Pareto fronts against brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.trial_tables import loss_table, noisy_losses

from relu_search import SearchConfig
from relu_search.analysis.estimates import estimates
from relu_search.analysis.pareto import pareto_front, pareto_placements
from relu_search.settings.metrics import METRICS


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
