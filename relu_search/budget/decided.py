"""May a placement that was not tried still beat the leader? If none may, the search can end.

docs/verdicts.md states the rule, benchmarks/stopping.md what it costs and saves.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from relu_search.analysis.estimates import FEWEST_TO_ESTIMATE, chances_to_beat, full_length
from relu_search.analysis.leaderboard import best_trial, ranked, rows_of
from relu_search.samplers.choice_space import LARGEST_POOL, ChoiceSpace
from relu_search.samplers.distinct import decoded
from relu_search.samplers.gp_model import one_blas_thread
from relu_search.settings.metrics import Metric
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Placement, SearchSpace

CHANCE = 0.01
"""A placement with less than this chance to beat the leader by the margin counts as beaten."""
LOSS_MARGIN, ACCURACY_MARGIN = 0.05, 0.003
"""The margin: a share of the leader's loss, or a difference of accuracies in 0 to 1."""
_BEST, _DRAWN = 8, 600
"""In a space that is too large to look at as a whole: best placements with their neighbours, and
random placements."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Why a search was decided.

    Attributes:
        trials: that had ended.
        candidates: placements that were not tried and that the model was asked about.
        is_whole: whether these are all placements of the space that were not tried.
        chance: the largest chance that one of them has; 0 if there are none.
        metric: of the search.
    """

    trials: int
    candidates: int
    is_whole: bool
    chance: float
    metric: Metric

    def sentence(self) -> str:
        """The decision for the summary of the search."""
        begin = f"The search was decided after {self.trials} trials"
        if not self.candidates:
            return f"{begin}: every placement was tried."
        margin = f"{100 * LOSS_MARGIN:g} % of its loss"
        if self.metric.mode == "max":
            margin = f"{100 * ACCURACY_MARGIN:g} points"
        of_what = "that were not tried"
        if not self.is_whole:
            of_what = "not tried that are near the best ones or drawn at random"
        return (
            f"{begin}: by its model, none of the {self.candidates:,} placements {of_what} has more "
            f"than a chance of {100 * CHANCE:g} % to beat the leader by {margin}."
        )


class Decider:
    """Asks the model whether a search is decided, once for each number of full-length trials.

    A decision stays: what the trials say that were running then changes nothing.

    Args:
        config: of the search.
        space: what it may propose.
        rows: the full-length trials so far, as in `trials.csv`; grows.

    Attributes:
        decision: None: the search is open.
    """

    def __init__(
        self, config: ResolvedConfig, space: SearchSpace, rows: Sequence[dict[str, Any]]
    ) -> None:
        self.decision: Decision | None = None
        self._config = config
        self._space = space
        self._rows = rows
        self._asked = -1
        self._all: list[Placement] | None = None
        if space.combinations <= LARGEST_POOL:
            self._all = list(space.enumerate())

    def __call__(self, tried: Collection[Placement], ended: int) -> bool:
        """Whether the search is decided.

        Args:
            tried: canonical placements that were proposed.
            ended: trials that have ended.
        """
        if self.decision is None and len(self._rows) != self._asked:
            self._asked = len(self._rows)
            self.decision = self._decide(tried, ended)
        return self.decision is not None

    def _decide(self, tried: Collection[Placement], ended: int) -> Decision | None:
        if len(self._rows) < FEWEST_TO_ESTIMATE:
            return None
        trials, metric = pd.DataFrame(self._rows), self._config.optimised
        leader = best_trial(trials, self._config)
        if leader is None or len(full_length(trials, metric)) < FEWEST_TO_ESTIMATE:
            return None
        known = set(tried)
        candidates = [p for p in self._candidates(trials) if p not in known]
        largest = 0.0
        if candidates:
            with one_blas_thread():
                chances = chances_to_beat(
                    trials,
                    metric,
                    leader["placement"],
                    candidates,
                    relative=LOSS_MARGIN,
                    points=ACCURACY_MARGIN,
                )
            largest = float(chances.max())
        if largest > CHANCE:
            return None
        return Decision(
            trials=ended,
            candidates=len(candidates),
            is_whole=self._all is not None,
            chance=largest,
            metric=metric,
        )

    def _candidates(self, trials: pd.DataFrame) -> list[Placement]:
        """Canonical placements within the limits, each once."""
        if self._all is not None:
            return self._all
        return list(dict.fromkeys(map(self._space.canonical, self._near_and_far(trials))))

    def _near_and_far(self, trials: pd.DataFrame) -> Iterator[Placement]:
        space, points = self._space, ChoiceSpace.of(self._space)
        best = ranked(trials, self._config.optimised).drop_duplicates("placement").head(_BEST)
        for row in rows_of(best):
            params = space.encode(Placement.parse(row["placement"]))
            if params is not None:
                yield from (decoded(space, p) for p in points.neighbours(points.point_of(params)))
        rng = random.Random(self._config.seed)
        yield from (space.decode(space.sample(rng)) for _ in range(_DRAWN))
