"""Which ReLU matters? The influence (signed) and the importance (unsigned) of every site.

Section V-C of the paper asks this question.
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
from relu_search.settings.metrics import Metric
from search_spaces import Architecture, InputError, Placement

optuna.logging.set_verbosity(optuna.logging.WARNING)  # its notes would appear in our output

CONFIDENCE = 0.95
FEWEST = 10
"""Fewest full-length trials for which importances are computed."""


def site_influence(trials: pd.DataFrame, backbone: Architecture, metric: Metric) -> pd.DataFrame:
    """Mean metric of the full-length trials that keep a site minus mean of those that drop it.

    Returns:
        One row per site in forward order: `site`, `stage`, `kept` and `dropped` (trials on each
        side), `difference`, and `low`, `high` (Welch's 95 % interval). NaN where a side is empty;
        the interval is NaN also where a side has one trial or no side varies.

    Raises:
        InputError: a placement does not fit the backbone.
    """
    complete = full_length(trials, metric)
    placements = [Placement.parse(text) for text in complete["placement"]]
    for placement in placements:
        backbone.check(placement)
    values = complete[metric.name].to_numpy(dtype=float)
    rows = []
    for site in backbone.sites:
        is_kept = np.array([p.bits[site.index] == "1" for p in placements], dtype=bool)
        kept, dropped = values[is_kept], values[~is_kept]
        difference, low, high = welch(kept, dropped)
        rows.append((site.index, site.stage, len(kept), len(dropped), difference, low, high))
    columns = ["site", "stage", "kept", "dropped", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Difference of the means of two samples and its 95 % interval (Welch's t).

    Returns:
        (difference, low, high); NaN where a sample is empty, the interval also where a sample has
        one value or both are constant.
    """
    if not (len(a) and len(b)):
        return math.nan, math.nan, math.nan
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2 or np.ptp(a) == np.ptp(b) == 0:
        return difference, math.nan, math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where one of the samples is constant
        found = stats.ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
    return difference, float(found.low), float(found.high)


def site_importance(trials: pd.DataFrame, backbone: Architecture, metric: Metric) -> pd.DataFrame:
    """The importance of each site as a share of all sites, over full-length trials.

    PED-ANOVA (Watanabe et al. 2023) measures what distinguishes the best tenth of the trials.
    fANOVA (Hutter et al. 2014) measures what explains the variance of all trials, by a random
    forest.

    Returns:
        One row per site: `site`, `stage`, `ped_anova`, `fanova` (each sums to 1), `n` (trials).
        NaN with fewer than `FEWEST` trials, or where all trials are equally good.

    Raises:
        InputError: a placement does not fit the backbone.
    """
    complete = full_length(trials, metric)
    bits = []
    for text in complete["placement"]:
        placement = Placement.parse(text)
        backbone.check(placement)
        bits.append(placement.bits)
    shares = importance_of(bits, complete[metric.name].to_numpy(dtype=float), metric, backbone)
    return pd.DataFrame(
        {
            "site": [site.index for site in backbone.sites],
            "stage": [site.stage for site in backbone.sites],
            **shares,
            "n": len(bits),
        }
    )


def importance_of(
    bits: list[str], values: NDArray[np.float64], metric: Metric, backbone: Architecture
) -> dict[str, NDArray[np.float64]]:
    """`ped_anova` and `fanova`, (sites,) each.

    Args:
        bits: of the placements, one text of 0s and 1s each.
        values: (placements,) their metric.
        metric: says which direction is better.
        backbone: of the placements.
    """
    count = len(backbone.sites)
    unknown = np.full(count, np.nan)
    if len(bits) < FEWEST or np.ptp(values) == 0:
        return {"ped_anova": unknown, "fanova": unknown.copy()}
    names = [f"{site:04d}" for site in range(count)]
    study = optuna.create_study(direction=metric.direction)
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
            warnings.simplefilter("ignore")  # Optuna warns that an evaluator is experimental
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        shares[name] = np.array([found.get(site, np.nan) for site in names])
    return shares


def shapley(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exact Shapley value of each site, from the value of every placement.

    It is what keeping a site adds, averaged over all orders in which sites can be kept one by one.
    The Shapley values sum to value(all kept) - value(none kept).

    Args:
        values: (2**sites,) one value per placement, in order of its bits read as a number; the
            first site is the highest bit.

    Returns:
        (sites,)

    Raises:
        InputError: the number of values is no power of two.
    """
    sites = len(values).bit_length() - 1
    if len(values) != 2**sites:
        raise InputError(f"{len(values)} values are not one per placement; give 2**sites values")
    worth = np.asarray(values, dtype=np.float64).reshape((2,) * sites)
    kept = np.indices(worth.shape).sum(axis=0) if sites else np.zeros(())
    result = np.zeros(sites)
    for site in range(sites):
        without = np.take(kept, 0, axis=site)  # coalitions that lack the site, by size
        gains = np.take(worth, 1, axis=site) - np.take(worth, 0, axis=site)
        for size in range(sites):
            result[site] += gains[without == size].mean() / sites
    return result
