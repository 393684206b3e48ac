"""One number for a placement: the model's estimate of its metric.

Single runs are noisy, so the luckiest run is not the best placement. Every ranking, headline and
table takes a placement's number from `estimates`, and its text from `estimate_text`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from relu_search.samplers.gp_model import MOST_TRIALS, Surrogate, without_outliers
from relu_search.settings.metrics import Metric
from search_spaces import Placement

FEWEST_TO_ESTIMATE = 8
"""With fewer full-length trials, the estimate of a placement is the mean of its runs."""
NOT_MODELLED = "runs only"
_Z = 1.96  # of a 95 % interval


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
    takes_log = _takes_log(whole, metric)
    model, latest, scores = _fitted(whole, metric)
    mean, sd = model.predict(_points(table.index))
    mean = metric.sign * mean
    table["estimate"] = np.exp(mean) if takes_log else mean
    table["sd"] = np.exp(mean) * sd if takes_log else sd
    far_out = latest["placement"][without_outliers(scores) > scores].unique()
    table.loc[far_out, "estimate"], table.loc[far_out, "sd"] = table[name], math.nan
    return table


@dataclass(frozen=True, kw_only=True)
class JointScores:
    """The model's joint distribution of the scores of placements, normal, larger is better.

    Attributes:
        placements: their texts, without those that have a run far worse than all others.
        mean: (n,) of their scores.
        covariance: (n, n).
        noise: sd of one run's score around the true one.
    """

    placements: list[str]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    noise: float
    _metric: Metric
    _takes_log: bool

    def values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores as values of the metric."""
        values = self._metric.sign * scores
        return np.asarray(np.exp(values)) if self._takes_log else values


def joint_scores(trials: pd.DataFrame, metric: Metric) -> JointScores | None:
    """The joint distribution behind `estimates`; None where there is no model."""
    known = estimates(trials, metric)
    modelled = known[known["sd"].notna()]
    if modelled.empty:
        return None
    whole = full_length(trials, metric)
    model = _fitted(whole, metric)[0]
    mean, covariance = model.joint(_points(modelled.index))
    return JointScores(
        placements=[str(text) for text in modelled.index],
        mean=mean,
        covariance=covariance,
        noise=model.noise,
        _metric=metric,
        _takes_log=_takes_log(whole, metric),
    )


def chances_to_beat(
    trials: pd.DataFrame,
    metric: Metric,
    leader: str,
    placements: Sequence[Placement],
    *,
    relative: float,
    points: float,
) -> NDArray[np.float64]:
    """(n,) the model's probability that each placement is better than another by a margin.

    Args:
        trials: rows of `trials.csv`, with `FEWEST_TO_ESTIMATE` full-length trials or more.
        leader: text of the other placement.
        placements: n of them.
        relative: the margin as a share of the metric, where the model is one of its logarithm.
        points: the margin as a difference of the metric, elsewhere.
    """
    whole = full_length(trials, metric)
    model = _fitted(whole, metric)[0]
    margin = -math.log1p(-relative) if _takes_log(whole, metric) else points
    candidates = _bits(placements)
    one = _bits([Placement.parse(leader)])
    mean, sd = model.difference(candidates, np.repeat(one, len(candidates), axis=0))
    chances: NDArray[np.float64] = stats.norm.sf((margin - mean) / sd)
    return chances


def _takes_log(whole: pd.DataFrame, metric: Metric) -> bool:
    return metric.log and bool((whole[metric.name] > 0).all())


def _fitted(
    whole: pd.DataFrame, metric: Metric
) -> tuple[Surrogate, pd.DataFrame, NDArray[np.float64]]:
    """The model of full-length trials; the latest trials, which it is fitted to; their scores."""
    latest = whole.iloc[-MOST_TRIALS:]
    values = latest[metric.name].to_numpy(dtype=float)
    scores = metric.sign * (np.log(values) if _takes_log(whole, metric) else values)
    return Surrogate.fit(_points(latest["placement"]), scores), latest, scores


