"""Simulated confirmations that follow the tool's own advice: look, add seeds, look again.

`follow` applies the present rule. It takes levels, adjusted p, plans and far values from
`relu_search.confirmation`. `follow_old` applies the rule before it, which had no looks, Holm over
each table apart, and no correction for equivalence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtri, stdtr

from relu_search.confirmation.looks import Look, Looks, Verdict
from relu_search.confirmation.seeds_plan import more_seeds
from relu_search.confirmation.verdict_rule import LEVEL, adjusted
from relu_search.statistics.far_runs import far_runs
from relu_search.statistics.paired_tests import FEWEST_SEEDS

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def _two_modes(rng: np.random.Generator, shape: tuple[int, ...], *, steady: int = 0) -> Floats:
    """One run in four ends far below the others, but not in the first `steady` arms."""
    low = rng.random(shape) < 0.25
    shift = np.where(np.arange(shape[0])[:, None] < steady, 0, 1 - 4 * low)
    return (rng.normal(0, 0.3, shape) + shift) / np.hypot(np.sqrt(3), 0.3)


# Of mean 0; the standard deviation is 1, but for the arm without a second mode.
STEADY = "two-mode but in one arm"
NOISES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "two-mode": _two_modes,
    STEADY: partial(_two_modes, steady=1),
}


@dataclass(frozen=True)
class Case:
    """Arms with known true accuracies, in standard deviations of a single run of sd 1.

    Attributes:
        noise: key of `NOISES`.
        sds: (arms,) of each arm's runs; the first `modules` arms are hand-designed modules.
        modules: every other arm is compared with each of them, and they with each other.
        truth: (arms,) true accuracies.
        shared: sd of what all arms of a seed share.
        margin: of equivalence.
        cap: most seeds.
        first: seeds at the first look.
    """

    noise: str
    sds: tuple[float, ...]
    modules: int
    truth: tuple[float, ...]
    shared: float
    margin: float
    cap: int
    first: int = FEWEST_SEEDS

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The compared arms, by number."""
        arms = range(len(self.sds))
        return [(str(a), str(m)) for m in range(self.modules) for a in arms if a > m]

    def runs(self, rng: np.random.Generator) -> Floats:
        """Accuracies (arms, cap), far below the ceiling."""
        draw, shape = NOISES[self.noise], (len(self.sds), self.cap)
        own = np.array(self.sds)[:, None] * draw(rng, shape)
        common = self.shared * draw(rng, (1, self.cap))
        return np.array(self.truth)[:, None] + own + common - 50

    def is_false(self, pair: tuple[str, str], verdict: str) -> bool:
        """Whether this verdict about a pair is wrong."""
        gap = self.truth[int(pair[0])] - self.truth[int(pair[1])]
        return {
            "better": gap <= 0,
            "worse": gap >= 0,
            "equivalent": abs(gap) >= self.margin - 1e-12,
        }.get(verdict, False)


@dataclass(frozen=True)
class Path:
    """One confirmation from its first look to its last.

    Attributes:
        verdicts: pair -> every verdict that was given at some look.
        seeds: at the last look.
        looks: their number.
    """

    verdicts: dict[tuple[str, str], set[str]]
    seeds: int
    looks: int


def follow(case: Case, runs: Floats, *, advised: Callable[..., int] = min) -> Path:
    """Judge by the present rule; add the seeds that the tool asks for until all is decided.

    Args:
        case: what is compared.
        runs: accuracies (arms, cap).
        advised: which of the numbers of seeds that the comparisons ask for is added.
    """
    pairs, looks, n, number = case.pairs, Looks(), case.first, 0
    given: dict[tuple[str, str], set[str]] = {pair: set() for pair in pairs}
    while True:
        number += 1
        verdicts, plans = _look(case, runs[:, :n], pairs, looks)
        for pair in pairs:
            given[pair].add(verdicts[pair])
        if n >= case.cap or not plans:
            return Path(given, n, number)
        n = min(case.cap, n + advised(plans))


