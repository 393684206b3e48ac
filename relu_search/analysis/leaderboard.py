"""The leaderboard: hand-designed modules, the all-linear control and found placements together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces.placement import DROP_NORM

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

FOUND_SHOWN = 10
"""Found placements shown; hand-designed modules and the control are always shown."""
LEADERBOARD_COLUMNS = (
    "#",
    "placement",
    "ratio",
    "ReLUs",
    "n",
    "val acc",
    "val loss",
    "shrunken",
    "epochs",
    "state",
)


def is_control(module: str) -> bool:
    """Whether a module name is that of the all-linear control, with its norms or without."""
    return module.removesuffix(DROP_NORM) == "linear"


def ranked(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Trials best first: full length before stopped early before failed.

    Those of full length go by the shrunken mean of their placement (`estimates`), the runs of one
    placement stay together, best run first. Others go by how far they came, then by the metric.
    """
    if trials.empty:
        return trials
    from relu_search.analysis.estimates import estimates

    order = {"COMPLETE": 0, "PRUNED": 1, "FAIL": 2}
    sign = 1 if metric == "val_loss" else -1
    whole = trials[(trials["state"] == "COMPLETE") & trials[metric].notna()]
    estimated = trials["placement"].map(estimates(whole, metric)["estimate"])
    keys = trials.assign(
        _state=trials["state"].map(order).fillna(3),
        _epochs=-trials["epochs"],
        _estimate=(sign * estimated).where(trials["state"] == "COMPLETE"),
        _metric=sign * trials[metric],
    )
    by = ["_state", "_epochs", "_estimate", "_metric", "val_loss", "trial"]
    return trials.loc[keys.sort_values(by, kind="stable").index]


def best_trial(trials: pd.DataFrame, config: ResolvedConfig) -> dict[str, Any] | None:
    """The best run of the best placement within the search's ReLU limits, or None.

    Only trials of full length count. So the all-linear control never counts as best unless
    `min_relus` 0 asks for it.
    """
    whole = trials[(trials["state"] == "COMPLETE") & trials[config.metric].notna()]
    candidates = admitted(ranked(whole, config.metric), config)
    return None if candidates.empty else rows_of(candidates.head(1))[0]


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


def leaderboard_table(trials: pd.DataFrame, metric: str) -> Table:
    """A rich table of the best found placements and all hand-designed modules."""
    from rich.table import Table

    table = Table(header_style="bold", box=None, pad_edge=False)
    for name in LEADERBOARD_COLUMNS:
        is_text = name in ("placement", "state")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "placement")
    for is_module, cells in leaderboard_rows(trials, metric):
        table.add_row(*cells, style="cyan" if is_module else None)
    return table


def leaderboard_rows(trials: pd.DataFrame, metric: str) -> Iterator[tuple[bool, list[str]]]:
    """For each row shown: is it a hand-designed module, and its `LEADERBOARD_COLUMNS` as text.

    A placement that was trained to the end with several seeds is one row of means.
    """
    from relu_search.analysis.estimates import estimates

    whole = trials[(trials["state"] == "COMPLETE") & trials[metric].notna()]
    known = estimates(whole, metric)
    order = ranked(trials, metric)
    repeated = order.duplicated("placement") & (order["state"] == "COMPLETE")
    found = 0
    for rank, row in enumerate(rows_of(order[~repeated]), start=1):
        if not row["module"]:
            found += 1
            if found > FOUND_SHOWN:
                continue
        seeds, shrunken = 1, "-"
        if row["state"] == "COMPLETE" and row["placement"] in known.index:
            of_it = known.loc[row["placement"]]
            seeds, shrunken = int(of_it["n"]), _estimate(of_it, metric)
            row |= {"val_accuracy": of_it["val_accuracy"], "val_loss": of_it["val_loss"]}
        yield bool(row["module"]), _cells(rank, row, seeds, shrunken)


def _estimate(known: pd.Series[Any], metric: str) -> str:
    factor, form = (1, "{:.3f}") if metric == "val_loss" else (100, "{:.1f}")
    value, sd = (form.format(known[name] * factor) for name in ("estimate", "sd"))
    unit = "" if metric == "val_loss" else " %"
    return f"{value}{unit}" if math.isnan(known["sd"]) else f"{value} ± {sd}{unit}"


def _cells(rank: int, row: dict[str, Any], seeds: int, shrunken: str) -> list[str]:
    name = row["module"] or row["placement"]
    if is_control(row["module"]):
        name = f"{row['module']} (control)"
    state = {"COMPLETE": "full length", "PRUNED": "stopped early"}.get(
        row["state"], f"failed: {row['reason']}"
    )
    return [
        str(rank),
        name,
        row["ratio"],
        str(row["relus"]),
        str(seeds),
        _number(row["val_accuracy"], 100, "{:.1f} %"),
        _number(row["val_loss"], 1, "{:.3f}"),
        shrunken,
        str(row["epochs"]),
        state,
    ]


def _number(value: float | None, factor: float, form: str) -> str:
    return "-" if value is None else form.format(value * factor)


def caveat(trials: pd.DataFrame, config: ResolvedConfig, validation_images: int) -> str:
    """One line on what the figures can and cannot say."""
    metric = config.metric
    best = best_trial(trials, config)
    accuracy = best["val_accuracy"] if best else 0.5
    noise = 100 * math.sqrt(accuracy * (1 - accuracy) / validation_images)
    line = (
        f"Noise: {validation_images:,} validation images alone give ±{noise:.1f} points (1 sd); "
        f"seeds add more. Shrunken: mean ± 1 sd of a model of all runs, which the order goes by. "
        f"{config.epochs} epochs measure early trainability, not final accuracy."
    )
    control = trials[trials["module"].map(is_control) & (trials["state"] == "COMPLETE")]
    control = control.dropna(subset=[metric])
    if best is not None and not control.empty:
        linear = rows_of(control)[0]
        sign = -1 if metric == "val_loss" else 1
        if sign * linear[metric] > sign * best[metric]:
            line += " The all-linear control leads: this training is too short to tell ReLUs apart."
    return line
