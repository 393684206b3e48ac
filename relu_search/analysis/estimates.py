"""What a placement is worth, from noisy single runs: means shrunken towards what its like did."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from relu_search.samplers.surrogate import MOST_TRIALS, Surrogate, without_outliers
from search_spaces import Placement


def full_length(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The trials that trained to the last epoch and have a finite metric."""
    return trials[(trials["state"] == "COMPLETE") & np.isfinite(trials[metric].astype(float))]


FEWEST_TO_SHRINK = 8
"""Full-length trials below which there is nothing to shrink towards."""


def estimates(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The posterior of each placement's true metric, given all full-length trials.

    The model is the `Surrogate` over single ReLU sites: a lucky run is drawn towards what similar
    placements did, the less so the more seeds a placement has. Losses are modelled by their
    logarithm, accuracies as they are.

    Args:
        trials: of full length with a finite metric, as in `trials.csv`.
        metric: `val_accuracy` or `val_loss`.

    Returns:
        One row per placement, its text the index: `n` (seeds), `val_accuracy` and `val_loss`
        (means over them), `estimate` (of the metric) and `sd`. The estimate is the mean, and `sd`
        not a number, with fewer than `FEWEST_TO_SHRINK` trials, and for a placement with a run
        far below all others, of which the model knows nothing.
    """
    measured = trials.astype({"val_accuracy": float, "val_loss": float})  # also of no rows
    groups = measured.groupby("placement", sort=False)
    table = groups[["val_accuracy", "val_loss"]].mean()
    table["n"] = groups.size()
    table["estimate"], table["sd"] = table[metric], math.nan
    if len(trials) < FEWEST_TO_SHRINK:
        return table
    takes_log = metric == "val_loss" and bool((trials[metric] > 0).all())
    sign = -1.0 if metric == "val_loss" else 1.0
    latest = trials.iloc[-MOST_TRIALS:]
    scores = sign * latest[metric].to_numpy(dtype=float)
    if takes_log:
        scores = -np.log(latest[metric].to_numpy(dtype=float))
    model = Surrogate.fit(_points(latest["placement"]), scores)
    mean, sd = model.predict(_points(table.index))
    table["estimate"] = np.exp(-mean) if takes_log else sign * mean
    table["sd"] = np.exp(-mean) * sd if takes_log else sd
    far_out = latest["placement"][without_outliers(scores) > scores].unique()
    table.loc[far_out, "estimate"], table.loc[far_out, "sd"] = table[metric], math.nan
    return table


def _points(texts: pd.Series[str] | pd.Index[str]) -> np.ndarray:
    """(placements, sites + 1): bits, and whether the norms of dropped ReLUs are gone."""
    parsed = [Placement.parse(text) for text in texts]
    return np.array([[*map(int, p.bits), p.dropped_norm == "drop"] for p in parsed], dtype=np.int64)
