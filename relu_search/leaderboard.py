"""The leaderboard: hand-designed modules, the all-linear control and found placements together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from relu_search.config import SearchConfig
from relu_search.results import RunFolder
from search_spaces import InputError
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
    "val acc",
    "val loss",
    "epochs",
    "state",
)


def is_control(module: str) -> bool:
    """Whether a module name is that of the all-linear control, with its norms or without."""
    return module.removesuffix(DROP_NORM) == "linear"


def ranked(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Trials best first: full length before stopped early before failed, then by the metric.

    Trials stopped at different epochs are ordered by how far they came.
    """
    order = {"COMPLETE": 0, "PRUNED": 1, "FAIL": 2}
    keys = trials.assign(
        _state=trials["state"].map(order).fillna(3),
        _epochs=-trials["epochs"],
        _metric=trials[metric] if metric == "val_loss" else -trials[metric],
    )
    by = keys.sort_values(["_state", "_epochs", "_metric", "val_loss", "trial"], kind="stable")
    return trials.loc[by.index]


def best_trial(trials: pd.DataFrame, config: SearchConfig) -> dict[str, Any] | None:
    """The best trial of full length within the search's ReLU limits, or None.

    So the all-linear control never counts as best unless `min_relus` 0 asks for it.
    """
    whole = trials[(trials["state"] == "COMPLETE") & trials[config.metric].notna()]
    candidates = admitted(whole, config)
    if candidates.empty:
        return None
    return rows_of(ranked(candidates, config.metric).head(1))[0]


def admitted(trials: pd.DataFrame, config: SearchConfig) -> pd.DataFrame:
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
    """For each row shown: is it a hand-designed module, and its `LEADERBOARD_COLUMNS` as text."""
    found = 0
    for rank, row in enumerate(rows_of(ranked(trials, metric)), start=1):
        if not row["module"]:
            found += 1
            if found > FOUND_SHOWN:
                continue
        yield bool(row["module"]), _cells(rank, row)


def _cells(rank: int, row: dict[str, Any]) -> list[str]:
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
        _number(row["val_accuracy"], 100, "{:.1f} %"),
        _number(row["val_loss"], 1, "{:.3f}"),
        str(row["epochs"]),
        state,
    ]


def _number(value: float | None, factor: float, form: str) -> str:
    return "-" if value is None else form.format(value * factor)


def caveat(trials: pd.DataFrame, config: SearchConfig, validation_images: int) -> str:
    """One line on what the figures can and cannot say."""
    metric = config.metric
    best = best_trial(trials, config)
    accuracy = best["val_accuracy"] if best else 0.5
    noise = 100 * math.sqrt(accuracy * (1 - accuracy) / validation_images)
    line = (
        f"Noise: {validation_images:,} validation images alone give ±{noise:.1f} points (1 sd); "
        f"seeds add more. {config.epochs} epochs measure early trainability, not final accuracy."
    )
    control = trials[trials["module"].map(is_control) & (trials["state"] == "COMPLETE")]
    control = control.dropna(subset=[metric])
    if best is not None and not control.empty:
        linear = rows_of(control)[0]
        better = (
            linear[metric] > best[metric]
            if metric != "val_loss"
            else (linear[metric] < best[metric])
        )
        if better:
            line += " The all-linear control leads: this training is too short to tell ReLUs apart."
    return line


def report_text(run: RunFolder) -> tuple[Table, str]:
    """Table and caveat of a run folder, read from its files alone.

    Raises:
        InputError: the folder is damaged or has no finished trial yet.
    """
    config, record = run.read_config()
    trials = run.read_trials()
    if trials.empty:
        raise InputError(f"{run.path} has no finished trial yet; let the search run longer")
    return (
        leaderboard_table(trials, config.metric),
        caveat(trials, config, int(record["data"]["validation_images"])),
    )
