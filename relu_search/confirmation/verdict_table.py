"""Verdicts of a confirmation: the rows of `verdict.csv`, and what the command prints of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from relu_search.analysis.leaderboard import NOT_FROM_SCRATCH, rows_of
from relu_search.confirmation.arms import PAIRED, Arm
from relu_search.confirmation.looks import Looks
from relu_search.confirmation.verdict_rule import Pair, are_at_ceiling, judge
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table
from relu_search.settings.metrics import COLUMN_OF, cost_text, counted_costs
from relu_search.settings.resolved_config import FROM_SCRATCH
from relu_search.statistics.paired_tests import FEWEST_SEEDS
from search_spaces import Placement

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def verdict_rows(
    runs: pd.DataFrame,
    arms: Sequence[Arm],
    *,
    margin: float,
    dropped_after: Mapping[str, int],
    looks: Looks | None = None,
    start: str = FROM_SCRATCH,
) -> list[dict[str, Any]]:
    """Every arm against paired, then against the best hand-designed module; no pair twice.

    The best hand-designed module is the one with the highest mean test accuracy. It is chosen by
    the same scores that it is compared on. So every pair of an arm and a hand-designed module
    counts as a comparison of the family, whether it is shown or not.

    Args:
        runs: `confirm.csv`.
        arms: in the order of the table.
        margin: of equivalence, in 0 to 1.
        dropped_after: arm -> number of seeds after which the race dropped it. An arm whose other
            trainings had already begun may have all seeds; then the table does not say it.
        looks: the earlier looks; this one is added. None: this is the first.
        start: how all trainings started, in words.
    """
    rows = [row for row in rows_of(runs) if row["test_accuracy"] is not None]
    scores: dict[str, dict[int, float]] = {arm.name: {} for arm in arms}
    validation: dict[str, list[float]] = {arm.name: [] for arm in arms}
    diverged = dict.fromkeys(scores, 0)
    for row in rows:
        if row["arm"] in scores:
            scores[row["arm"]][row["seed"]] = row["test_accuracy"]
            diverged[row["arm"]] += row["state"] == "DIVERGED"
            if row["val_accuracy"] is not None:
                validation[row["arm"]].append(row["val_accuracy"])
    designed = [arm for arm in arms if arm.origin == "module" and scores[arm.name]]
    best = max(
        (arm.name for arm in designed),
        key=lambda name: fmean(scores[name].values()),
        default=PAIRED,
    )
    # The references come first, so that each is held against the one before and not the reverse.
    designed.sort(key=lambda arm: (arm.name != PAIRED, arm.name != best))
    judgements = judge(
        {arm.placement.text: scores[arm.name] for arm in arms},
        _family(arms, designed),
        looks=looks,
        margin=margin,
    )
    table: list[dict[str, Any]] = []
    for reference, arm in product(designed[:2] if best != PAIRED else designed[:1], arms):
        judged = judgements.get((arm.placement.text, reference.placement.text))
        if judged is None:
            continue
        lacks_seeds = len(scores[arm.name]) < len(scores[reference.name])
        g = judged.comparison.hedges_g
        confirmed = fmean(validation[arm.name]) if validation[arm.name] else None
        found = arm.search_accuracy
        shrunk = None if found is None or confirmed is None else found - confirmed
        table.append(
            {
                "arm": arm.name,
                "versus": reference.name,
                "placement": arm.placement.text,
                "ratio": arm.ratio,
                "relus": arm.placement.kept,
                **asdict(judged.comparison),
                "hedges_g": g if math.isfinite(g) else None,  # infinite when no score varies
                "p_t_holm": judged.p_t_holm,
                "p_tost_holm": judged.p_tost_holm,
                "margin": margin,
                "look": judged.look,
                "level": judged.level,
                "least_seeds": judged.least_seeds,
                "verdict": judged.verdict,
                "more_seeds": judged.more_seeds,
                "diverged": diverged[arm.name],
                "dropped_after": dropped_after.get(arm.name) if lacks_seeds else None,
                "search_accuracy": found,
                "confirmed_val_accuracy": confirmed,
                "shrinkage": shrunk,
                "start": start,
            }
        )
    return table


def _family(arms: Sequence[Arm], designed: Sequence[Arm]) -> list[Pair]:
    """Every pair of an arm and a hand-designed module, each once.

    Of two modules, the one that comes later in `designed` is held against the earlier one.
    """
    names = [module.name for module in designed]
    return [
        (arm.placement.text, module.placement.text)
        for place, module in enumerate(designed)
        for arm in arms
        if arm.name not in names[: place + 1]
    ]


def stored_verdicts(run: RunFolder) -> tuple[list[dict[str, Any]], bool]:
    """Rows of `verdict.csv`, and whether an earlier version judged the run.

    The runs of an earlier version are judged again by the present rule. Nothing is written.

    Raises:
        InputError: a table is damaged.
    """
    if not run.table("verdict.csv").is_file():
        return [], False
    rows = rows_of(read_table(run.table("verdict.csv")))
    looks, is_old = Looks.read(run)
    if not is_old:
        return rows, False
    runs = read_table(run.table("confirm.csv"))
    searched = {row["arm"]: row["search_accuracy"] for row in rows}
    arms = [
        Arm(
            name=row["arm"],
            origin=row["origin"],
            placement=Placement.parse(row["placement"]),
            ratio=row["ratio"],
            search_trial=row["search_trial"],
            search_accuracy=searched.get(row["arm"]),
        )
        for row in rows_of(runs.drop_duplicates("arm"))
    ]
    dropped = {row["arm"]: int(row["dropped_after"]) for row in rows if row["dropped_after"]}
    return verdict_rows(
        runs, arms, margin=rows[0]["margin"], dropped_after=dropped, looks=looks
    ), True


def answer_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a confirmation says, in a few sentences.

    The best found placement against each reference; without a found one, the best hand-designed
    module against paired. Then how the other comparisons ended; a single one has its sentence.

    Args:
        rows: of `verdict.csv`; missing numbers may be None or NaN.
    """
    found = [row for row in rows if row["arm"].startswith("trial ")]
    if not rows:
        return []
    best = max(found or rows, key=lambda row: row["mean"])["arm"]
    sentences = [sentence_of(row) for row in rows if row["arm"] == best]
    others = [row for row in rows if row["arm"] != best]
    counts = {
        word: sum(row["verdict"] == word for row in others)
        for word in ("better", "worse", "equivalent", "inconclusive")
    }
    if len(others) == 1:
        sentences.append(sentence_of(others[0]))
    elif others:
        told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        sentences.append(f"The other {len(others)} comparisons: {told}.")
    if rows[0]["start"] != FROM_SCRATCH:
        sentences.append(f"Every training is {rows[0]['start']}. {NOT_FROM_SCRATCH}")
    return sentences


