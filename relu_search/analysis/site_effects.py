"""Which ReLU matters? Influence, with a sign, and importance, without one, of every site.

The question is Section V-C of the paper.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import TrialState
from scipy import stats

from relu_search.analysis.estimates import full_length
from search_spaces import Backbone, InputError, Placement

CONFIDENCE = 0.95


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


optuna.logging.set_verbosity(optuna.logging.WARNING)  # its notes would go into our output

FEWEST = 10
"""Full-length trials below which no importance is worked out."""


def site_importance(trials: pd.DataFrame, backbone: Backbone, metric: str) -> pd.DataFrame:
    """Share of each site in the importance of all, over full-length trials.

    PED-ANOVA (Watanabe et al. 2023) says what sets the best tenth apart from the rest, fANOVA
    (Hutter et al. 2014) what explains the variance of all, by a forest.

    Returns:
        One row per site: `site`, `stage`, `ped_anova`, `fanova` (each sums to 1), `n` (trials).
        Not a number with fewer than `FEWEST` trials, or where all are equally good.

    Raises:
        InputError: a placement is not one of the backbone.
    """
    complete = full_length(trials, metric)
    bits = []
    for text in complete["placement"]:
        placement = Placement.parse(text)
        backbone.check(placement)
        bits.append(placement.bits)
    shares = importance_of(bits, complete[metric].to_numpy(dtype=float), metric, backbone)
    return pd.DataFrame(
        {
            "site": [site.index for site in backbone.sites],
            "stage": [site.stage for site in backbone.sites],
            **shares,
            "n": len(bits),
        }
    )


def importance_of(
    bits: list[str], values: NDArray[np.float64], metric: str, backbone: Backbone
) -> dict[str, NDArray[np.float64]]:
    """`ped_anova` and `fanova`, (sites,) each, of placements with a metric."""
    count = len(backbone.sites)
    unknown = np.full(count, np.nan)
    if len(bits) < FEWEST or np.ptp(values) == 0:
        return {"ped_anova": unknown, "fanova": unknown.copy()}
    names = [f"{site:04d}" for site in range(count)]
    study = optuna.create_study(direction="minimize" if metric == "val_loss" else "maximize")
    distributions: dict[str, Any] = dict.fromkeys(names, CategoricalDistribution(("0", "1")))
    study.add_trials(
        [
            optuna.trial.create_trial(
                state=TrialState.COMPLETE,
                params=dict(zip(names, text, strict=True)),
                distributions=distributions,
                value=float(value),
            )
            for text, value in zip(bits, values, strict=True)
        ]
    )
    evaluators = {
        "ped_anova": PedAnovaImportanceEvaluator(),
        "fanova": FanovaImportanceEvaluator(seed=0),
    }
    shares = {}
    for name, evaluator in evaluators.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna says that an evaluator is experimental
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        shares[name] = np.array([found.get(site, np.nan) for site in names])
    return shares


def shapley(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exact Shapley value of each site, from the worth of every placement.

    What keeping a site adds, averaged over all orders in which sites can be kept one by one,
    beginning with none. The values sum to worth(all kept) - worth(none kept).

    Args:
        values: (2**sites,) worth of each placement, in order of its bits read as a number, the
            first site the highest bit.

    Raises:
        InputError: the number of values is no power of two.
    """
    sites = len(values).bit_length() - 1
    if len(values) != 2**sites:
        raise InputError(f"{len(values)} values are no table of all placements; give 2**sites")
    worth = np.asarray(values, dtype=np.float64).reshape((2,) * sites)
    kept = np.indices(worth.shape).sum(axis=0) if sites else np.zeros(())
    result = np.zeros(sites)
    for site in range(sites):
        without = np.take(kept, 0, axis=site)  # coalitions that lack the site, by size
        gains = np.take(worth, 1, axis=site) - np.take(worth, 0, axis=site)
        for size in range(sites):
            result[site] += gains[without == size].mean() / sites
    return result
