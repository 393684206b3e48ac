"""What a search found, in the user's words: the best ratio, what 2:1 costs, the front."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from relu_search.config import SearchConfig
from relu_search.estimates import estimates
from relu_search.figure_style import SCALES
from relu_search.insights import full_length, grace_warning, rank_correlation
from relu_search.leaderboard import admitted, best_trial, rows_of
from relu_search.warm_start import supernet_agreement
from trials.early_stopping import dominates

_COMPARED = ("2:1", "paired")
_FRONT_SHOWN = 8


def answer_lines(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    config: SearchConfig,
    supernet: pd.DataFrame | None = None,
) -> Iterator[str]:
    """One sentence per finding; none while no trial has trained to the end.

    Args:
        supernet: `supernet.csv`, where there is one.
    """
    whole = full_length(trials, config.metric)
    best = best_trial(trials, config)
    if best is None:
        return
    known = estimates(whole, config.metric)
    yield _best(best, known, config, whole)
    if config.costs:
        yield _front(whole, config)
    if supernet is not None:
        yield supernet_agreement(whole, supernet, config.metric)
    correlation = rank_correlation(trials, epochs, config.metric, resamples=1)
    warning = grace_warning(correlation, config.grace_epochs or 1)
    if warning.startswith("WARNING"):
        yield warning


def _best(
    best: dict[str, Any], known: pd.DataFrame, config: SearchConfig, whole: pd.DataFrame
) -> str:
    scale = SCALES[config.metric]
    name = best["module"] or best["placement"]
    own = float(known["estimate"][best["placement"]])
    line = f"The best ratio found is {best['ratio']} ({name}) at {scale.text(own)}"
    for module in _COMPARED:
        placements = whole.loc[whole["module"] == module, "placement"]
        if placements.empty or placements.iloc[0] == best["placement"]:
            continue
        other = float(known["estimate"][placements.iloc[0]])
        gap = (own - other) if scale.higher_is_better else (other - own)
        word = "costs" if gap >= 0 else "gains"
        unit = " points" if scale.higher_is_better else ""
        amount = f"{abs(gap) * scale.factor:.3g}{unit}"
        line += f"; {module} {word} {amount}"
    return f"{line} (shrunken means; only relu-search confirm decides)."


def pareto_placements(trials: pd.DataFrame, config: SearchConfig) -> list[dict[str, Any]]:
    """Rows on the front of shrunken metric and costs, cheapest first; one per placement.

    A row has the columns of `trials.csv` and `estimate`. `macs-after-fold` is no such column and
    is left out.
    """
    whole = admitted(full_length(trials, config.metric), config)
    if whole.empty:
        return []
    known = estimates(full_length(trials, config.metric), config.metric)
    whole = whole.drop_duplicates("placement").copy()
    whole["estimate"] = whole["placement"].map(known["estimate"])
    sign = -1 if SCALES[config.metric].higher_is_better else 1
    columns = [cost for cost in config.costs if cost in whole]
    points = [
        (sign * float(row["estimate"]), *(float(row[c]) for c in columns)) for row in rows_of(whole)
    ]
    on_front = [not any(dominates(other, point) for other in points) for point in points]
    front = whole[on_front].sort_values([*columns, "estimate"])
    return rows_of(front)


def _front(whole: pd.DataFrame, config: SearchConfig) -> str:
    rows = pareto_placements(whole, config)
    scale = SCALES[config.metric]
    shown = [
        f"{row['relus']} ReLU{'' if row['relus'] == 1 else 's'} ({row['ratio']}) "
        f"{scale.text(row['estimate'])}"
        for row in rows[:_FRONT_SHOWN]
    ]
    more = f"; and {len(rows) - _FRONT_SHOWN} more" if len(rows) > _FRONT_SHOWN else ""
    return f"Pareto front of {config.objective}: {'; '.join(shown)}{more}."
