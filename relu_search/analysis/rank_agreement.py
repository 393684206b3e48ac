"""How well do early ranks, or a supernet's ranks, agree with the final ranks?"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from relu_search.analysis.estimates import full_length
from relu_search.analysis.site_effects import CONFIDENCE
from relu_search.settings.metrics import Metric

FEWEST_TO_RANK = 8
"""Fewest full-length trials for which a rank correlation is judged."""
WEAK_CORRELATION = 0.5
"""Ranks with a lower Spearman correlation are called poor predictors."""
FEWEST_FOR_TAU = 4
"""Fewest placements for which Kendall's tau is given."""


def rank_correlation(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    metric: Metric,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Spearman correlation of the metric after each epoch with the final metric.

    Only full-length trials count. The last epoch is left out: there it is 1 by definition.

    Args:
        trials, epochs: `trials.csv` and `epochs.csv`.
        metric: whose ranks are compared.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One row per epoch: `epoch`, `n` (trials), `rho`, and `low`, `high` (the 95 % percentile
        bootstrap interval over trials). NaN with n < 3 or where one side is constant.
    """
    name = metric.name
    final = full_length(trials, metric).set_index("trial")[name].astype(float)
    mine = epochs[epochs["trial"].isin(final.index) & np.isfinite(epochs[name].astype(float))]
    table = mine.pivot_table(index="trial", columns="epoch", values=name, aggfunc="last")
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
    """One line if the ranks at the first possible stop predict the final ranks poorly.

    Empty if they predict them well, or if no trial could be stopped.
    """
    at_grace = correlation[correlation["epoch"] == grace_epochs]
    if at_grace.empty:
        return ""
    n, rho = int(at_grace["n"].iloc[0]), float(at_grace["rho"].iloc[0])
    if n < FEWEST_TO_RANK or not math.isfinite(rho):
        return (
            f"Too few full-length trials (n = {n}, at least {FEWEST_TO_RANK} needed) to judge "
            f"whether stopping after {_epochs(grace_epochs)} is safe."
        )
    if rho < WEAK_CORRELATION:
        return (
            f"WARNING: ranks at epoch {grace_epochs} predict final ranks poorly (Spearman "
            f"{rho:.2f}, n = {n}): early stopping may have stopped good placements. Search again "
            "with a larger --grace-epochs."
        )
    return ""


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(rows,) Spearman correlation of each row of `a` with the same row of `b`, both (rows, n).

    It is Pearson's correlation of the ranks, ties averaged; NaN where a row is constant.
    """
    ra, rb = (stats.rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (a, b))
    scale = np.sqrt((ra**2).sum(axis=1) * (rb**2).sum(axis=1))
    product: np.ndarray = (ra * rb).sum(axis=1)
    return np.divide(product, scale, out=np.full(len(scale), math.nan), where=scale > 0)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def supernet_agreement(trials: pd.DataFrame, ranking: pd.DataFrame, metric: Metric) -> str:
    """One line: Kendall's tau between the supernet's ranks and those of trials from scratch.

    Args:
        trials: of full length.
        ranking: `supernet.csv`; empty if the supernet's training diverged.
        metric: whose ranks are compared.
    """
    if ranking.empty:
        return "Supernet: its training diverged, so the search went on without a warm start."
    own = trials.groupby("placement")[metric.name].mean()
    theirs = ranking.set_index("placement")[metric.name]
    shared = own.index.intersection(theirs.index)
    if len(shared) < FEWEST_FOR_TAU:
        return (
            f"Supernet: only {len(shared)} of its placements have trained to the end, too few for "
            "Kendall's tau."
        )
    found = stats.kendalltau(own[shared], theirs[shared])
    verdict = "a weak guide" if found.statistic < 0.4 else "a fair guide"
    return (
        "Supernet: Kendall's tau between its ranks and the ranks of trials from scratch is "
        f"{found.statistic:.2f} (n = {len(shared)} placements, mostly those it ranked high; "
        f"p = {found.pvalue:.2g}): {verdict}."
    )
