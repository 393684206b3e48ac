"""A Gaussian process over placements: it predicts scores and how certain they are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.stats import norm
from threadpoolctl import ThreadpoolController

Floats = NDArray[np.float64]
Points = NDArray[np.int64]

_JOINT_SHARES = (0.0, 0.3, 0.7)
_LENGTHS = (0.15, 0.4)
_NOISE_SHARES = (0.02, 0.08, 0.25, 0.6)
_PREDICTED_NOISE = 4.0  # times the noise of a trial of full length
_JITTER = 1e-9
_CELLS = 40  # along each cost, at most
MOST_TRIALS = 300
"""Most trials that the model is fitted to: half of them the latest, half the best earlier ones."""
MOST_COMPARED = 150
"""Most trials by which weights, length and noise are chosen: the latest of them."""


@dataclass(frozen=True, eq=False)
class Surrogate:
    """The posterior of the scores of placements, given noisy scores of some of them.

    The prior covariance of two placements has two parts. The additive part is the share of units in
    which they agree: each site has its own effect. The joint part is exp(-disagreements / length):
    sites interact. The weights of the parts, the length and the noise maximise the marginal
    likelihood on a grid (for at most `MOST_COMPARED` trials); the scale has a closed form.

    Attributes:
        noise: sd of one training's score around the placement's true mean.
    """

    points: Points
    noise: float
    _mean: float
    _scale: float
    _joint: float
    _length: float
    _factor: Floats
    _weights: Floats

    @classmethod
    def fit(
        cls, points: Points, scores: Floats, noisier: NDArray[np.bool_] | None = None
    ) -> Surrogate:
        """Fit to the scores of some placements.

        Scores far below the others are raised (`without_outliers`): how bad a diverged network is
        tells nothing about the good ones.

        Args:
            points: (n, units) choice indices; n is at least 2.
            scores: (n,) larger is better.
            noisier: (n,) True for scores that are predictions; their noise variance is four times
                as large.
        """
        scores = without_outliers(scores)
        mean, spread = float(scores.mean()), float(scores.std()) or 1.0
        y = (scores - mean) / spread
        extra = np.ones(len(y)) if noisier is None else np.where(noisier, _PREDICTED_NOISE, 1.0)
        equal = _agreement(points, points)
        few = slice(-MOST_COMPARED, None)
        best: tuple[float, tuple[float, float, float]] | None = None
        for joint, length, share in product(_JOINT_SHARES, _LENGTHS, _NOISE_SHARES):
            if joint == 0.0 and length != _LENGTHS[0]:
                continue
            part = (equal[few, few], y[few], extra[few])
            factor, _, variance = _solved(*part, (joint, length, share))
            fit = -0.5 * len(factor) * np.log(variance) - np.log(np.diag(factor)).sum()
            if best is None or fit > best[0]:
                best = (float(fit), (joint, length, share))
        assert best is not None  # the grid is not empty
        factor, weights, variance = _solved(equal, y, extra, best[1])
        joint, length, share = best[1]
        scale = spread * np.sqrt(variance * (1 - share))
        return cls(
            points=points,
            noise=float(spread * np.sqrt(variance * share)),
            _mean=mean,
            _scale=float(scale),
            _joint=joint,
            _length=length,
            _factor=factor / np.sqrt(1 - share),
            _weights=weights * spread * (1 - share),
        )

    def predict(self, points: Points) -> tuple[Floats, Floats]:
        """(mean, sd), (m,) each, of the true scores, without noise, of points (m, units)."""
        cross = _prior(_agreement(points, self.points), self._joint, self._length)
        mean = self._mean + cross @ self._weights
        explained = (solve_triangular(self._factor, cross.T, lower=True) ** 2).sum(axis=0)
        return mean, self._scale * np.sqrt(np.maximum(1.0 - explained, 1e-12))

    def joint(self, points: Points) -> tuple[Floats, Floats]:
        """(mean, covariance), (m,) and (m, m), of the true scores of points (m, units)."""
        cross = _prior(_agreement(points, self.points), self._joint, self._length)
        half = solve_triangular(self._factor, cross.T, lower=True)
        prior = _prior(_agreement(points, points), self._joint, self._length)
        covariance: Floats = self._scale**2 * (prior - half.T @ half)
        return self._mean + cross @ self._weights, covariance

    def difference(self, points: Points, others: Points) -> tuple[Floats, Floats]:
        """(mean, sd), (m,) each, of the true scores of points minus those of others, (m, units)."""
        shared = np.array(
            [
                _prior(_agreement(one[None], other[None]), self._joint, self._length)[0, 0]
                for one, other in zip(points, others, strict=True)
            ]
        )
        crosses = [
            _prior(_agreement(side, self.points), self._joint, self._length)
            for side in (points, others)
        ]
        cross = crosses[0] - crosses[1]
        explained = (solve_triangular(self._factor, cross.T, lower=True) ** 2).sum(axis=0)
        left = np.maximum(2.0 - 2.0 * shared - explained, 1e-12)
        return cross @ self._weights, self._scale * np.sqrt(left)

    def believing(self, pending: Points) -> Surrogate:
        """The model if each running trial, (k, units), ends with its predicted mean.

        So trials that run at once try different placements ("kriging believer", Ginsbourger 2010).
        """
        if not len(pending):
            return self
        expected, _ = self.predict(pending)
        points = np.concatenate([self.points, pending])
        noise = (self.noise / self._scale) ** 2
        known = self._factor @ self._factor.T
        cross = _prior(_agreement(pending, self.points), self._joint, self._length)
        corner = _prior(_agreement(pending, pending), self._joint, self._length)
        covariance = np.block(
            [[known, cross.T], [cross, corner + (noise + _JITTER) * np.eye(len(pending))]]
        )
        factor = np.linalg.cholesky(covariance)
        old = known @ self._weights
        y = np.concatenate([old, expected - self._mean])
        return Surrogate(
            points=points,
            noise=self.noise,
            _mean=self._mean,
            _scale=self._scale,
            _joint=self._joint,
            _length=self._length,
            _factor=factor,
            _weights=cho_solve((factor, True), y),
        )

    def augmented_improvement(self, candidates: Points) -> Floats:
        """(m,) augmented expected improvement (Huang et al. 2006, equations 11 to 13).

        The reference is the tried placement with the largest mean minus one sd. A factor lowers
        the value where one more training would reduce the uncertainty little, so that tried and
        new placements can be compared.
        """
        tried_mean, tried_sd = self.predict(self.points)
        effective = tried_mean[np.argmax(tried_mean - tried_sd)]
        mean, sd = self.predict(candidates)
        z = (mean - effective) / sd
        improvement = (mean - effective) * norm.cdf(z) + sd * norm.pdf(z)
        worth: Floats = improvement * (1 - self.noise / np.hypot(sd, self.noise))
        return worth

    def cost_improvement(
        self, candidates: Points, costs: Floats, tried_costs: Floats, floor: float
    ) -> Floats:
        """(m,) expected improvement of a cost under a floor on the score.

        The improvement over the cheapest tried placement whose mean is above the floor is known
        exactly; it is multiplied by the probability that the candidate's true score is above the
        floor (constrained expected improvement, Gardner et al. 2014). As long as no tried placement
        is above it, that probability alone counts.

        Args:
            candidates: (m, units).
            costs: (m,) of the candidates.
            tried_costs: (n,) of `points`.
            floor: of the score.
        """
        mean, sd = self.predict(candidates)
        chance: Floats = norm.cdf((mean - floor) / sd)
        above = self.predict(self.points)[0] >= floor
        if not above.any():
            return chance
        return chance * np.maximum(tried_costs[above].min() - costs, 0.0)

    def hypervolume_improvement(
        self, candidates: Points, costs: Floats, tried_costs: Floats
    ) -> Floats:
        """(m,) expected hypervolume improvement, for costs that are known exactly.

        The costs of the tried placements divide the cost space into cells. In each cell, the front
        is the best predicted mean of the tried placements that cost no more. A candidate that costs
        no more gains the volume of the cell times its expected improvement over the front. The
        factor is that of `augmented_improvement`.

        Args:
            candidates: (m, units).
            costs: (m, k) of the candidates.
            tried_costs: (n, k) of `points`.
        """
        everything = np.concatenate([costs, tried_costs])
        spread = np.maximum(everything.max(axis=0) - everything.min(axis=0), 1e-12)
        tried, new = tried_costs / spread, costs / spread
        edges = [_edges(np.concatenate([a, b])) for a, b in zip(tried.T, new.T, strict=True)]
        widths = [np.append(np.diff(e), 0.1) for e in edges]  # the last cell has no upper end
        corners = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, len(edges))
        volumes = np.prod(
            np.stack(np.meshgrid(*widths, indexing="ij"), axis=-1).reshape(-1, len(edges)), axis=1
        )
        tried_mean, tried_sd = self.predict(self.points)
        floor = float(tried_mean.min() - tried_sd.max())
        in_cell = (tried[None, :, :] <= corners[:, None, :] + 1e-12).all(axis=2)
        front = np.where(in_cell, tried_mean[None, :], floor).max(axis=1, initial=floor)
        mean, sd = self.predict(candidates)
        worth = np.zeros(len(candidates))
        for corner, volume, level in zip(corners, volumes, front, strict=True):
            reaches = (new <= corner + 1e-12).all(axis=1)
            z = (mean[reaches] - level) / sd[reaches]
            gain = (mean[reaches] - level) * norm.cdf(z) + sd[reaches] * norm.pdf(z)
            worth[reaches] += volume * gain
        result: Floats = worth * (1 - self.noise / np.hypot(sd, self.noise))
        return result


def _solved(
    equal: Floats, y: Floats, extra: Floats, shape: tuple[float, float, float]
) -> tuple[Floats, Floats, float]:
    """(Cholesky factor of the covariance, weights, variance of the highest likelihood)."""
    joint, length, share = shape
    covariance = (1 - share) * _prior(equal, joint, length)
    covariance[np.diag_indices_from(covariance)] += share * extra + _JITTER
    factor: Floats = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    weights: Floats = cho_solve((factor, True), y)
    return factor, weights, max(float(y @ weights) / len(y), 1e-12)


def _edges(values: Floats) -> Floats:
    """Borders of the cells along one cost, ascending."""
    edges = np.unique(values)
    return edges if len(edges) <= _CELLS else np.quantile(edges, np.linspace(0, 1, _CELLS))


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # slow: it inspects all loaded libraries


def one_blas_thread() -> AbstractContextManager[Any]:
    """Use one BLAS thread: it is faster for a few hundred rows, and leaves the cores to trials."""
    limit: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limit


def kept_trials(scores: Floats) -> NDArray[np.int64]:
    """Indices of the trials to fit to, ascending; all of them up to `MOST_TRIALS`."""
    count = len(scores)
    if count <= MOST_TRIALS:
        return np.arange(count)
    recent = np.arange(count - MOST_TRIALS // 2, count)
    earlier = np.argsort(-scores[: recent[0]], kind="stable")[: MOST_TRIALS // 2]
    return np.sort(np.concatenate([earlier, recent]))


def _agreement(a: Points, b: Points) -> Floats:
    """(len(a), len(b)): share of units with the same choice."""
    choices = np.arange(1 + max(a.max(initial=0), b.max(initial=0)))
    ones_a, ones_b = (
        (points[:, :, None] == choices).reshape(len(points), -1).astype(np.float64)
        for points in (a, b)
    )
    share: Floats = (ones_a @ ones_b.T) / a.shape[1]
    return share


def _prior(agreement: Floats, joint: float, length: float) -> Floats:
    covariance = (1 - joint) * agreement
    if joint:
        covariance = covariance + joint * np.exp((agreement - 1) / length)
    return covariance


def without_outliers(scores: Floats) -> Floats:
    """Scores, larger is better; lower ones are raised to the median minus three robust sd."""
    median = np.median(scores)
    spread = 1.4826 * np.median(np.abs(scores - median)) or scores.std()
    return np.maximum(scores, median - 3 * spread)
