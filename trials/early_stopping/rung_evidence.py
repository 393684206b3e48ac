"""Does a rung predict the end? A search answers this from its own finished trials.

ASHA compares trials at a rung as if an early value told how the training ends. Here a rung must
show it first: until then no trial is stopped there.

Each placement counts once, however many seeds it has. Otherwise a search that trains its best
placements again and again would compare a new one with the lucky seeds of these.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trials.early_stopping.rule import EarlyStopping, signal_value

FEWEST_FINISHED = 12
"""Fewest placements with a full-length trial from which a rung is judged."""
TRUSTED_CORRELATION = 0.75
"""A rung is trusted if the lower bound of its rank correlation with the end is above this."""
CONFIDENCE = 0.95
"""One-sided confidence of the lower bound of the line's slope."""
BEST_SHARE = 0.05
"""A search is for the placements of this share."""
MOST_LOST = 0.03
"""The placements that may be stopped at a rung are the least likely ones to be among the best. Of
all that are expected among the best, at most this share is expected among them."""


def each_placement_once(
    signals: Mapping[int, float],
    finals: Mapping[int, float],
    placements: Mapping[int, Hashable],
) -> tuple[dict[int, float], dict[int, float]]:
    """One signal and one final metric for each placement, under the number of its first trial.

    Args:
        signals: number of a trial -> its signal at a rung, of all trials that have reached it.
        finals: the same for the final metric of full-length trials.
        placements: number of a trial -> what it trains.

    Returns:
        The signal of the first trial of each placement, and the mean of the final metrics of its
        full-length trials; placements without one are left out of the latter.
    """
    first: dict[Hashable, int] = {}
    for number in sorted(signals):
        first.setdefault(placements[number], number)
    ends: dict[int, list[float]] = {}
    for number in sorted(finals.keys() & signals.keys()):
        ends.setdefault(first[placements[number]], []).append(finals[number])
    means = {number: math.fsum(values) / len(values) for number, values in ends.items()}
    return {number: signals[number] for number in first.values()}, means


@dataclass(frozen=True, kw_only=True)
class RungEvidence:
    """A line that predicts the final metric of a placement from the signal of its first trial.

    Signals and final metrics are replaced by the normal scores of their ranks: so outliers, such as
    a module that trains far worse than all others, have no weight, and the scale is the same for
    losses and accuracies. The line is not biased by the trials that were stopped, since they were
    selected by the signal. The correlation is corrected for this selection (Pearson 1903;
    Thorndike's case 2): it is that of all placements that have reached the rung.

    Attributes:
        finished: number of placements with a full-length trial.
        correlation: of signal and final metric, 0 to 1.
        at_least: the correlation if the slope of the line were at its lower confidence bound. It is
            below the true one in nine of ten searches.
    """

    finished: int
    correlation: float
    at_least: float
    _signals: Mapping[int, float]
    _finals: Mapping[int, float]
    _slope: float
    _mean: tuple[float, float]
    _variances: tuple[float, float]

    @classmethod
    def of(cls, signals: Mapping[int, float], finals: Mapping[int, float]) -> RungEvidence | None:
        """The evidence of a rung; None with fewer than `FEWEST_FINISHED` finished placements.

        Args:
            signals: of all placements that have reached the rung; see `each_placement_once`.
            finals: final metrics; smaller is better.
        """
        from scipy.special import stdtrit

        finals = {number: final for number, final in finals.items() if number in signals}
        n = len(finals)
        if n < FEWEST_FINISHED:
            return None
        all_x = _normal_scores(list(signals.values()))
        scored = dict(zip(signals, all_x.tolist(), strict=True))
        x = np.array([scored[number] for number in finals])
        y = _normal_scores(list(finals.values()))
        spread = float(((x - x.mean()) ** 2).sum())
        if spread == 0 or not y.any():
            return None
        slope = float((x - x.mean()) @ y / spread)
        rest = y - y.mean() - slope * (x - x.mean())
        variance = max(float(rest @ rest) / (n - 2), 1e-12)
        error = math.sqrt(variance / spread)
        lowest = slope - float(stdtrit(n - 2, CONFIDENCE)) * error

        def correlation(slope: float) -> float:
            explained = max(0.0, slope) * float(all_x.std())
            return explained / math.hypot(explained, math.sqrt(variance))

        return cls(
            finished=n,
            correlation=correlation(slope),
            at_least=correlation(lowest),
            _signals=scored,
            _finals=dict(zip(finals, y.tolist(), strict=True)),
            _slope=slope,
            _mean=(float(x.mean()), float(y.mean())),
            _variances=(variance, spread),
        )

    @property
    def trusted(self) -> bool:
        """Whether trials may be stopped at this rung."""
        return self.at_least > TRUSTED_CORRELATION

    def __contains__(self, number: object) -> bool:
        """Whether the chance of a trial is known: it is the first of its placement at the rung."""
        return number in self._signals

    def chances(
        self, numbers: Sequence[int], peers: Iterable[int], place: int
    ) -> NDArray[np.float64]:
        """The predicted probabilities that placements end before the one at a place of their peers.

        Args:
            numbers: of their first trials at the rung.
            peers: the same of the placements to compare with; those that are not finished do not
                count. Without any, the probabilities are 1.
            place: 1 is the best of the peers; more than there are means the worst.

        Returns:
            Of shape (numbers,).
        """
        from scipy.special import stdtr

        ends = sorted(self._finals[peer] for peer in peers if peer in self._finals)
        if not ends:
            return np.ones(len(numbers))
        limit = ends[min(place, len(ends)) - 1]
        (mean_x, mean_y), (variance, spread) = self._mean, self._variances
        away = np.array([self._signals[number] for number in numbers]) - mean_x
        predicted = mean_y + self._slope * away
        error = np.sqrt(variance * (1 + 1 / self.finished + away**2 / spread))
        found: NDArray[np.float64] = stdtr(self.finished - 2, (limit - predicted) / error)
        return found


