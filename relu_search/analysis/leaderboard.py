"""The leaderboard: hand-designed modules, the all-linear control and found placements together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from relu_search.settings.metrics import METRICS, Metric, cost_columns
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces.placement import DROP_NORM
from trials.running.time_budget import OUT_OF_TIME

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

NOT_FROM_SCRATCH = (
    "Such trainings rank placements in another way than trainings from scratch; do not mix them."
)
STATE_WORDS = {"COMPLETE": "full length", "PRUNED": "stopped early", "FAIL": "failed"}
"""State of a trial in `trials.csv` -> what every text calls it."""
FOUND_SHOWN = 10
"""Found placements shown; hand-designed modules and the control are always shown."""
COLUMNS = (
    "#",
    "placement",
    "ratio",
    "ReLUs",
    "seeds",
    "val acc",
    "val loss",
    "estimate",
    "epochs",
    "failure",
)
"""Of the leaderboard. Without a model, `estimate` is `mean`. `failure` is left out if no trial
failed."""


def is_control(module: str) -> bool:
    """Whether a module name is that of the all-linear control, with or without its norms."""
    return module.removesuffix(DROP_NORM) == "linear"


def ranked(trials: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Trials, best first: full length, then stopped early, then failed.

    Full-length trials are ranked by the estimate of their placement (`estimates`). The runs of one
    placement stay together, best run first. Other trials are ranked by their number of epochs, then
    by the metric.
    """
    if trials.empty:
        return trials
    from relu_search.analysis.estimates import estimates

    order = {"COMPLETE": 0, "PRUNED": 1, "FAIL": 2}
    estimated = trials["placement"].map(estimates(trials, metric)["estimate"])
    keys = trials.assign(
        _state=trials["state"].map(order).fillna(3),
        _epochs=-trials["epochs"],
        _estimate=(-metric.sign * estimated).where(trials["state"] == "COMPLETE"),
        _metric=-metric.sign * trials[metric.name],
    )
    by = ["_state", "_epochs", "_estimate", "_metric", "val_loss", "trial"]
    return trials.loc[keys.sort_values(by, kind="stable").index]


def best_trial(trials: pd.DataFrame, config: ResolvedConfig) -> dict[str, Any] | None:
    """The best run of the placement with the best estimate within the ReLU limits, or None.

    Only full-length trials count. The all-linear control counts only if `min_relus` is 0. With a
    floor on accuracy it is the cheapest placement above the floor.
    """
    from relu_search.analysis.estimates import full_length

    metric = config.optimised
    if config.at_least_accuracy is not None:
        above = above_floor(trials, config)
        return above[0] if above else None
    candidates = admitted(ranked(full_length(trials, metric), metric), config)
    return None if candidates.empty else rows_of(candidates.head(1))[0]


def above_floor(trials: pd.DataFrame, config: ResolvedConfig) -> list[dict[str, Any]]:
    """The best run of each placement above the floor on accuracy, the cheapest placement first.

    A placement is above it if its estimate is, as in the column `estimate`. Of equally cheap ones
    the one with the best estimate comes first.
    """
    from relu_search.analysis.estimates import estimates, full_length

    metric, (column,) = config.optimised, cost_columns(config.costs)
    whole = admitted(ranked(full_length(trials, metric), metric), config)
    known = estimates(trials, metric)["estimate"]
    rows = rows_of(whole.drop_duplicates("placement"))
    above = [row for row in rows if known[row["placement"]] >= config.at_least_accuracy]
    return sorted(above, key=lambda row: row[column])


def admitted(trials: pd.DataFrame, config: ResolvedConfig) -> pd.DataFrame:
    """Trials whose number of ReLUs is within the search's limits."""
    highest = math.inf if config.max_relus is None else config.max_relus
    return trials[trials["relus"].between(config.min_relus, highest)]


