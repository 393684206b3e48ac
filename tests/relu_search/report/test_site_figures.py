"""Figures with one column per ReLU site."""

from __future__ import annotations

import numpy as np
from helpers.search_tables import search_tables, text_of

from relu_search.analysis.site_effects import site_importance, site_influence
from relu_search.report.site_figures import importance_of_sites, influence_of_sites
from relu_search.settings.metrics import METRICS


def test_influence_has_a_bar_of_trials_and_a_point_per_site():
    metric = METRICS["val_accuracy"]
    backbone, trials, _ = search_tables("plain-8", 30)
    influence = site_influence(trials, backbone, metric)
    top, below = influence_of_sites(influence, backbone, metric).axes
    kept = [bar.get_height() for bar in below.containers[0]]
    assert kept == influence["kept"].tolist()
    drawn = [y for line in top.lines if line.get_marker() == "o" for y in line.get_ydata()]
    assert np.allclose(sorted(drawn), sorted(100 * influence["difference"]))


def test_sites_that_never_varied_are_marked():
    metric = METRICS["val_accuracy"]
    backbone, trials, _ = search_tables("plain-8", 5)
    trials["placement"] = "1*6"
    figure = influence_of_sites(site_influence(trials, backbone, metric), backbone, metric)
    assert "never varied" in text_of(figure)


def test_importance_has_two_bars_per_site():
    backbone, trials, _ = search_tables("plain-8", 30)
    importance = site_importance(trials, backbone, METRICS["val_accuracy"])
    figure = importance_of_sites(importance)
    assert f"n = {len(trials)} full-length trials" in text_of(figure)
    for column, bars in zip(("ped_anova", "fanova"), figure.axes[0].containers, strict=True):
        assert np.allclose([bar.get_height() for bar in bars], 100 * importance[column])
    few = importance_of_sites(site_importance(trials[:5], backbone, METRICS["val_accuracy"]))
    assert "too few" in text_of(few)
