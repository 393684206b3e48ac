"""What the page says: the headline, the leaderboard and the map of placements agree."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.report_pages import modules, page_of, trial

from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.analysis.site_effects import site_importance
from relu_search.report.page_content import page_content
from relu_search.report.page_figures import search_figures
from relu_search.settings.metrics import METRICS


def test_a_running_search_is_reportable(make_run):
    stopped = [trial(i, state="PRUNED", epochs=1) for i in range(3)]
    page = page_of(make_run(*stopped))
    assert "3 of 9 trials are finished" in page.text
    assert "has trained to the end yet" in page.text


def test_one_trial_is_reportable(make_run):
    page = page_of(make_run(trial(0), metric="val_loss"))
    assert "Best placement found: 011011" in page.text


def test_failed_and_diverged_trials_are_reportable(make_run):
    failed = trial(0, state="FAIL", epochs=0, val_accuracy=None, val_loss=None, reason="no luck")
    blown_up = trial(1, val_accuracy=None, val_loss=None)
    page = page_of(make_run(failed, blown_up))
    assert "failed: no luck" in page.text


LUCKY, STEADY = "100000", "111110"


def lucky_run(make_run, metric):
    """A run where the luckiest single run is not of the placement with the best estimate.

    STEADY has five good runs. LUCKY has one run that is better than each of them, and two bad ones.
    """
    better = METRICS[metric].sign
    values = {STEADY: (0.80, 0.81, 0.82, 0.80, 0.81), LUCKY: (0.84, 0.40, 0.42)}
    rows = [*modules(), trial(3, placement="000011"), trial(4, placement="110000")]
    rows += [
        trial(len(rows) + i, placement=bits, val_accuracy=value)
        for i, (bits, value) in enumerate((b, v) for b in values for v in values[b])
    ]
    for row in rows:
        if better < 0:
            row["val_loss"] = 1 / row["val_accuracy"]
    return make_run(*rows, metric=metric)


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_headline_table_and_map_show_the_estimate_and_not_the_luckiest_run(metric, make_run):
    tables = RunSnapshot.read(lucky_run(make_run, metric))
    of_run = METRICS[metric]
    best = of_run.sign * tables.trials[metric]
    assert tables.trials["placement"][best.idxmax()] == LUCKY

    content = page_content(tables, {})
    column = content.leaderboard.columns.index("estimate")
    table = {row[0]: row[column] for row in content.leaderboard.rows}
    found = [name for name in table if name in (STEADY, LUCKY, "000011", "110000")]
    assert found[0] == STEADY
    assert all("±" in value for value in table.values())

    headline = next(line for line in content.answer if line.text.startswith("Best"))
    assert headline.strong == STEADY
    assert headline.rest.endswith(f": {of_run.title} {table[STEADY]}.")
    paired = next(line.text for line in content.answer if line.text.startswith("Paired"))
    assert paired.endswith(f": {of_run.title} {table['paired']}.")

    importance = site_importance(tables.trials, tables.config.network, of_run)
    figures = {figure.name: figure.figure for figure in search_figures(tables, {}, importance)}
    axes = figures["placement-map"].axes[0]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    values = [text.get_text() for text in axes.texts if "ReLU" in text.get_text()]
    assert [name for name in names if name in found] == found
    shown = dict(zip(names, (value.rpartition(",")[0] for value in values), strict=True))
    assert shown == {name: table[name] for name in names}
    order = [name for name in table if name in names[: len(names) - len(found)]]
    assert names == [*order, *found]

    (star,) = [x for x in figures["accuracy-relus"].axes[0].lines if x.get_marker() == "*"]
    number = float(table[STEADY].split()[0])
    assert np.allclose(star.get_ydata(), number, atol=0.6 * 10.0**-of_run.decimals)


def test_a_leading_module_is_named_with_its_estimate(make_run):
    run = make_run(*modules(), trial(3, val_accuracy=0.1), metric="val_accuracy")
    page = page_of(run)
    assert "The hand-designed module 2:1 is ahead: validation accuracy 52.0 %." in page.text
    assert "Paired, every ReLU kept: validation accuracy 50.0 %." in page.text
