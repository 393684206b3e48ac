"""The tables of `gates.md`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.search.gates.front import Ranking, front
from benchmarks.search.gates.searches import Course
from benchmarks.search.gates.truth import Truth
from benchmarks.search.gates.ways import FREE, GATES
from search_spaces import Placement, module_name_of, reference_modules

AFTER = (10, 25, 50, 100)
"""Trials after which the leaders of searches are judged."""
_FIRST = (1, 2, 3, 5, 10)
_RANDOM_LISTS = 1000
_TITLES = {**FREE, **{gates.name: gates.title for gates in GATES}}
_COSTS = {gates.name: gates.cost for gates in GATES}


def agreement_rows(truth: Truth, found: Mapping[str, Sequence[Ranking]]) -> list[str]:
    """How well the orders of the sites agree with their effects in the table."""
    lines = [
        f"The main effects explain {100 * truth.additive_share:.0f} % of the variance of log(test "
        "loss).",
        "",
        "| order by | trainings | each costs | tau, main effects | tau, effects at the best "
        "placement | better with as many ReLUs |",
        "|---|---|---|---|---|---|",
    ]
    for way, rows in found.items():
        taus = np.array([truth.agreement(row.importance) for row in rows])
        cells = [_spread(column, "{:.2f}") for column in taus.T]
        shares = [100 * truth.better_of_equal_count(row.front) for row in rows]
        cells.append(_spread(shares, "{:.0f}") + " %")
        cost = _cost(_COSTS[way])
        lines.append(f"| {_TITLES[way]} | {len(rows)} | {cost} | {' | '.join(cells)} |")
    return lines


def effect_rows(truth: Truth, found: Mapping[str, Sequence[Ranking]]) -> list[str]:
    """Each gate: its sites, its effects, and when and at which penalty it closed."""
    penalised = [gates for gates in GATES if gates.penalty.first]
    free = [gates for gates in GATES if not gates.penalty.first]
    heads = [f"closed after, costs {_cost(gates.cost)} (penalty)" for gates in penalised]
    heads += [f"gate without penalty, costs {_cost(gates.cost)}" for gates in free]
    lines = [
        "What keeping the ReLUs of a gate adds to -log(test loss), and what the gate did:",
        "",
        f"| sites | main effect | effect at the best | {' | '.join(heads)} |",
        "|---|---|---|" + "---|" * len(heads),
    ]
    for gate, group in enumerate(truth.groups):
        cells = [f"{truth.main_effects[gate]:+.3f}", f"{truth.effects_at_the_best[gate]:+.3f}"]
        for gates in penalised:
            rows = found[gates.name]
            share = float(np.median([row.closed_at[gate] / len(row.path) for row in rows]))
            nats = float(np.median([row.penalty_at_closing[gate] for row in rows]))
            cells.append("never" if math.isinf(nats) else f"{100 * share:.0f} % ({nats:.3f})")
        for gates in free:
            ends = [row.path[-1, gate] for row in found[gates.name]]
            cells.append(f"{np.median(ends):.2f}")
        sites = ", ".join(str(site + 1) for site in group)
        lines.append(f"| {sites} | {' | '.join(cells)} |")
    return lines


def first_rows(truth: Truth, advice: Mapping[str, Sequence[Sequence[Placement]]]) -> list[str]:
    """How good the best of the first placements of a list is: nats behind the best, and rank."""
    counts = [count for count in _FIRST if count <= len(truth.groups)]
    if counts[-1] < len(truth.groups):
        counts.append(len(truth.groups))
    places = int(np.isfinite(truth.losses).sum())
    lines = [
        f"The best of the first placements of a list, behind the best of all {places}, in nats:",
        "",
        f"| list | {' | '.join(f'first {count}' for count in counts)} |",
        "|---|" + "---|" * len(counts),
    ]
    lists: dict[str, Sequence[Sequence[Placement]]] = {
        FREE["random"]: [truth.random_front(seed) for seed in range(_RANDOM_LISTS)],
        FREE["ascending"]: [truth.ascending(seed) for seed in range(_RANDOM_LISTS)],
    }
    lists["the true main effects"] = [front(np.argsort(-truth.main_effects), truth.groups)]
    lists |= {_TITLES[gates.name]: advice[gates.name] for gates in GATES}
    for title, several in lists.items():
        judged = [truth.best_of_first(one) for one in several]
        cells = []
        for count in counts:
            nats = np.median([regrets[count - 1] for regrets, _ in judged])
            rank = np.median([ranks[count - 1] for _, ranks in judged])
            cells.append(f"{nats:.4f} (rank {rank:g})")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    backbone = truth.table.spec.space.backbone
    modules = [p for p in reference_modules(backbone).values() if p.kept]
    judged_modules = [
        f"{module_name_of(backbone, module)} {regret[0]:.4f} (rank {rank[0]})"
        for module in modules
        for regret, rank in [truth.best_of_first([module])]
    ]
    return [*lines, "", f"The hand-designed modules: {', '.join(judged_modules)}."]


def search_rows(
    sampler: str, references: bool, courses: Mapping[str, tuple[list[Course], list[Course]]]
) -> list[str]:
    """The leaders of searches: median regrets, and quartiles of trials to the best 5 %.

    Args:
        courses: for each way, the searches without and those with early stopping.
    """
    full = next(iter(courses.values()))[0]
    trials = len(full[0].regrets)
    after = [count for count in AFTER if count <= trials]
    begins = "after the hand-designed modules" if references else "without hand-designed modules"
    lines = [
        f"Searches by `{sampler}`, {begins}, {len(full)} replays each:",
        "",
        f"| tried first | {' | '.join(f'after {count}' for count in after)} | trials to best 5 % |",
        "|---|" + "---|" * (len(after) + 1),
    ]
    for way, both in courses.items():
        for cost in (0, _COSTS[way]) if way in _COSTS else (0,):
            counted = f", {_cost(cost)} counted" if cost else ""
            cells = [_pair(both, _regret_after(count - cost)) for count in after]
            cells.append(" / ".join(_until(some, cost, trials) for some in both))
            lines.append(f"| {_TITLES[way]}{counted} | {' | '.join(cells)} |")
    return lines


def _pair(both: Sequence[list[Course]], number: Callable[[Course], float]) -> str:
    return " / ".join(f"{np.median([number(course) for course in some]):.4f}" for some in both)


def _regret_after(count: int) -> Callable[[Course], float]:
    return lambda course: course.regrets[count - 1]


def _until(courses: Sequence[Course], cost: int, trials: int) -> str:
    counts = [course.top5 + cost for course in courses]
    quantiles = np.quantile(counts, (0.25, 0.5, 0.75), method="nearest")
    low, middle, high = (f"> {trials}" if x > trials else f"{x:.0f}" for x in quantiles)
    return f"{middle} [{low}, {high}]"


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (form.format(q) for q in np.quantile(values, (0, 0.5, 1)))
    return f"{middle} [{low}, {high}]"


def _cost(trainings: int) -> str:
    return f"{trainings} training{'s' if trainings > 1 else ''}"
