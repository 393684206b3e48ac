"""What the trials of a search say together: Pareto front, site influence, rank correlation.

Plain tables in, plain tables out; nothing is drawn here. `trials` and `epochs` are the tables of a
run folder; `metric` is one of their columns, `val_accuracy` or `val_loss`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from search_spaces import Backbone, Placement

CONFIDENCE = 0.95
FEWEST_TO_RANK = 8
"""Full-length trials below which a rank correlation says nothing."""
WEAK_CORRELATION = 0.5


def full_length(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The trials that trained to the last epoch and have a finite metric."""
    return trials[(trials["state"] == "COMPLETE") & np.isfinite(trials[metric].astype(float))]


def pareto_front(relus: pd.Series[Any], score: pd.Series[Any]) -> pd.Series[Any]:
    """True where no other point has as few ReLUs and as high a score, and one of them better.

    Equal points are on the front together.
    """
    best = score.groupby(relus).max().sort_index()
    with_fewer = best.cummax().shift(fill_value=-math.inf)
    leading = best[best > with_fewer]
    return score == relus.map(leading)


def site_influence(trials: pd.DataFrame, backbone: Backbone, metric: str) -> pd.DataFrame:
    """Mean metric with a site kept minus mean with it dropped, over full-length trials.

    Returns:
        One row per site in forward order: `site`, `stage`, `kept` and `dropped` (trials on each
        side), `difference`, and `low`, `high`: the 95 % interval of Welch. Not a number where a
        side is empty; the interval also where a side has one trial, or nothing varies.

    Raises:
        InputError: a placement is not one of the backbone.
    """
    complete = full_length(trials, metric)
    placements = [Placement.parse(text) for text in complete["placement"]]
    for placement in placements:
        backbone.check(placement)
    values = complete[metric].to_numpy(dtype=float)
    rows = []
    for site in backbone.sites:
        is_kept = np.array([p.bits[site.index] == "1" for p in placements], dtype=bool)
        kept, dropped = values[is_kept], values[~is_kept]
        difference, low, high = welch(kept, dropped)
        rows.append((site.index, site.stage, len(kept), len(dropped), difference, low, high))
    columns = ["site", "stage", "kept", "dropped", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Difference of the means of two samples and its 95 % interval by Welch's t."""
    if not (len(a) and len(b)):
        return math.nan, math.nan, math.nan
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return difference, math.nan, math.nan
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return difference, math.nan, math.nan
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * math.sqrt(va + vb))
    return difference, difference - reach, difference + reach


def rank_correlation(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    metric: str,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Spearman correlation of the metric after each epoch with the metric at full length.

    Over full-length trials; the last epoch, where it is 1 by definition, is left out.

    Returns:
        One row per epoch: `epoch`, `n` (trials), `rho`, and `low`, `high`: the 95 % percentile
        interval over resampled trials. Not a number with n < 3 or where one side is constant.
    """
    final = full_length(trials, metric).set_index("trial")[metric].astype(float)
    mine = epochs[epochs["trial"].isin(final.index) & np.isfinite(epochs[metric].astype(float))]
    table = mine.pivot_table(index="trial", columns="epoch", values=metric, aggfunc="last")
    rng = np.random.default_rng(seed)
    rows = []
    for epoch in sorted(table.columns)[:-1]:
        early = table[epoch].dropna().to_numpy()
        late = final[table[epoch].dropna().index].to_numpy()
        n = len(early)
        rho, low, high = math.nan, math.nan, math.nan
        if n >= 3:
            rho = float(_spearman(early[None], late[None])[0])
            drawn = rng.integers(n, size=(resamples, n))
            resampled = _spearman(early[drawn], late[drawn])
            resampled = resampled[np.isfinite(resampled)]
            if math.isfinite(rho) and len(resampled):
                tail = (1 - CONFIDENCE) / 2
                low, high = np.quantile(resampled, [tail, 1 - tail]).tolist()
        rows.append((int(epoch), n, rho, low, high))
    return pd.DataFrame(rows, columns=["epoch", "n", "rho", "low", "high"])


def grace_warning(correlation: pd.DataFrame, grace_epochs: int) -> str:
    """One line when the ranks at the first possible stop do not foretell the final ones.

    Empty when they do, or when no trial could be stopped.
    """
    at_grace = correlation[correlation["epoch"] == grace_epochs]
    if at_grace.empty:
        return ""
    n, rho = int(at_grace["n"].iloc[0]), float(at_grace["rho"].iloc[0])
    if n < FEWEST_TO_RANK or not math.isfinite(rho):
        return (
            f"Too few full-length trials (n = {n}, at least {FEWEST_TO_RANK} wanted) to tell "
            f"whether stopping after {_epochs(grace_epochs)} is safe."
        )
    if rho < WEAK_CORRELATION:
        return (
            f"WARNING: ranks after {_epochs(grace_epochs)} hardly foretell the final ones "
            f"(Spearman {rho:.2f}, n = {n}): early stopping may have thrown good placements "
            "away. Search again with a larger --grace-epochs."
        )
    return ""


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlation of each row of `a` with that of `b`, (rows, n); NaN where one is constant.

    Pearson's correlation of the ranks, ties averaged.
    """
    ra, rb = (stats.rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (a, b))
    scale = np.sqrt((ra**2).sum(axis=1) * (rb**2).sum(axis=1))
    product: np.ndarray = (ra * rb).sum(axis=1)
    return np.divide(product, scale, out=np.full(len(scale), math.nan), where=scale > 0)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"
