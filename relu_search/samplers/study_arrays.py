"""The trials of a study as arrays, from which the strategies learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from relu_search.run_folder.study import (
    COSTS_ATTRIBUTE,
    FLOOR_ATTRIBUTE,
    METRIC_ATTRIBUTE,
    history_of,
)

Choices = Mapping[str, CategoricalDistribution]
"""Parameter name -> its choices."""
_FEWEST_FOR_A_LINE = 3


@dataclass(frozen=True, eq=False)
class Prior:
    """Trials of an earlier run, as data of the model.

    Attributes:
        points: (trials, units) index of each unit's choice.
        scores: (trials,) as `StudyArrays.quality`.
    """

    points: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StudyArrays:
    """Trials of a study, oldest first.

    Attributes:
        points: (trials, units) index of each unit's choice.
        scores: (trials,) larger is better. With one objective it is the value of the last epoch,
            negative if smaller values are better; it is the logarithm if all values are positive
            losses. A pruned trial has the score that its last report predicts (`_Line`). With
            several objectives it is minus the number of trials that dominate this one. With a
            floor it is minus the rank by Deb's rules (`_ranks_above`).
        quality: (trials,) the same for the metric alone.
        costs: (trials, further objectives) without noise, smaller is better; no column if the
            study was not made by a search.
        noisier: (trials,) True for predicted scores.
        pending: (running trials, units).
        floor: least quality, where the study minimises a cost under it; else None.
    """

    points: NDArray[np.int64]
    scores: NDArray[np.float64]
    quality: NDArray[np.float64]
    costs: NDArray[np.float64]
    noisier: NDArray[np.bool_]
    pending: NDArray[np.int64]
    floor: float | None = None

    @classmethod
    def of(cls, study: Study, choices: Choices) -> StudyArrays:
        ended: list[FrozenTrial] = []
        running: list[FrozenTrial] = []
        for trial in study.get_trials(deepcopy=False):
            if trial.params.keys() >= choices.keys():
                if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                    ended.append(trial)
                elif trial.state == TrialState.RUNNING:
                    running.append(trial)
        ended = [t for t in ended if t.state == TrialState.COMPLETE or curve_of(t, study)]
        costs = np.zeros((len(ended), 0))
        if COSTS_ATTRIBUTE in study.user_attrs:
            costs = np.array(
                [trial.user_attrs[COSTS_ATTRIBUTE] for trial in ended], dtype=np.float64
            )
            costs = costs.reshape(len(ended), max(1, len(study.directions) - 1))
        floor = study.user_attrs.get(FLOOR_ATTRIBUTE)
        if len(study.directions) == 1 or costs.shape[1]:
            quality = _quality(ended, study)
            scores = quality
            if floor is not None:
                scores = -_ranks_above(floor, quality, costs[:, 0])
            elif costs.shape[1]:
                scores = -_dominators(np.column_stack([quality, -costs]))
        else:
            scores = quality = -_dominators(_signed_values(ended, study))
        return cls(
            points=_points(ended, choices),
            scores=scores,
            quality=quality,
            costs=costs,
            noisier=np.array([trial.state == TrialState.PRUNED for trial in ended], dtype=bool),
            pending=_points(running, choices),
            floor=floor,
        )

    def after(self, prior: Prior) -> StudyArrays:
        """The same after the trials of an earlier run, for a single objective."""
        return replace(
            self,
            points=np.concatenate([prior.points, self.points]),
            scores=np.concatenate([prior.scores, self.scores]),
            quality=np.concatenate([prior.scores, self.quality]),
            costs=np.zeros((len(prior.scores) + len(self.scores), 0)),
            noisier=np.concatenate([np.zeros(len(prior.scores), dtype=bool), self.noisier]),
        )

    def seen(self) -> set[tuple[int, ...]]:
        """All points that were tried or are being tried."""
        return {tuple(point) for point in [*self.points.tolist(), *self.pending.tolist()]}


def _points(trials: list[FrozenTrial], choices: Choices) -> NDArray[np.int64]:
    index = {
        name: {choice: i for i, choice in enumerate(dist.choices)} for name, dist in choices.items()
    }
    units = list(index.items())
    rows = [[of[params[name]] for name, of in units] for params in (t.params for t in trials)]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(choices))


def curve_of(trial: FrozenTrial, study: Study) -> dict[int, float]:
    """Step -> metric.

    Studies with costs store no reports; then the history has the values.
    """
    if COSTS_ATTRIBUTE not in study.user_attrs and len(study.directions) == 1:
        return trial.intermediate_values
    metric = study.user_attrs.get(METRIC_ATTRIBUTE)
    return {m["epoch"]: m[metric] for m in history_of(trial)} if metric else {}


def _signed_values(trials: list[FrozenTrial], study: Study) -> NDArray[np.float64]:
    signs = [1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in study.directions]
    values = np.array([t.values or [-np.inf * sign for sign in signs] for t in trials])
    return np.nan_to_num(values.reshape(-1, len(signs)) * signs)


def _quality(trials: list[FrozenTrial], study: Study) -> NDArray[np.float64]:
    has_floor = FLOOR_ATTRIBUTE in study.user_attrs  # then the metric is an accuracy
    is_maximised = has_floor or study.directions[0] == StudyDirection.MAXIMIZE
    sign = 1.0 if is_maximised else -1.0
    curves = [curve_of(trial, study) for trial in trials]
    ends: list[float | None] = [
        (curve[max(curve)] if has_floor else trial.values[0]) if trial.values else None
        for trial, curve in zip(trials, curves, strict=True)
    ]
    known = [v for curve in curves for v in curve.values()] + [v for v in ends if v is not None]
    takes_log = sign < 0 and bool(known) and min(known) > 0

    def score(value: float) -> float:
        return sign * float(np.log(value) if takes_log else value)

    full = [(curve, score(v)) for curve, v in zip(curves, ends, strict=True) if v is not None]
    finals = [final for _, final in full]
    whole = [{step: score(value) for step, value in curve.items()} for curve, _ in full]
    lines: dict[int, _Line] = {}

    def predicted(curve: dict[int, float]) -> float:
        last = max(curve)
        if last not in lines:
            lines[last] = _Line.through(last, whole, finals)
        return lines[last].final(score(curve[last]))

    scores = [
        predicted(curve) if value is None else score(value)
        for curve, value in zip(curves, ends, strict=True)
    ]
    return np.nan_to_num(np.array(scores, dtype=np.float64), posinf=1e9, neginf=-1e9)


@dataclass(frozen=True)
class _Line:
    """Predicts the final score of a pruned trial from its score at a step.

    A least-squares line through the full-length trials gives the prediction. It is never better
    than their median: the trial was stopped because it was not among the best. With fewer than
    three such trials, the prediction is the score itself.
    """

    slope: float
    mean: float
    final_mean: float
    highest: float

    @classmethod
    def through(cls, step: int, curves: list[dict[int, float]], finals: list[float]) -> _Line:
        pairs = [
            (curve[step], final)
            for curve, final in zip(curves, finals, strict=True)
            if curve.get(step) is not None
        ]
        if len(pairs) < _FEWEST_FOR_A_LINE:
            return cls(1.0, 0.0, 0.0, float(np.median(finals)) if finals else np.inf)
        early, late = np.array(pairs).T
        spread = early.var()
        slope = float(np.cov(early, late, bias=True)[0, 1] / spread) if spread > 0 else 0.0
        highest = float(np.median(late))
        return cls(max(0.0, slope), float(early.mean()), float(late.mean()), highest)

    def final(self, score: float) -> float:
        return min(self.final_mean + self.slope * (score - self.mean), self.highest)


def _ranks_above(
    floor: float, quality: NDArray[np.float64], costs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) 0 is the best. Those above the floor come first, by cost; then the others, by quality.

    These are the rules of Deb (2000) for constraints in evolutionary search.
    """
    is_below = quality < floor
    order = np.lexsort((-quality, np.where(is_below, -quality, costs), is_below))
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order))
    return ranks


def _dominators(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) number of rows that dominate each row of (n, objectives); larger values are better."""
    at_least = (values[:, None, :] >= values[None, :, :]).all(axis=2)
    more = (values[:, None, :] > values[None, :, :]).any(axis=2)
    counts: NDArray[np.float64] = (at_least & more).sum(axis=0).astype(np.float64)
    return counts