@dataclass(frozen=True)
class Gap:
    """How far a placement is behind another, in the unit of the metric; below 0: it is ahead.

    Attributes:
        behind: the difference of the estimates.
        low, high: its 95 % interval; None where nothing says how certain it is: there is no model,
            or it leaves a run out as an outlier, and not both placements have two seeds.
        measured: the difference of the means of the runs.
        seeds: full-length trials of the two.
    """

    behind: float
    low: float | None
    high: float | None
    measured: float
    seeds: tuple[int, int]

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def gap_between(trials: pd.DataFrame, metric: Metric, leader: str, other: str) -> Gap:
    """How far the placement `other` is behind `leader`. Both have a full-length trial.

    The interval is that of the model (normal), or Welch's where the model leaves a run out.
    """
    whole = full_length(trials, metric)
    known = estimates(trials, metric).loc[[leader, other]]
    estimate, means = known["estimate"].to_numpy(), known[metric.name].to_numpy()
    behind, measured = (float(metric.sign * (pair[0] - pair[1])) for pair in (estimate, means))
    low = high = None
    if known["sd"].notna().all():
        model = _fitted(whole, metric)[0]
        mean, sd = (
            float(x[0]) for x in model.difference(*(_points(known.index[[i]]) for i in (0, 1)))
        )
        ends = [mean - _Z * sd, mean + _Z * sd]
        if _takes_log(whole, metric):  # a score is minus the logarithm of a loss
            ends = [float(estimate[0]) * math.expm1(end) for end in ends]
        low, high = ends
    else:
        runs = [whole.loc[whole["placement"] == p, metric.name].astype(float) for p in known.index]
        if min(map(len, runs)) >= 2:
            interval = stats.ttest_ind(*runs, equal_var=False).confidence_interval(0.95)
            low, high = sorted(metric.sign * float(end) for end in interval)
    return Gap(behind, low, high, measured, (int(known["n"].iloc[0]), int(known["n"].iloc[1])))


def estimate_text(known: pd.DataFrame, placement: str, metric: Metric) -> str:
    """The number of a placement as every table and headline shows it: `0.136 ± 0.004`.

    Args:
        known: what `estimates` returned.
        placement: its text.
        metric: the metric of `known`.

    Returns:
        Estimate and one standard deviation with the unit. Without a model there is no deviation; a
        placement that the model leaves out is marked as such. `-` without a full-length trial.
    """
    if placement not in known.index:
        return "-"
    value, sd = (float(known[column][placement]) for column in ("estimate", "sd"))
    return value_text(value, sd, metric, is_left_out=math.isnan(sd) and has_model(known))


def value_text(value: float, sd: float, metric: Metric, *, is_left_out: bool) -> str:
    """What `estimate_text` shows of an estimate and its deviation, which may be NaN.

    Args:
        value: the estimate.
        sd: its standard deviation.
        metric: of the estimate.
        is_left_out: the model leaves the placement out.
    """
    if math.isnan(sd):
        return metric.text(value) + (f" ({NOT_MODELLED})" if is_left_out else "")
    number, deviation = (f"{x * metric.factor:.{metric.decimals}f}" for x in (value, sd))
    return f"{number} ± {deviation} {metric.unit}".rstrip()


def has_model(known: pd.DataFrame) -> bool:
    """Whether the estimates of `estimates` come from the model."""
    return bool(known["sd"].notna().any())


def estimate_words(known: pd.DataFrame) -> str:
    """What the numbers of `estimates` are: from the model, or means where it had too few trials."""
    if not has_model(known):
        return (
            f"the mean of the runs (fewer than {FEWEST_TO_ESTIMATE} full-length trials: no model)"
        )
    left_out = "" if known["sd"].notna().all() else f"; {NOT_MODELLED}: far worse than all others"
    return f"the model's estimate (mean ± 1 sd{left_out})"


def _points(texts: pd.Series[str] | pd.Index[str]) -> NDArray[np.int64]:
    return _bits([Placement.parse(text) for text in texts])


def _bits(placements: Sequence[Placement]) -> NDArray[np.int64]:
    """(placements, sites + 1): the bits, and whether the norms of dropped ReLUs are removed."""
    rows = [[*map(int, p.bits), p.dropped_norm == "drop"] for p in placements]
    return np.array(rows, dtype=np.int64)
