"""Figures of a confirmation: the verdicts as a forest plot, and every single run.

`runs` is `confirm.csv`, one row per arm and seed. `verdicts` is `verdict.csv`, one row per arm and
reference. Accuracies and differences are in 0 to 1 there; figures show percent and points.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from relu_search.charts.series import BLUE, GREEN, VERMILLION, Style, label
from relu_search.confirmation.verdict_table import verdict_words
from relu_search.report.figure_style import BLACK, FAINT, GREY, empty_figure, new_figure, styled

VERDICTS = {
    "better": Style(BLUE, "^"),
    "worse": Style(VERMILLION, "v"),
    "equivalent": Style(GREEN, "s"),
    "inconclusive": Style(GREY, "o"),
}
_UNKNOWN = Style(BLACK, "x")


def rows_against(verdicts: pd.DataFrame, versus: str) -> list[dict[str, Any]]:
    """The rows of one reference as dicts; missing numbers are NaN."""
    rows = verdicts[verdicts["versus"] == versus]
    return [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]


def points(value: float) -> str:
    """A difference of accuracies as signed percentage points: 0.0123 is `+1.23`; NaN is `-`."""
    return "-" if pd.isna(value) else f"{100 * value:+.2f}".replace("-", "\N{MINUS SIGN}")


@styled
def verdict_forest(verdicts: pd.DataFrame, versus: str) -> Figure:
    """Difference of each arm from the reference `versus`: t interval, BCa interval and verdict."""
    rows = rows_against(verdicts, versus)
    if not rows:
        return empty_figure(f"No arm is compared with {label(versus)}.")
    figure = new_figure(1.3 + 0.48 * len(rows))
    axes = figure.add_subplot()
    margin = 100 * max(float(row["margin"]) for row in rows)
    axes.axvspan(-margin, margin, color="#ececec", zorder=0)
    axes.axvline(0, color=BLACK, linewidth=0.9)
    for y, row in enumerate(rows):
        style = VERDICTS.get(row["verdict"], _UNKNOWN)
        axes.plot(
            [100 * row["bca_low"], 100 * row["bca_high"]], [y + 0.22] * 2, color=GREY, linewidth=0.9
        )
        axes.plot(
            [100 * row["t_low"], 100 * row["t_high"]], [y] * 2, color=style.color, linewidth=2.2
        )
        axes.plot(
            100 * row["difference"],
            y,
            style.marker,
            color=style.color,
            markersize=8,
            markerfacecolor="white" if row["verdict"] == "inconclusive" else style.color,
        )
        interval = f"{points(row['difference'])} [{points(row['t_low'])}, {points(row['t_high'])}]"
        beside = axes.get_yaxis_transform()
        words = label(verdict_words(row), 52)
        axes.text(1.02, y - 0.2, words, transform=beside, va="center", fontsize=8, weight="bold")
        note = f"{interval}, n = {int(row['n'])}"
        axes.text(1.02, y + 0.2, note, transform=beside, va="center", fontsize=8)
    # An arm that the user gave as a placement has no other name.
    names = ([r["arm"], r["placement"]] if r["arm"] != r["placement"] else [r["arm"]] for r in rows)
    _name_rows(axes, ["\n".join(label(text, 20) for text in name) for name in names])
    axes.set_xlabel(f"test accuracy minus that of {label(versus)} (percentage points)")
    handles = [
        Line2D([], [], color=BLACK, linewidth=2.2, label="95 % t interval"),
        Line2D([], [], color=GREY, linewidth=0.9, label="95 % BCa interval"),
        Patch(facecolor="#ececec", label=f"equivalent within ±{margin:.2g} points"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


@styled
def confirmation_runs(runs: pd.DataFrame, verdicts: pd.DataFrame) -> Figure:
    """Test accuracy of every run, and beside it the validation accuracy, here and in the search."""
    if runs.empty:
        return empty_figure("No confirmation run is finished yet.")
    arms = list(dict.fromkeys(runs["arm"]))
    searched = verdicts.dropna(subset=["search_accuracy"]).groupby("arm")["search_accuracy"].first()
    figure = new_figure(1.3 + 0.42 * len(arms))
    test, validation = figure.subplots(1, 2, sharey=True)
    names = []
    for y, arm in enumerate(arms):
        mine = runs[runs["arm"] == arm]
        counted = mine["test_accuracy"].notna()
        failed = int((mine["state"] != "COMPLETE").sum())
        names.append(f"{label(arm)}\nn = {counted.sum()}" + f", {failed} diverged" * (failed > 0))
        for axes, column in ((test, "test_accuracy"), (validation, "val_accuracy")):
            _strip(axes, y, mine.dropna(subset=[column]), column)
        if arm in searched.index:
            before, after = 100 * float(searched[arm]), 100 * mine["val_accuracy"].mean()
            validation.plot(
                before, y, "D", color=VERMILLION, markerfacecolor="white", markersize=7, zorder=4
            )
            if pd.notna(after):
                arrow = {"arrowstyle": "->", "color": VERMILLION, "linewidth": 0.9}
                validation.annotate("", (after, y - 0.3), (before, y - 0.3), arrowprops=arrow)
    _name_rows(test, names)
    test.set_xlabel("test accuracy (%)")
    validation.set_xlabel("validation accuracy (%)")
    handles = [
        Line2D([], [], marker="o", color=BLUE, alpha=0.6, linestyle="", label="one seed"),
        Line2D([], [], marker="x", color=VERMILLION, linestyle="", label="diverged"),
        Line2D([], [], marker="|", color=BLACK, label="mean ± sd"),
        Line2D(
            [],
            [],
            marker="D",
            color=VERMILLION,
            markerfacecolor="white",
            linestyle="",
            label="in the search (arrow: change on fresh seeds)",
        ),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


def _strip(axes: Axes, y: int, runs: pd.DataFrame, column: str) -> None:
    values = 100 * runs[column]
    is_whole = runs["state"] == "COMPLETE"
    axes.plot(values[is_whole], [y] * is_whole.sum(), "o", color=BLUE, alpha=0.6, linewidth=0)
    axes.plot(values[~is_whole], [y] * (~is_whole).sum(), "x", color=VERMILLION)
    if len(values):
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        axes.errorbar(
            values.mean(), y + 0.22, xerr=spread, fmt="|", color=BLACK, capsize=2, linewidth=1.2
        )


def _name_rows(axes: Axes, names: list[str]) -> None:
    """Name the rows of the figure, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    for y in range(1, len(names)):
        axes.axhline(y - 0.5, color=FAINT, linewidth=0.4)
