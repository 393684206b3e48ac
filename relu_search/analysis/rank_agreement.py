"""Do early ranks, or a supernet's, agree with the final ones?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from relu_search.analysis.estimates import full_length
from relu_search.analysis.site_effects import CONFIDENCE

if TYPE_CHECKING:
    import pandas as pd

FEWEST_TO_RANK = 8
"""Full-length trials below which a rank correlation says nothing."""
WEAK_CORRELATION = 0.5


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


FEWEST_FOR_TAU = 4


def supernet_agreement(trials: pd.DataFrame, ranking: pd.DataFrame, metric: str) -> str:
    """One line: Kendall's tau between the supernet's ranks and those of trials from scratch.

    Args:
        trials: of full length.
        ranking: `supernet.csv`.
    """
    from scipy.stats import kendalltau

    own = trials.groupby("placement")[metric].mean()
    theirs = ranking.set_index("placement")[metric]
    shared = own.index.intersection(theirs.index)
    if len(shared) < FEWEST_FOR_TAU:
        return f"Supernet: only {len(shared)} of its placements trained to the end; no tau yet."
    found = kendalltau(own[shared], theirs[shared])
    verdict = "weak advice" if found.statistic < 0.4 else "fair advice"
    return (
        f"Supernet: Kendall's tau between its ranks and those from scratch is "
        f"{found.statistic:.2f} (n = {len(shared)} placements, mostly its favourites; "
        f"p = {found.pvalue:.2g}): {verdict}."
    )
