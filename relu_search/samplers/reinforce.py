"""REINFORCE: a policy gradient over the choices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relu_search.samplers.choice_sampler import ChoiceSampler
from relu_search.samplers.choice_space import ChoiceSpace, Point
from relu_search.samplers.study_arrays import StudyArrays


class ReinforceSampler(ChoiceSampler):
    """REINFORCE (Williams 1992): a policy gradient over the choices, one softmax per unit.

    For each proposal, the policy is trained from the start by one pass over all trials in order.
    The reward is the rank of a trial among all trials, from -1 to 1; the baseline is its running
    mean. An entropy term delays convergence.

    Args:
        seed, startup, space: as in `ChoiceSampler`.
        learning_rate: of the logits.
        entropy: weight of the entropy's gradient.
    """

    _MEMORY = 0.9  # of the running mean

    def __init__(
        self,
        *,
        seed: int | None = None,
        startup: int = 5,
        space: ChoiceSpace | None = None,
        learning_rate: float = 0.4,
        entropy: float = 0.02,
    ) -> None:
        super().__init__(seed=seed, startup=startup, space=space)
        self._learning_rate = learning_rate
        self._entropy = entropy

    def _propose(self, arrays: StudyArrays, space: ChoiceSpace) -> Point:
        policy = self._policy(arrays, space.sizes)
        return tuple(int(self._rng.choice(len(row), p=row)) for row in policy)

    def _policy(self, arrays: StudyArrays, sizes: Point) -> list[NDArray[np.float64]]:
        units = np.arange(len(sizes))
        exists = np.arange(max(sizes))[None, :] < np.array(sizes)[:, None]
        logits = np.where(exists, 0.0, -np.inf)
        ranks = np.argsort(np.argsort(arrays.scores, kind="stable"), kind="stable")
        rewards = 2 * ranks / max(1, len(ranks) - 1) - 1
        baseline = 0.0
        for point, reward in zip(arrays.points, rewards, strict=True):
            p = _softmax(logits)
            step = -(reward - baseline) * p
            step[units, point] += reward - baseline
            log_p = np.log(np.where(p > 0, p, 1.0))
            step -= self._entropy * p * (log_p - (p * log_p).sum(axis=1, keepdims=True))
            logits = np.where(exists, logits + self._learning_rate * step, -np.inf)
            baseline = self._MEMORY * baseline + (1 - self._MEMORY) * reward
        return [row[:size] for row, size in zip(_softmax(logits), sizes, strict=True)]


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return result
