"""What a search says of its early stopping, on made-up tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from helpers.asha_simulation import normal_scores
from helpers.trial_tables import loss_table
from scipy import stats

from relu_search.analysis.early_stops import AUDIT, early_evidence, early_stopping_text
from relu_search.settings.search_config import SearchConfig
from trials.early_stopping.rung_evidence import RungEvidence
from trials.running.time_budget import OUT_OF_TIME

EPOCHS = 4


def tables(noise, stopped=(), audits=(), n=24):
    """Trials whose train losses follow their final loss, up to noise; epochs are cut where told."""
    rng = np.random.default_rng(4)
    final = rng.uniform(1, 2, n)
    bits = [f"{i + 1:06b}" for i in range(n)]
    trials = loss_table(bits, final)
    trials["reason"] = ""
    trials["epochs"] = EPOCHS
    trials.loc[list(stopped), ["state", "epochs"]] = ["PRUNED", 1]
    trials.loc[list(audits), "reason"] = f"{AUDIT}: would have been stopped after epoch 1"
    rows = [
        {
            "trial": i,
            "epoch": epoch,
            "train_loss": final[i] + noise * rng.normal(),
            "val_loss": final[i],
            "val_accuracy": 0.5,
        }
        for i in range(n)
        for epoch in range(1, trials["epochs"][i] + 1)
    ]
    return trials, pd.DataFrame(rows), final


def config(**options):
    return SearchConfig(backbone="plain-8", granularity="site", epochs=EPOCHS, **options).resolve()


def text_of(trials, epochs, options):
    return early_stopping_text(trials, early_evidence(trials, epochs, options), options)


def test_a_rung_that_predicts_is_named_with_its_correlation():
    trials, epochs, final = tables(0.0)
    text = text_of(trials, epochs, config(reduction_factor=2))
    assert text.startswith("Early stopping stopped no trial. Epoch 1 is trusted")
    assert "epoch 2 is trusted" in text
    assert "n = 24 placements" in text
    signals = {i: float(v) for i, v in enumerate(final)}
    assert early_evidence(trials, epochs, config())[1] == RungEvidence.of(signals, signals)


def test_a_rung_that_does_not_is_said_to_be_not_trusted():
    trials, epochs, _ = tables(5.0)
    assert "Epoch 1 is not trusted (" in text_of(trials, epochs, config())


def test_a_rung_that_was_trusted_when_it_stopped_trials_is_said_to_be_so_no_more():
    trials, epochs, _ = tables(5.0, stopped=(3,))
    assert "Epoch 1 is not trusted any more (" in text_of(trials, epochs, config())


def test_what_was_saved_and_risked_is_told():
    _, _, final = tables(0.0)
    worst = np.argsort(final)[-6:]
    trials, epochs, _ = tables(0.01, stopped=worst[1:], audits=worst[:1])
    text = text_of(trials, epochs, config())
    assert f"saved {5 * 3 / (24 * 4):.0%} of the epochs: it stopped 5 trials by the sum" in text
    assert "would have ended before the best one is below 0.1 %" in text
    assert (
        "1 trial that it would have stopped trained on as an audit and took place 19 of 19" in text
    )


def test_the_risk_is_the_sum_of_the_chances_of_the_stopped_placements():
    """By the t distribution around a line through the normal scores of the finished trials."""
    _, _, final = tables(0.0)
    stopped = np.argsort(final)[6:10]
    trials, epochs, _ = tables(0.15, stopped=stopped)
    signal = epochs[epochs["epoch"] == 1].set_index("trial")["train_loss"]
    scores = dict(zip(signal.index, normal_scores(signal), strict=True))
    whole = [n for n in range(24) if n not in stopped]
    x, y = np.array([scores[n] for n in whole]), normal_scores(final[whole])
    line, n = stats.linregress(x, y), len(whole)
    rest = np.sum((y - line.intercept - line.slope * x) ** 2) / (n - 2)
    risk = 0.0
    for one in stopped:
        leverage = 1 + 1 / n + (scores[one] - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2)
        away = (min(y) - line.intercept - line.slope * scores[one]) / np.sqrt(rest * leverage)
        risk += stats.t.cdf(away, n - 2)
    assert 0.01 < risk < 0.9
    assert f"best one is below {math.ceil(risk * 1000) / 10:g} %" in text_of(
        trials, epochs, config()
    )


def test_trials_that_the_time_budget_has_ended_are_none_that_it_stopped():
    trials, epochs, _ = tables(0.0, stopped=(3, 5))
    trials.loc[[3, 5], "reason"] = OUT_OF_TIME
    assert text_of(trials, epochs, config()).startswith("Early stopping stopped no trial.")
    trials.loc[3, "reason"] = ""
    assert f"saved {3 / (23 * 4):.0%} of the epochs: it stopped 1 trial by" in text_of(
        trials, epochs, config()
    )


def test_trials_stopped_where_their_rung_tells_nothing_have_no_stated_risk():
    trials, epochs, _ = tables(0.0, stopped=range(20))
    text = text_of(trials, epochs, config())
    assert "fewer than 12 placements" in text
    assert "chance" not in text


@pytest.mark.parametrize("options", [{"grace_epochs": 4}, {"grace_epochs": 9}])
def test_without_a_rung_nothing_is_said(options):
    trials, epochs, _ = tables(0.0)
    assert text_of(trials, epochs, config(**options)) == ""
