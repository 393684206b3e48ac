"""The result of a search in sentences: the best ratio, what 2:1 costs, the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from relu_search.analysis.estimates import estimate_words, estimates, full_length
from relu_search.analysis.leaderboard import best_trial, caveat, leaderboard_note, leaderboard_table
from relu_search.analysis.pareto import pareto_placements
from relu_search.analysis.rank_agreement import grace_warning, rank_correlation, supernet_agreement
from relu_search.run_folder.folder import RunFolder
from relu_search.settings.metrics import Metric, cost_text, counted_costs
from relu_search.settings.resolved_config import ResolvedConfig

if TYPE_CHECKING:
    from rich.table import Table

_COMPARED = ("2:1", "paired")
_FRONT_SHOWN = 8


def answer_lines(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    config: ResolvedConfig,
    supernet: pd.DataFrame | None = None,
) -> Iterator[str]:
    """One sentence per result; none while no trial has trained to the end.

    Args:
        trials, epochs: `trials.csv` and `epochs.csv`.
        config: of the search.
        supernet: `supernet.csv`, where there is one.
    """
    metric = config.optimised
    whole = full_length(trials, metric)
    best = best_trial(trials, config)
    if best is None:
        return
    yield _best(best, whole, metric)
    if config.costs:
        yield _front(whole, config)
    if supernet is not None:
        yield supernet_agreement(whole, supernet, metric)
    correlation = rank_correlation(trials, epochs, metric, resamples=1)
    warning = grace_warning(correlation, config.grace_epochs)
    if warning.startswith("WARNING"):
        yield warning


def _best(best: dict[str, Any], whole: pd.DataFrame, metric: Metric) -> str:
    table = estimates(whole, metric)
    known = table["estimate"]
    name = best["module"] or best["placement"]
    own = float(known[best["placement"]])
    line = f"The best ratio found is {best['ratio']} ({name}) at {metric.text(own)}"
    for module in _COMPARED:
        placements = whole.loc[whole["module"] == module, "placement"]
        if placements.empty or placements.iloc[0] == best["placement"]:
            continue
        gap = metric.sign * (own - float(known[placements.iloc[0]]))
        word = "costs" if gap >= 0 else "gains"
        unit = " points" if metric.unit == "%" else ""
        line += f"; {module} {word} {abs(gap) * metric.factor:.3g}{unit}"
    return f"{line} ({estimate_words(table)}; only relu-search confirm decides)."


def _front(whole: pd.DataFrame, config: ResolvedConfig) -> str:
    rows = pareto_placements(whole, config)
    metric = config.optimised
    costs = counted_costs(config.costs)
    shown = []
    for row in rows[:_FRONT_SHOWN]:
        name = row["module"] or row["placement"]
        words = " and ".join(cost_text(cost, row[cost]) for cost in costs)
        shown.append(f"{words} ({name})" if words else name)
        shown[-1] += f" {metric.text(row['estimate'])}"
    more = f"; and {len(rows) - _FRONT_SHOWN} more" if len(rows) > _FRONT_SHOWN else ""
    return f"Pareto front of {config.objective}: {'; '.join(shown)}{more}."


def report_text(run: RunFolder) -> tuple[Table, str]:
    """The leaderboard, and the answer with the caveat as lines, from the files of a run folder.

    Raises:
        InputError: the folder is damaged or has no finished trial yet.
    """
    config, record = run.read_config()
    trials = run.read_some_trials(config.network)
    answer = answer_lines(trials, run.read_epochs(), config, run.read_supernet())
    images = int(record["data"]["validation_images"])
    return (
        leaderboard_table(trials, config.optimised),
        "\n".join([leaderboard_note(trials), *answer, caveat(trials, config, images)]),
    )
