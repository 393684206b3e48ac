"""Figures of a confirmation: a row for each arm, a dot for each run."""

from __future__ import annotations

import math

from helpers.confirmation_tables import confirm_table, verdict_table
from helpers.search_tables import text_of

from relu_search.report.confirmation_figures import confirmation_runs, points, verdict_forest
from relu_search.report.figure_style import rendered


def test_the_forest_has_a_row_and_a_verdict_per_arm():
    verdicts = verdict_table(confirm_table())
    figure = verdict_forest(verdicts, "paired")
    assert rendered(figure, "pdf")
    text = text_of(figure)
    for word in ("2:1", "found 1", "linear", "better", "worse", "1 diverged", "n = 5"):
        assert word in text
    row = verdicts[(verdicts["arm"] == "2:1") & (verdicts["versus"] == "paired")].iloc[0]
    assert f"{100 * row['difference']:+.2f}" in text
    assert "equivalent within ±0.3 points" in text
    assert "No arm" in text_of(verdict_forest(verdicts, "nobody"))


def test_a_placement_of_the_users_own_is_named_once():
    verdicts = verdict_table(confirm_table())
    own = verdicts["arm"] == "found 1"
    verdicts.loc[own, "arm"] = verdicts.loc[own, "placement"]
    assert text_of(verdict_forest(verdicts, "paired")).count("1*3+01*1+1") == 1


def test_a_verdict_without_intervals_is_drawn():
    verdicts = verdict_table(confirm_table())
    verdicts[["t_low", "t_high", "bca_low", "bca_high", "difference"]] = math.nan
    verdicts["verdict"] = "a word of a later version"
    assert rendered(verdict_forest(verdicts, "paired"), "png")


def test_every_run_of_a_confirmation_is_a_dot():
    runs = confirm_table()
    figure = confirmation_runs(runs, verdict_table(runs))
    assert rendered(figure, "png")
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in dots) == 29
    assert "1 diverged" in text_of(figure)
    said = [line for line in figure.axes[1].lines if line.get_marker() == "D"]
    assert len(said) == 2
    assert "No confirmation" in text_of(confirmation_runs(runs[:0], verdict_table(runs)))


def test_points_are_signed_percentages():
    assert [points(0.0123), points(-0.5), points(math.nan)] == ["+1.23", "−50.00", "-"]
