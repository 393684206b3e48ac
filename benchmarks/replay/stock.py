"""Ray's own `OptunaSearch`, behind the protocol that our scheduler and simulator speak."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.samplers import TPESampler
from ray.tune.search.optuna import OptunaSearch

from relu_search.settings.metrics import METRICS, MetricName
from search_spaces import Placement, SearchSpace
from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec


class StockProposer:
    """`OptunaSearch` with its default TPE, the same space, and the same first points.

    What it does with a trial that was stopped early is its own: it tells the study COMPLETE with
    the last value. It also may propose a placement again, which is then trained with the next
    seed, as ours are.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        references: Mapping[str, Placement],
        spec_of: Callable[[Placement, int], TrialSpec],
        metric: MetricName,
        trials: int,
        seed: int,
    ) -> None:
        first = [params for p in references.values() if (params := space.encode(p)) is not None]
        self._search = OptunaSearch(
            space=functools.partial(_suggest, space.choices),
            metric=metric,
            mode=METRICS[metric].mode,
            points_to_evaluate=first,
            sampler=TPESampler(seed=seed),
        )
        self._space, self._spec_of, self._metric, self._trials = space, spec_of, metric, trials
        self._first = len(first)
        self._proposed: list[Placement] = []
        self._last: dict[int, dict[str, Any]] = {}

    def propose(self) -> Proposal | None:
        number = len(self._proposed)
        if number >= self._trials:
            return None
        params = self._search.suggest(str(number))
        placement = self._space.decode(params)
        spec = self._spec_of(placement, self._proposed.count(placement))
        self._proposed.append(placement)
        return Proposal(number=number, spec=spec, protected=number < self._first)

    def observe(self, number: int, metrics: EpochMetrics) -> bool:
        result = {**metrics.to_json(), "training_iteration": metrics.epoch}
        self._last[number] = result
        self._search.on_trial_result(str(number), result)
        return False

    def conclude(self, number: int, failure: str | None) -> bool:
        result = self._last.pop(number, None)
        self._search.on_trial_complete(str(number), result, error=failure is not None)
        return True


def _suggest(choices: Mapping[str, tuple[str, ...]], trial: optuna.Trial) -> None:
    for name, labels in choices.items():
        trial.suggest_categorical(name, labels)
