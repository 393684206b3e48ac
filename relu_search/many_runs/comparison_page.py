"""One HTML page that compares runs: its figures and tables. It runs no script."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from relu_search.charts.series import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, Style, label
from relu_search.many_runs.comparison import Comparison
from relu_search.report.figure_style import BLACK, GREY, new_figure, styled
from relu_search.report.page_content import PageTable
from relu_search.report.page_figures import PageFigure
from relu_search.report.run_report import html_of, picture
from search_spaces import InputError
from trials.files.durable import write_whole

_STYLES = (
    Style(BLUE, "o", "-"),
    Style(VERMILLION, "s", "--"),
    Style(GREEN, "D", "-."),
    Style(BLACK, "^", ":"),
    Style(PURPLE, "v", (0, (5, 1, 1, 1, 1, 1))),
    Style(ORANGE, "P", (0, (6, 2))),
    Style(SKY, "p", (0, (2, 1))),
    Style(GREY, "X", (0, (1, 1))),
)
"""One for each run; as many as `MOST_RUNS`."""


def write_page(found: Comparison, file: Path) -> Path:
    """Write the page of a comparison.

    Raises:
        InputError: the file cannot be written.
    """
    title = f"{len(found.runs)} searches compared by {found.metric.title}"
    columns = ("", *found.runs)
    options = PageTable("Options that differ", columns, [[n, *row] for n, row in found.options])
    board = PageTable("Leaderboards", columns, [[row.name, *row.cells] for row in found.board])
    figures = [_regret_figure(found), _front_figure(found)]
    text = html_of(
        "comparison.html.j2",
        title=title,
        lines=[one.text(found.metric) for one in found.differences if one.placements],
        tables=[options, board],
        figures=[picture(figure) for figure in figures],
        notes=found.notes,
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text)
    except OSError as error:
        raise InputError(
            f"{file} cannot be written ({error.strerror or error}); give another with --page"
        ) from error
    return file


@styled
def _regret_figure(found: Comparison) -> PageFigure:
    metric = found.metric
    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column, name in ((left, "trials", "trials"), (right, "hours", "training hours")):
        for run, style in zip(found.runs, _STYLES, strict=False):
            table = found.regrets[run]
            axes.step(
                table[column],
                table["regret"] * metric.factor,
                where="post",
                color=style.color,
                linestyle=style.line,
                label=label(run),
            )
        axes.set(xlabel=name)
    left.set(ylabel=f"regret ({metric.difference_unit})")
    _legend(figure, len(found.runs))
    return PageFigure(
        "regret",
        "Regret against trials and against training hours",
        "How far the placement that led after each trial is behind the best one of all runs on the "
        "same images, by the estimates at the end. The leader is the placement with the best "
        "single result so far. Training hours are summed over trials that ran at the same time.",
        figure,
    )


@styled
def _front_figure(found: Comparison) -> PageFigure:
    metric = found.metric
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    for run, style in zip(found.runs, _STYLES, strict=False):
        table: pd.DataFrame = found.fronts[run]
        axes.step(
            table["share"],
            table["estimate"] * metric.factor,
            where="post",
            color=style.color,
            linestyle=style.line,
            marker=style.marker,
            label=label(run),
        )
    axes.set(xlabel="ReLUs kept in the blocks (% of the sites)", ylabel=metric.axis_label)
    _legend(figure, len(found.runs))
    return PageFigure(
        "fronts",
        f"Pareto fronts: {metric.title} against ReLUs kept",
        "The best estimate with at most so many ReLUs, of each run.",
        figure,
    )


def _legend(figure: Figure, runs: int) -> None:
    axes = figure.axes[0]
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=min(runs, 4))