def _look(
    case: Case, runs: Floats, pairs: list[tuple[str, str]], looks: Looks
) -> tuple[dict[tuple[str, str], str], list[int]]:
    """The verdicts of one look, and how many more seeds the undecided comparisons ask for."""
    n = runs.shape[1]
    gaps = runs[[int(arm) for arm, _ in pairs]] - runs[[int(module) for _, module in pairs]]
    means, spreads = gaps.mean(1), gaps.std(1, ddof=1)
    p_t, p_tost = _p_values(means, spreads, n, case.margin)
    levels = {pair: looks.level(*pair, n) for pair in pairs}
    scores = {str(arm): dict(enumerate(values)) for arm, values in enumerate(runs)}
    far = far_runs(scores, pairs)
    if far:
        p_t = [far.p(gap) for gap in gaps]
    of_t, of_tost = adjusted(dict(zip(pairs, zip(p_t, p_tost, strict=True), strict=True)), levels)
    verdicts: dict[tuple[str, str], str] = {}
    plans: list[int] = []
    for pair, gap, mean, spread in zip(pairs, gaps, means.tolist(), spreads.tolist(), strict=True):
        verdict: Verdict = looks.standing(*pair, mean, case.margin)
        if of_t[pair] <= levels[pair] and flips_p(gap) <= LEVEL:
            verdict = "better" if mean > 0 else "worse"
        elif verdict == "inconclusive" and n >= far.least_seeds and of_tost[pair] <= levels[pair]:
            verdict = "equivalent"
        if verdict == "inconclusive":
            more = more_seeds(mean, spread, n, margin=case.margin, family=len(pairs), far=far)
            plans += [] if more is None else [more]
        looks.add(Look(*pair, n, verdict, case.margin))
        verdicts[pair] = verdict
    return verdicts, plans


def follow_old(case: Case, runs: Floats) -> Path:
    """Judge by the rule before this one, and follow its advice."""
    n, number, arms = case.first, 0, len(case.sds) - 1
    tables = [[pair for pair in case.pairs if pair[1] == str(m)] for m in range(case.modules)]
    given: dict[tuple[str, str], set[str]] = {pair: set() for pair in case.pairs}
    while True:
        number += 1
        plans = []
        for table in tables:
            gaps = runs[[int(a) for a, _ in table], :n] - runs[int(table[0][1]), :n]
            means, spreads = gaps.mean(1), gaps.std(1, ddof=1)
            p_t, p_tost = map(np.array, _p_values(means, spreads, n, case.margin))
            order = np.argsort(p_t)
            holm = np.empty(len(p_t))
            holm[order] = np.maximum.accumulate(p_t[order] * (arms - np.arange(len(order))))
            for i, pair in enumerate(table):
                if holm[i] <= LEVEL and flips_p(gaps[i]) <= LEVEL:
                    given[pair].add("better" if means[i] > 0 else "worse")
                elif p_tost[i] <= LEVEL:
                    given[pair].add("equivalent")
                else:
                    more = _old_plan(means[i], spreads[i], n, case.margin, arms)
                    plans += [] if more is None else [more]
        if n >= case.cap or not plans:
            return Path(given, n, number)
        n = min(case.cap, n + min(plans))


def _old_plan(difference: float, spread: float, n: int, margin: float, arms: int) -> int | None:
    found = np.searchsorted(-_old_effects(arms), -min(abs(difference) / spread, 2.0))
    plans = [7.0 + found] if found < len(_old_effects(arms)) else []
    room = margin - abs(difference)
    if room > 0:
        plans.append(((ndtri(0.95) + ndtri(0.9)) * spread / room) ** 2)
    needed = min(plans, default=np.inf)
    return max(1, int(np.ceil(needed)) - n) if needed <= 1000 else None


@cache
def _old_effects(arms: int) -> Floats:
    """The effect that 7, 8, ... 1,000 seeds show with a power of 0.8."""
    seeds = np.arange(7, 1001)
    critical = stats.t.isf(LEVEL / arms / 2, seeds - 1)
    spread = np.sqrt(1 + critical**2 / (2 * (seeds - 1)))
    shift = critical * (1 - 1 / (4 * (seeds - 1))) + ndtri(0.8) * spread
    return np.asarray(shift / np.sqrt(seeds), dtype=np.float64)


def _p_values(
    means: Floats, spreads: Floats, n: int, margin: float
) -> tuple[list[float], list[float]]:
    """p of the two-sided paired t test and of TOST, one for each pair."""
    errors = spreads / np.sqrt(n)
    of_t = 2 * stdtr(n - 1, -np.abs(means) / errors)
    return of_t.tolist(), stdtr(n - 1, (np.abs(means) - margin) / errors).tolist()


def flips_p(gaps: Floats) -> float:
    """Two-sided sign-flip p: all flips up to 14 values, then 4,000 draws, for speed."""
    n = len(gaps)
    signs = _all_signs(n) if n <= 14 else _some_signs(n)
    return float((np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-9).mean())


@cache
def _all_signs(n: int) -> Floats:
    return np.where(np.arange(2**n)[:, None] >> np.arange(n) & 1, 1.0, -1.0)


@cache
def _some_signs(n: int) -> Floats:
    return np.where(np.random.default_rng(n).random((4_000, n)) < 0.5, 1.0, -1.0)
