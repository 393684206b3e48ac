"""One number for a placement: the model's estimate of its metric.

Single runs are noisy, so the luckiest run is not the best placement. Every ranking, headline and
table takes a placement's number from `estimates`, and its text from `estimate_text`.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from relu_search.samplers.gp_model import MOST_TRIALS, Surrogate, without_outliers
from relu_search.settings.metrics import Metric
from search_spaces import Placement

FEWEST_TO_ESTIMATE = 8
"""With fewer full-length trials, the estimate of a placement is the mean of its runs."""


def full_length(trials: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """The trials that trained to the last epoch and have a finite metric."""
    values = trials[metric.name].astype(float)
    return trials[(trials["state"] == "COMPLETE") & np.isfinite(values)]


def estimates(trials: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """The estimate of each placement's true metric, from all full-length trials.

    The model is a Gaussian process over single ReLU sites (`Surrogate`), and the estimate is its
    posterior mean. It moves a single run towards the results of similar placements; more seeds of
    a placement move it less. Metrics with `log` are modelled by their logarithm.

    Args:
        trials: rows of `trials.csv`; other than full-length trials are ignored.
        metric: the metric to estimate.

    Returns:
        One row per placement with a full-length trial; the index is its text. Columns: `n` (seeds),
        `val_accuracy` and `val_loss` (means over the seeds), `estimate` (of `metric`) and `sd` (one
        posterior standard deviation). The estimate is the mean of the runs, and `sd` is NaN, with
        fewer than `FEWEST_TO_ESTIMATE` trials, and for a placement that has a run far worse than
        all others: the model ignores how bad such a run is.
    """
    name = metric.name
    whole = full_length(trials, metric).astype({"val_accuracy": float, "val_loss": float})
    groups = whole.groupby("placement", sort=False)
    table = groups[["val_accuracy", "val_loss"]].mean()
    table["n"] = groups.size()
    table["estimate"], table["sd"] = table[name], math.nan
    if len(whole) < FEWEST_TO_ESTIMATE:
        return table
    takes_log = metric.log and bool((whole[name] > 0).all())
    latest = whole.iloc[-MOST_TRIALS:]
    values = latest[name].to_numpy(dtype=float)
    scores = metric.sign * (np.log(values) if takes_log else values)
    model = Surrogate.fit(_points(latest["placement"]), scores)
    mean, sd = model.predict(_points(table.index))
    mean = metric.sign * mean
    table["estimate"] = np.exp(mean) if takes_log else mean
    table["sd"] = np.exp(mean) * sd if takes_log else sd
    far_out = latest["placement"][without_outliers(scores) > scores].unique()
    table.loc[far_out, "estimate"], table.loc[far_out, "sd"] = table[name], math.nan
    return table


def estimate_text(known: pd.DataFrame, placement: str, metric: Metric) -> str:
    """The number of a placement as every table and headline shows it: `0.136 ± 0.004`.

    Args:
        known: what `estimates` returned.
        placement: its text.
        metric: the metric of `known`.

    Returns:
        Estimate and one standard deviation with the unit, without the deviation where it is
        unknown; `-` for a placement without a full-length trial.
    """
    if placement not in known.index:
        return "-"
    value, sd = (float(known[column][placement]) for column in ("estimate", "sd"))
    if math.isnan(sd):
        return metric.text(value)
    number, deviation = (f"{x * metric.factor:.{metric.decimals}f}" for x in (value, sd))
    return f"{number} ± {deviation} {metric.unit}".rstrip()


def estimate_words(known: pd.DataFrame) -> str:
    """What the numbers of `estimates` are: from the model, or means where it had too few trials."""
    if known["sd"].notna().any():
        return "the model's estimate (mean ± 1 sd)"
    return f"the mean of the runs (fewer than {FEWEST_TO_ESTIMATE} full-length trials: no model)"


def _points(texts: pd.Series[str] | pd.Index[str]) -> np.ndarray:
    """(placements, sites + 1): the bits, and whether the norms of dropped ReLUs are removed."""
    parsed = [Placement.parse(text) for text in texts]
    return np.array([[*map(int, p.bits), p.dropped_norm == "drop"] for p in parsed], dtype=np.int64)
