"""The result of a search in sentences: the best ratio, what 2:1 costs, the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from relu_search.analysis.early_stops import early_evidence, early_stopping_text
from relu_search.analysis.estimates import (
    Gap,
    estimate_words,
    estimates,
    full_length,
    gap_between,
    has_model,
)
from relu_search.analysis.leaderboard import (
    above_floor,
    admitted,
    best_trial,
    caveat,
    is_control,
    leaderboard_note,
    leaderboard_table,
)
from relu_search.analysis.pareto import pareto_placements
from relu_search.analysis.rank_agreement import supernet_agreement
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.record import sentences
from relu_search.settings.metrics import (
    COLUMN_OF,
    Metric,
    cost_columns,
    cost_text,
    counted_costs,
)
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Placement
from search_spaces.drawing import drawing

if TYPE_CHECKING:
    from rich.table import Table

_FRONT_SHOWN = 8


def answer_lines(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    config: ResolvedConfig,
    supernet: pd.DataFrame | None = None,
    record: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """One sentence per result; none while no trial has trained to the end.

    Args:
        trials, epochs: `trials.csv` and `epochs.csv`.
        config: of the search.
        supernet: `supernet.csv`, where there is one.
        record: of the run; what it says about how the search went is added.
    """
    metric = config.optimised
    whole = full_length(trials, metric)
    best = best_trial(trials, config)
    if config.at_least_accuracy is not None and not whole.empty:
        yield floor_line(trials, config)
    if best is None:
        return
    if config.at_least_accuracy is None:
        yield _best(best, whole, config)
    if config.costs:
        yield _front(whole, config)
    if supernet is not None:
        yield supernet_agreement(whole, supernet, metric)
    stops = early_stopping_text(trials, early_evidence(trials, epochs, config), config)
    if stops:
        yield stops
    yield from sentences(record or {})


def floor_line(trials: pd.DataFrame, config: ResolvedConfig) -> str:
    """How many placements are above the floor on accuracy, and which of them costs least."""
    metric = config.optimised
    whole = admitted(full_length(trials, metric), config)
    table = estimates(trials, metric)
    known = table["estimate"]
    above = above_floor(trials, config)
    floor = config.at_least_accuracy
    assert floor is not None
    many = f"{len(above)} of {whole['placement'].nunique()} placements"
    line = f"{many} {'has' if len(above) == 1 else 'have'} at least {metric.text(floor)} validation"
    if not above:
        highest = max((known[p] for p in whole["placement"]), default=None)
        reached = "" if highest is None else f"; the highest has {metric.text(highest)}"
        return f"{line} accuracy{reached}."
    first, (cost,) = above[0], counted_costs(config.costs)
    name = first["module"] or first["placement"]
    return (
        f"{line} accuracy ({estimate_words(table)}). The cheapest of them is {name} with "
        f"{cost_text(cost, first[COLUMN_OF[cost]])}, at "
        f"{metric.text(known[first['placement']])}; only relu-search confirm decides."
    )


def _best(best: dict[str, Any], whole: pd.DataFrame, config: ResolvedConfig) -> str:
    metric = config.optimised
    table = estimates(whole, metric)
    name = best["module"] or best["placement"]
    own = float(table["estimate"][best["placement"]])
    parts = [f"The best placement found is {name} (ratio {best['ratio']}), at {metric.text(own)}"]
    for module, placement in _compared(whole, table, config, best["placement"]):
        parts.append(
            _gap_words(module, gap_between(whole, metric, best["placement"], placement), metric)
        )
    return f"{'. '.join(parts)}. This makes a short list; only relu-search confirm decides."


def _compared(
    whole: pd.DataFrame, known: pd.DataFrame, config: ResolvedConfig, best: str
) -> Iterator[tuple[str, str]]:
    """The best other hand-designed module, and paired: their names and placements.

    The all-linear control is not compared, and neither is the placement `best` with itself.

    Args:
        known: the estimates of the full-length trials.
    """
    values = config.optimised.sign * known["estimate"]
    names = config.references.keys()
    rows = whole.drop_duplicates("placement")[["placement", "module"]].to_numpy()
    modules = {one: name for one, name in rows if name in names and not is_control(name)}
    others = [one for one, name in modules.items() if name != "paired"]
    chosen = [*sorted(others, key=lambda one: -values[one])[:1], *(modules.keys() - others)]
    yield from ((modules[one], one) for one in chosen if one != best)


def _gap_words(module: str, gap: Gap, metric: Metric) -> str:
    """How far a module is behind: `2:1 is 1.2 points behind (95 % between 0.3 and 2.1)`."""
    unit = " points" if metric.unit == "%" else ""

    def number(value: float) -> str:
        return f"{value * metric.factor:.{metric.decimals}f}"

    size = f"{number(abs(gap.behind))}{unit} {'behind' if gap.behind >= 0 else 'ahead'}"
    if gap.low is None or gap.high is None:
        n = " and ".join(map(str, gap.seeds))
        return f"{module} is {size}; {n} runs are too few for an interval"
    interval = f"95 % between {number(gap.low)} and {number(gap.high)}"
    if not gap.low <= gap.measured <= gap.high:
        interval += f"; measured: {number(gap.measured)}"
    if gap.is_told_apart:
        return f"{module} is {size} ({interval})"
    return f"{module} cannot be told apart from it ({size}; {interval})"


def best_drawing(trials: pd.DataFrame, config: ResolvedConfig) -> tuple[str, str] | None:
    """The name of the best placement and its `drawing`; None while there is no best one."""
    best = best_trial(trials, config)
    if best is None:
        return None
    name = best["module"] or best["placement"]
    return (
        f"{name} (ratio {best['ratio']})",
        drawing(config.network, Placement.parse(best["placement"])),
    )


def answer_numbers(trials: pd.DataFrame, config: ResolvedConfig) -> dict[str, Any]:
    """The result as numbers, in the unit of the metric; intervals are 95 %.

    Returns:
        `metric`; `has_model`; `estimates`, one row per placement with a full-length trial: its
        seeds, mean, estimate and interval (None without the model); `best`, such a row with its
        ratio, or None; `floor`, None, or the least accuracy and the rows above it, the cheapest
        first; `differences`, how far paired and the best other hand-designed module are
        behind the best; `front`, the Pareto front
        of estimate and ReLUs, or of the search's objectives.
    """
    metric = config.optimised
    whole = full_length(trials, metric)
    known = estimates(whole, metric)
    facts = whole.drop_duplicates("placement").set_index("placement")
    rows = {
        placement: {
            "placement": placement,
            "module": facts["module"][placement] or None,
            "ratio": facts["ratio"][placement],
            "relus": int(facts["relus"][placement]),
            "seeds": int(row["n"]),
            "mean": float(row[metric.name]),
            "estimate": float(row["estimate"]),
            "low": None if math.isnan(row["sd"]) else float(row["estimate"] - 1.96 * row["sd"]),
            "high": None if math.isnan(row["sd"]) else float(row["estimate"] + 1.96 * row["sd"]),
        }
        for placement, row in ((str(text), row) for text, row in known.iterrows())
    }
    best = best_trial(trials, config)
    leader: str | None = None if best is None else best["placement"]
    differences = []
    if leader is not None:
        for module, placement in _compared(whole, known, config, leader):
            gap = gap_between(whole, metric, leader, placement)
            told = {"told_apart": gap.is_told_apart, "seeds": list(gap.seeds)}
            differences.append({"module": module, "placement": placement, **asdict(gap), **told})
    return {
        "metric": metric.name,
        "has_model": has_model(known),
        "best": None if leader is None else rows[leader],
        "floor": None
        if config.at_least_accuracy is None
        else {
            "at_least": config.at_least_accuracy,
            "above": [rows[row["placement"]] for row in above_floor(trials, config)],
        },
        "differences": differences,
        "front": [
            {
                **{column: row[column] for column in cost_columns(config.costs)},
                **rows[row["placement"]],
            }
            for row in pareto_placements(whole, config)
        ],
        "estimates": sorted(rows.values(), key=lambda row: -metric.sign * row["estimate"]),
    }


def _front(whole: pd.DataFrame, config: ResolvedConfig) -> str:
    rows = pareto_placements(whole, config)
    metric = config.optimised
    costs = counted_costs(config.costs)
    shown = []
    for row in rows[:_FRONT_SHOWN]:
        name = row["module"] or row["placement"]
        words = " and ".join(cost_text(cost, row[COLUMN_OF[cost]]) for cost in costs)
        shown.append(f"{words} ({name})" if words else name)
        shown[-1] += f" {metric.text(row['estimate'])}"
    more = f"; and {len(rows) - _FRONT_SHOWN} more" if len(rows) > _FRONT_SHOWN else ""
    how = ""
    if "latency" in costs:
        how = (
            f" Latency: {config.latency_form}, batch {config.latency_batch}, one thread, median; "
            "trials.csv has its quartiles."
        )
    return f"Pareto front of {config.objective}: {'; '.join(shown)}{more}.{how}"


def report_text(run: RunFolder) -> tuple[Table, str]:
    """The leaderboard, and the answer with the caveat as lines, from the files of a run folder.

    Raises:
        InputError: the folder is damaged or has no finished trial yet.
    """
    config, record = run.read_config()
    trials = run.read_some_trials(config.network)
    answer = answer_lines(trials, run.read_epochs(), config, run.read_supernet(), record)
    images = int(record["data"]["validation_images"])
    return (
        leaderboard_table(trials, config.optimised, config.start_text if config.weights else None),
        "\n".join([leaderboard_note(trials), *answer, caveat(trials, config, images)]),
    )
