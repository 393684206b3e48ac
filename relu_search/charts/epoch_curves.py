"""Learning curves: one per placement, the mean over its full-length trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from relu_search.charts.chart import (
    SHADE,
    Chart,
    capital,
    empty,
    layout,
    metric_axis,
    plotly_text,
)
from relu_search.charts.placement_marks import Mark
from relu_search.charts.series import Style, named_series
from relu_search.settings.metrics import Metric

MOST_FAINT = 200
"""Curves of placements that are not named, at most; they are evenly drawn from all of them."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The metric of a placement after each epoch, as people read it."""

    name: str
    epochs: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class NamedCurve(Curve):
    """A curve with an entry of its own in the legend.

    Attributes:
        style: of the line.
        runs: epochs and values of each trial in it, if there are several.
    """

    style: Style
    runs: Sequence[tuple[Sequence[int], Sequence[float]]]

    @property
    def legend(self) -> str:
        """The name with the number of trials, if there are several."""
        return f"{self.name} (n = {len(self.runs)})" if self.runs else self.name


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All learning curves of a run.

    Attributes:
        metric: of the curves.
        named: of the placements in the legend.
        faint: of other placements.
        others: how many other placements have a curve.
    """

    metric: Metric
    named: Sequence[NamedCurve]
    faint: Sequence[Curve]
    others: int

    @property
    def sentence(self) -> str:
        """What the chart shows."""
        better = "higher" if self.metric.higher_is_better else "lower"
        parts = [
            f"Each line is the {self.metric.title} of one placement after each epoch of training; "
            f"{better} is better"
        ]
        if any(curve.runs for curve in self.named):
            parts.append(
                "a placement that was trained with n seeds has the mean of its n curves, which are "
                "faint"
            )
        if self.others:
            few = f"{len(self.faint):,} of " if len(self.faint) < self.others else ""
            parts.append(
                f"grey: other placements ({few}{self.others:,}), up to the epoch where their "
                "training was stopped"
            )
        return f"{'; '.join(parts)}."

    @property
    def is_log(self) -> bool:
        """Whether the axis of the metric is logarithmic: where ratios count, above zero."""
        values = [v for curve in (*self.named, *self.faint) for v in curve.values]
        return self.metric.log and min(values, default=0) > 0


def curves_of(
    trials: pd.DataFrame, epochs: pd.DataFrame, marks: Sequence[Mark], metric: Metric
) -> Curves:
    """The curve of each placement: the mean of its full-length trials, else its longest trial.

    Args:
        trials, epochs: `trials.csv` and `epochs.csv`.
        marks: of `marks_of`; they say which placements are named.
        metric: of the curves.
    """
    used = _used_trials(trials[trials["trial"].isin(epochs["trial"])])
    table = epochs.merge(used, on="trial").dropna(subset=[metric.name])
    table["value"] = table[metric.name].astype(float) * metric.factor
    means = table.groupby(["placement", "epoch"])["value"].mean()
    placements = means.index.unique("placement")
    in_legend = [series for series in named_series(marks) if series.mark.placement in placements]
    named = []
    for series in in_legend:
        mine = table[table["placement"] == series.mark.placement]
        runs = [(run["epoch"].tolist(), run["value"].tolist()) for _, run in mine.groupby("trial")]
        mean = means[series.mark.placement]
        named.append(
            NamedCurve(
                name=series.name,
                epochs=mean.index.tolist(),
                values=mean.tolist(),
                style=series.style,
                runs=runs if len(runs) > 1 else (),
            )
        )
    others = placements.difference([series.mark.placement for series in in_legend])
    step = max(1, -(-len(others) // MOST_FAINT))
    faint = [
        Curve(name=text, epochs=means[text].index.tolist(), values=means[text].tolist())
        for text in others[::step]
    ]
    return Curves(metric=metric, named=named, faint=faint, others=len(others))


def _used_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Trial and placement of the full-length trials; of placements without one, the longest."""
    whole = trials["state"] == "COMPLETE"
    rest = trials[~trials["placement"].isin(trials.loc[whole, "placement"])]
    longest = rest.sort_values("epochs", ascending=False, kind="stable")
    used = pd.concat([trials[whole], longest.drop_duplicates("placement")])
    return used[["trial", "placement"]]


def curves_chart(curves: Curves) -> Chart:
    """The curves as a chart; an entry of the legend hides and shows a placement."""
    data: list[dict[str, Any]] = []
    if curves.faint:
        joined = _joined([(curve.epochs, curve.values) for curve in curves.faint])
        names = [plotly_text(curve.name) for curve in curves.faint for _ in [*curve.epochs, None]]
        thin = {"color": SHADE, "width": 1}
        data.append(_line(joined, "other placements", thin, text=names, hoverinfo="text+y"))
    for curve in curves.named:
        style = curve.style
        name = plotly_text(curve.legend)
        if curve.runs:
            thin = {"color": style.color, "width": 1}
            quiet = {"opacity": 0.35, "showlegend": False, "hoverinfo": "skip"}
            data.append(_line(_joined(curve.runs), name, thin, legendgroup=name, **quiet))
        look = {"color": style.color, "width": 2.2, "dash": style.dash}
        marker = {"symbol": style.symbol, "size": 7, "color": style.color}
        line = _line((curve.epochs, curve.values), name, look, legendgroup=name, marker=marker)
        data.append(line | {"mode": "lines+markers", "hoverinfo": "name+x+y"})
    if not data:
        plotly = empty("No epoch is finished yet.")
    else:
        last = max(epoch for curve in (*curves.named, *curves.faint) for epoch in curve.epochs)
        x = {"title": "Epoch", "tickformat": "d", "tick0": 0, "dtick": -(-last // 10)}
        y = metric_axis(capital(curves.metric.axis_label), is_log=curves.is_log)
        plotly = {"data": data, "layout": layout(x=x, y=y)}
    return Chart(
        name="learning-curves", title="Learning curves", sentence=curves.sentence, plotly=plotly
    )


def _joined(
    curves: Sequence[tuple[Sequence[int], Sequence[float]]],
) -> tuple[list[int | None], list[float | None]]:
    """Several lines as one, with a gap after each."""
    x = [epoch for epochs, _ in curves for epoch in (*epochs, None)]
    y = [value for _, values in curves for value in (*values, None)]
    return x, y


def _line(
    points: tuple[Sequence[int | None], Sequence[float | None]],
    name: str,
    line: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    x, y = points
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": line,
        **more,
    }
