"""Simple rules that a strategy has to beat: they have no model."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from itertools import count, cycle
from statistics import fmean

from search_spaces import InputError, Placement, SearchSpace, reference_modules
from search_spaces.space import ENUMERABLE
from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec

Losses = dict[Placement, list[float]]
"""Final validation losses of the trainings of full length."""
Rule = Callable[[SearchSpace, random.Random, Losses], Iterator[Placement]]


def fewest_relus_first(space: SearchSpace, rng: random.Random, _: Losses) -> Iterator[Placement]:
    """All placements by their number of ReLUs, equal numbers in random order, again and again."""
    while True:
        for kept in range(space.min_relus, space.max_relus + 1):
            yield from _of_count(space, kept, rng)


def single_relus(space: SearchSpace, rng: random.Random, _: Losses) -> Iterator[Placement]:
    """The placements with the fewest ReLUs above zero, again and again: nets of a single ReLU."""
    groups = (list(_of_count(space, kept, rng)) for kept in count(1))
    return cycle(next(group for group in groups if group))


def hand_designed(space: SearchSpace, _: random.Random, __: Losses) -> Iterator[Placement]:
    """The hand-designed modules that are allowed as a result, again and again."""
    return cycle(filter(space.admits, reference_modules(space.backbone).values()))


def random_with_repeats(
    space: SearchSpace, rng: random.Random, losses: Losses
) -> Iterator[Placement]:
    """In turn a random placement, and another seed of the one with the lowest mean loss."""
    while True:
        yield space.canonical(space.decode(space.sample(rng)))
        if losses:
            yield min(losses, key=lambda placement: fmean(losses[placement]))


RULES: dict[str, Rule] = {
    "fewest ReLUs first": fewest_relus_first,
    "single-ReLU nets": single_relus,
    "hand-designed": hand_designed,
    "random with repeats": random_with_repeats,
}


class RuleProposer:
    """The placements of a rule, behind the protocol of schedulers.

    As in a search, hand-designed modules and further seeds are not stopped early.

    Args:
        rule: of `RULES`.
        spec_of: takes a placement and how often it was proposed before; returns what to train.
        trials: budget.
        seed: of the rule.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        rule: str,
        spec_of: Callable[[Placement, int], TrialSpec],
        trials: int,
        seed: int,
    ) -> None:
        self._losses: Losses = {}
        self._placements = RULES[rule](space, random.Random(seed), self._losses)
        self._never_stopped: Collection[Placement] = (
            reference_modules(space.backbone).values() if rule == "hand-designed" else ()
        )
        self._spec_of, self._left = spec_of, trials
        self._proposed: list[Placement] = []
        self._last: dict[int, EpochMetrics] = {}

    def propose(self) -> Proposal | None:
        number = len(self._proposed)
        if number == self._left:
            return None
        placement = next(self._placements)
        repeat = self._proposed.count(placement)
        self._proposed.append(placement)
        return Proposal(
            number=number,
            spec=self._spec_of(placement, repeat),
            protected=repeat > 0 or placement in self._never_stopped,
        )

    def observe(self, number: int, metrics: EpochMetrics) -> bool:
        self._last[number] = metrics
        return False

    def conclude(self, number: int, failure: str | None) -> bool:
        last = self._last.pop(number, None)
        placement = self._proposed[number]
        if last is not None and last.epoch == self._spec_of(placement, 0).recipe.epochs:
            self._losses.setdefault(placement, []).append(last.val_loss)
        return True


def _of_count(space: SearchSpace, kept: int, rng: random.Random) -> Iterator[Placement]:
    """The placements with so many ReLUs, in random order."""
    try:
        equal = space.with_relus(kept, kept)
    except InputError:  # there is none
        return
    if equal.combinations <= ENUMERABLE:
        found = list(equal.enumerate())
        rng.shuffle(found)
        yield from found
        return
    seen: set[Placement] = set()
    while len(seen) < equal.size:
        placement = equal.canonical(equal.decode(equal.sample(rng)))
        if placement not in seen:
            seen.add(placement)
            yield placement