class SearchEvidence:
    """What a search has seen of its trials; says whether one of them may be stopped.

    Each placement at a trusted rung has a chance to be in the best twentieth. Those with the lowest
    chances may be stopped, as many as together have at most `MOST_LOST` of the sum of all chances.
    So the limit is the share of the best placements that may be lost, whether they are few or many.
    A further seed of a placement measures it and is not stopped. With several objectives a
    placement is compared only with those that cost no more: among them it is judged by its metric.

    Args:
        stopping: the rule.
    """

    def __init__(self, stopping: EarlyStopping) -> None:
        self._stopping = stopping
        self._histories: dict[int, dict[int, Mapping[str, float]]] = {}
        self._costs: dict[int, tuple[float, ...]] = {}
        self._placements: dict[int, Hashable] = {}
        self._signals: dict[int, dict[int, float]] = {rung: {} for rung in stopping.rungs}
        self._finals: dict[int, float] = {}

    def add(
        self,
        number: int,
        placement: Hashable,
        result: Mapping[str, Any],
        costs: tuple[float, ...] = (),
    ) -> float:
        """Note the metrics of an epoch of a trial; returns its signal, smaller is better.

        A trial that was started again repeats its epochs.

        Args:
            number: of the trial.
            placement: what it trains.
            result: `epoch` and its metrics.
            costs: further objectives, smaller is better.
        """
        epoch, history = int(result["epoch"]), self._histories.setdefault(number, {})
        history[epoch] = {name: v for name, v in result.items() if name in _SIGNAL_METRICS}
        signal = signal_value(self._stopping.signal, [history[e] for e in range(1, epoch + 1)])
        self._placements[number], self._costs[number] = placement, costs
        if epoch in self._signals:
            self._signals[epoch].setdefault(number, signal)
        if epoch >= self._stopping.max_epochs:
            value = float(result[self._stopping.metric])
            self._finals[number] = -value if self._stopping.mode == "max" else value
        return signal

    def is_new_at_rung(self, number: int, epoch: int) -> bool:
        """Whether an epoch is a rung at which no signal of this trial is noted yet."""
        return epoch in self._signals and number not in self._signals[epoch]

    def at(self, rung: int) -> RungEvidence | None:
        """The evidence of a rung; None if there is too little."""
        once = each_placement_once(self._signals[rung], self._finals, self._placements)
        return RungEvidence.of(*once)

    def may_stop(self, number: int, rung: int) -> bool:
        """Whether a trial may be stopped at a rung."""
        evidence = self.at(rung)
        if evidence is None or not evidence.trusted or number not in evidence:
            return False
        peers = [
            other
            for other in self._signals[rung]
            if other in evidence and self._costs_no_more(other, number)
        ]
        chances = evidence.chances(peers, peers, math.ceil(BEST_SHARE * len(peers)))
        no_better = chances <= chances[peers.index(number)]
        return bool(chances[no_better].sum() <= MOST_LOST * chances.sum())

    def _costs_no_more(self, other: int, number: int) -> bool:
        pairs = zip(self._costs[other], self._costs[number], strict=True)
        return all(theirs <= mine for theirs, mine in pairs)


_SIGNAL_METRICS = ("train_loss", "val_loss", "val_accuracy")


def _normal_scores(values: Sequence[float]) -> NDArray[np.float64]:
    """Blom's normal scores of the ranks of some values, ties averaged: (n,)."""
    from scipy.special import ndtri

    _, group, count = np.unique(np.array(values), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[group]
    scores: NDArray[np.float64] = ndtri((ranks - 0.375) / (len(ranks) + 0.25))
    return scores
