"""Figure of the importance of every site."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from relu_search.analysis.site_effects import FEWEST
from relu_search.report.figure_style import (
    BLACK,
    BLUE,
    VERMILLION,
    empty_figure,
    new_figure,
    styled,
)

_METHODS = {"ped_anova": ("PED-ANOVA", BLUE, -0.2), "fanova": ("fANOVA", VERMILLION, 0.2)}


@styled
def importance_of_sites(importance: pd.DataFrame) -> Figure:
    """`importance.site_importance` as bars along the depth, in percent."""
    known = importance.dropna(subset=list(_METHODS), how="all")
    if known.empty:
        return empty_figure(f"Fewer than {FEWEST} full-length trials: too few for importances.")
    figure = new_figure(3.0)
    axes = figure.add_subplot()
    x = importance["site"] + 1
    for column, (label, color, shift) in _METHODS.items():
        axes.bar(x + shift, 100 * importance[column], width=0.4, color=color, label=label)
    axes.axhline(100 / len(importance), color=BLACK, linestyle=":", label="all equal")
    borders = importance.index[importance["stage"].diff() > 0]
    for border in borders:
        axes.axvline(border + 0.5, color=BLACK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set(xlabel="ReLU site, from input to output", ylabel="share of importance (%)")
    axes.set_xlim(0.4, len(importance) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    figure.legend(loc="outside upper left", ncols=4, title=f"n = {importance['n'].iloc[0]} trials")
    return figure