def floor_answer(run: RunFolder) -> list[str]:
    """How many confirmed arms are above the floor of the search, and which of them costs least.

    An arm is above it if its mean test accuracy is. The cost is that in `trials.csv`, so arms that
    the search did not train are counted and never the cheapest. Empty without a floor.

    Raises:
        InputError: a table is damaged.
    """
    config = run.read_config()[0]
    floor = config.at_least_accuracy
    if floor is None:
        return []
    scores: dict[str, list[float]] = {}
    arms = {}
    for row in rows_of(read_table(run.table("confirm.csv"))):
        if row["test_accuracy"] is not None:
            scores.setdefault(row["placement"], []).append(row["test_accuracy"])
            arms[row["placement"]] = row["arm"]
    above = [placement for placement, values in scores.items() if fmean(values) >= floor]
    line = f"{len(above)} of {len(scores)} placements have a mean test accuracy of at least"
    (cost,) = counted_costs(config.costs)
    trials = run.read_trials().drop_duplicates("placement").set_index("placement")
    costs = trials[COLUMN_OF[cost]]
    known = [placement for placement in above if placement in costs.index]
    if not known:
        return [f"{line} {floor:.1%}."]
    cheapest = min(known, key=lambda placement: float(costs[placement]))
    values = scores[cheapest]
    spread = ""
    if len(values) > 1:
        low, high = _interval(values)
        spread = f", 95 % between {low:.1%} and {high:.1%}"
    return [
        f"{line} {floor:.1%}. The cheapest of them is {arms[cheapest]} ({cheapest}) with "
        f"{cost_text(cost, costs[cheapest])}: {fmean(values):.1%}{spread} (n = {len(values)})."
    ]


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % t interval of a mean."""
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, 0.975) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def sentence_of(row: Mapping[str, Any]) -> str:
    """One comparison in a sentence: the verdict, the difference with its interval, what is next."""
    arm, versus = row["arm"], row["versus"]
    start = {
        "better": f"{arm} is better than {versus}",
        "worse": f"{arm} is worse than {versus}",
        "equivalent": f"{arm} and {versus} are equivalent within ±{100 * row['margin']:g} points",
    }.get(row["verdict"])
    if start is None:
        includes_zero = row["t_low"] <= 0 <= row["t_high"]
        start = (
            f"{arm} and {versus} cannot be told apart yet"
            if includes_zero
            else f"{arm} against {versus} is not decided yet"
        )
    interval = (
        f"{_signed(row['difference'])} points, 95 % between {_signed(row['t_low'])} and "
        f"{_signed(row['t_high'])} (n = {row['n']:.0f})"
    )
    return f"{start}: {interval}{_next_step(row)}."


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _next_step(row: Mapping[str, Any]) -> str:
    """What would settle an open comparison; empty for a decided one."""
    if row["verdict"] != "inconclusive":
        return ""
    if are_at_ceiling(row["mean"], row["reference_mean"], row["margin"]):
        return "; both are at the ceiling, and only harder data can settle it"
    more = _count(row["more_seeds"])
    if not more:
        return "; more than 1,000 seeds would be needed to settle it"
    return f"; about {more} more seed{'s would' if more > 1 else ' would'} settle it"


def _count(value: float | None) -> int:
    """A count of a row; 0 for a missing one."""
    return int(value) if value is not None and not math.isnan(value) else 0


def verdict_table(rows: Sequence[Mapping[str, Any]], versus: str) -> Table:
    """All arms against one reference, to print; differences in percentage points."""
    from rich.table import Table

    chosen = [row for row in rows if row["versus"] == versus]
    table = Table(
        title=", ".join([f"against {versus}", *{row["start"] for row in chosen} - {FROM_SCRATCH}]),
        title_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for name in ("arm", "ratio", "n", "test acc", "difference", "95 % interval", "verdict"):
        is_text = name in ("arm", "verdict")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for row in chosen:
        table.add_row(
            row["arm"],
            row["ratio"],
            str(row["n"]),
            f"{100 * row['mean']:.2f} ± {100 * row['std']:.2f}",
            f"{100 * row['difference']:+.2f}",
            f"{100 * row['t_low']:+.2f} to {100 * row['t_high']:+.2f}",
            verdict_words(row),
        )
    return table


LEGEND = (
    "n: seeds in common. test acc: mean ± sd over the seeds, in %. difference: mean difference, "
    "seed by seed, in percentage points. verdict.csv has every p value and effect size."
)


def verdict_words(row: Mapping[str, Any]) -> str:
    """The verdict of a row of `verdict.csv`, with diverged runs, a race, and seeds still needed.

    Args:
        row: missing numbers may be None or NaN.
    """
    words: str = row["verdict"]
    if words == "inconclusive":
        if are_at_ceiling(row["mean"], row["reference_mean"], row["margin"]):
            words += ", both at the ceiling"
        else:
            more = _count(row["more_seeds"])
            needed = (
                f"about {more} more seed{'s'[: more != 1]}" if more else "more than 1,000 seeds"
            )
            words += f", {needed} needed"
    if words == "equivalent":
        words += f" within ±{100 * row['margin']:g} points"
    if diverged := _count(row["diverged"]):
        words += f"; {diverged} diverged"
    if dropped := _count(row["dropped_after"]):
        words += f"; stopped by racing after {dropped} seeds"
    return words


def far_runs_line(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a large difference may be inconclusive, where runs lie far from the others."""
    least = max((_count(row["least_seeds"]) for row in rows), default=0)
    if least <= FEWEST_SEEDS or all(row["verdict"] != "inconclusive" for row in rows):
        return None
    return (
        "Some runs lie far from the others of their arm. Few seeds can miss such runs, so a "
        "difference must exceed what they would change; the more seeds, the less that is."
    )


def shrinkage_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The validation accuracy of each found placement, in the search and on fresh seeds."""
    lines = {}
    for row in rows:
        if row["arm"].startswith("trial ") and row["shrinkage"] is not None:
            lines[row["arm"]] = (
                f"{row['arm']} ({row['placement']}): validation accuracy "
                f"{row['search_accuracy']:.1%} in the search, "
                f"{100 * abs(row['shrinkage']):.1f} points "
                f"{'lower' if row['shrinkage'] >= 0 else 'higher'} on fresh seeds "
                f"({row['confirmed_val_accuracy']:.1%})"
            )
    return list(lines.values())