def rows_of(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain Python values; missing numbers are None (JSON has no NaN)."""
    rows: list[dict[str, Any]] = []
    for record in trials.to_dict("records"):
        plain = {str(k): v.item() if hasattr(v, "item") else v for k, v in record.items()}
        rows.append(
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in plain.items()}
        )
    return rows


def leaderboard_table(trials: pd.DataFrame, metric: Metric, title: str | None = None) -> Table:
    """A rich table of the best found placements and all hand-designed modules."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    columns, rows = leaderboard(trials, metric)
    for name in columns:
        is_text = name in ("placement", "failure")
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(name, justify=justify, no_wrap=not is_text, overflow="fold")
    for is_module, cells in rows:
        table.add_row(*cells, style="cyan" if is_module else None)
    return table


def leaderboard(
    trials: pd.DataFrame,
    metric: Metric,
    *,
    most: int = FOUND_SHOWN,
    is_wanted: Callable[[dict[str, Any]], bool] = lambda _row: True,
) -> tuple[tuple[str, ...], list[tuple[bool, list[str]]]]:
    """The columns; and for each row whether it is a hand-designed module, and its cells.

    A placement is one row. Its metrics are means over its full-length seeds. Without such a seed
    they are those of the seed that trained longest.

    Args:
        trials: `trials.csv`.
        metric: to rank by.
        most: found placements that are shown; hand-designed modules always are.
        is_wanted: takes the first row of a placement; whether it is shown. Its rank stays.
    """
    from relu_search.analysis.estimates import estimate_text, estimates, has_model

    known = estimates(trials, metric)
    names = tuple("mean" if n == "estimate" and not has_model(known) else n for n in COLUMNS)
    order = ranked(trials, metric)
    seeds = order.groupby("placement")
    rows: list[tuple[bool, list[str]]] = []
    found = 0
    for rank, first in enumerate(rows_of(order.drop_duplicates("placement")), start=1):
        if not is_wanted(first):
            continue
        found += not first["module"]
        if not first["module"] and found > most:
            continue
        placement = first["placement"]
        means = known.loc[known.index == placement, ["val_accuracy", "val_loss"]]
        row = first | next(iter(rows_of(means)), {})
        own = rows_of(seeds.get_group(placement))
        cells = _cells(rank, row, own, estimate_text(known, placement, metric))
        rows.append((bool(row["module"]), cells))
    if any(cells[-1] for _, cells in rows):
        return names, rows
    return names[:-1], [(is_module, cells[:-1]) for is_module, cells in rows]


def leaderboard_note(trials: pd.DataFrame) -> str:
    """What the column `seeds` counts, and how many placements the leaderboard leaves out."""
    line = "seeds: trained to full length"
    if (trials["state"] == "PRUNED").any():
        line += " + stopped early"
    if by_time := int((trials["reason"] == OUT_OF_TIME).sum()):
        line += f" ({by_time} of them by the time budget)"
    more = trials.loc[trials["module"] == "", "placement"].nunique() - FOUND_SHOWN
    if more > 0:
        line += f"; {more} more placement{' is' if more == 1 else 's are'} in trials.csv"
    return f"{line}."


def _cells(rank: int, row: dict[str, Any], seeds: list[dict[str, Any]], estimate: str) -> list[str]:
    name = row["module"] or row["placement"]
    if is_control(row["module"]):
        name = f"{row['module']} (control)"
    whole, stopped, failed = (
        [seed for seed in seeds if seed["state"] == state] for state in STATE_WORDS
    )
    count = f"{len(failed)} " if len(failed) > 1 else ""
    return [
        str(rank),
        name,
        row["ratio"],
        str(row["relus"]),
        f"{len(whole)}+{len(stopped)}" if stopped else str(len(whole)),
        *(_number(row[name], METRICS[name]) for name in ("val_accuracy", "val_loss")),
        estimate,
        str(row["epochs"]),
        f"{count}failed: {failed[0]['reason']}" if failed else "",
    ]


def _number(value: float | None, metric: Metric) -> str:
    return "-" if value is None else metric.text(value)


def caveat(trials: pd.DataFrame, config: ResolvedConfig, validation_images: int) -> str:
    """One line on how noisy the numbers are and what they do not show."""
    from relu_search.analysis.estimates import estimate_words, estimates

    metric = config.optimised
    known = estimates(trials, metric)
    best = best_trial(trials, config)
    accuracy = float(known["val_accuracy"][best["placement"]]) if best else 0.5
    line = (
        f"Noise: {_wilson(accuracy, validation_images)}; different seeds add more. Ranked by "
        f"{estimate_words(known)}. "
    )
    if config.weights is None:
        epochs = _epochs_text(config.training_recipe.epochs)
        line += f"{epochs} early trainability, not final accuracy."
    else:
        line += f"Every training is {config.start_text}. {NOT_FROM_SCRATCH}"
    controls = trials.loc[trials["module"].map(is_control), "placement"]
    if best is not None:
        value = metric.sign * known["estimate"]
        if (value[value.index.isin(controls)] > value[best["placement"]]).any():
            line += (
                " The all-linear control leads: this training is too short to tell placements "
                "apart."
            )
    return line


def _epochs_text(epochs: int) -> str:
    return "1 epoch measures" if epochs == 1 else f"{epochs} epochs measure"


def _wilson(accuracy: float, images: int) -> str:
    """What so many images say of an accuracy. Wilson's interval also holds at 0 and 100 %."""
    from scipy.stats import binomtest

    right = round(accuracy * images)
    low, high = binomtest(right, images).proportion_ci(0.95, method="wilson")
    return (
        f"{images:,} validation images alone leave {right / images:.1%} between {low:.1%} and "
        f"{high:.1%} (95 %)"
    )
