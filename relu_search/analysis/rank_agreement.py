"""How well do a supernet's ranks agree with the ranks of trainings from scratch?"""

from __future__ import annotations

import pandas as pd
from scipy import stats

from relu_search.settings.metrics import Metric

FEWEST_FOR_TAU = 4
"""Fewest placements for which Kendall's tau is given."""


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
