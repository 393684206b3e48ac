"""Which figures a report has, and the captions of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from relu_search.analysis.early_stops import SIGNAL_NAMES, early_evidence_table
from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.analysis.site_effects import site_influence
from relu_search.charts.chart import Chart, capital
from relu_search.charts.epoch_curves import curves_chart, curves_of
from relu_search.charts.placement_marks import marks_of
from relu_search.charts.placement_rows import CHARTED, MAPPED, map_chart, map_groups
from relu_search.charts.run_charts import charted_costs
from relu_search.charts.trade_off import TradeOff, trade_off_chart
from relu_search.ratios.best_ratio import best_ratio
from relu_search.report.accuracy_against_relus import accuracy_against_relus, metric_against_ratio
from relu_search.report.confirmation_figures import confirmation_runs, verdict_forest
from relu_search.report.curves import early_prediction, learning_curves
from relu_search.report.figure_style import rendered
from relu_search.report.placement_map import placement_map
from relu_search.report.site_figures import importance_of_sites, influence_of_sites
from trials.early_stopping.rung_evidence import RungEvidence


@dataclass(frozen=True)
class PageFigure:
    """A figure with its title and caption.

    Attributes:
        name: of its files.
        title: a few words.
        caption: what a newcomer sees in it.
        figure: for print, for files, and for readers that run no script.
        chart: the same for a page, as Plotly draws it; None: there is the figure only.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    chart: Mapping[str, Any] | None = None

    @cached_property
    def svg(self) -> bytes:
        """The figure as a file."""
        return rendered(self.figure, "svg")

    @classmethod
    def of(cls, chart: Chart, figure: Figure) -> PageFigure:
        """A chart with the figure that shows the same."""
        return cls(chart.name, chart.title, chart.sentence, figure, chart.plotly)


def search_figures(
    tables: RunSnapshot, evidence: dict[int, RungEvidence], importance: pd.DataFrame
) -> Iterator[PageFigure]:
    """The figures of a search, in the order of the page.

    Args:
        tables: of the run.
        evidence: of `early_evidence`.
        importance: the table of `site_importance`.

    Raises:
        InputError: a placement in the tables does not fit the backbone.
    """
    config, trials = tables.config, tables.trials
    metric, backbone = config.optimised, config.network
    marks = marks_of(trials, config)
    for cost in charted_costs(config):
        trade = TradeOff.of(marks, config, cost)
        yield PageFigure.of(trade_off_chart(trade, backbone), accuracy_against_relus(trade))
    if (ratios := best_ratio(trials, config)) is not None:
        yield PageFigure(
            "ratios",
            f"{capital(metric.title)} of the best placement of each ratio",
            "The line is the estimate of the best placement tried of each ratio, the band its 95 % "
            "interval. Large squares: ratios that cannot be told apart from the best one. "
            "Hand-designed modules and the control are marked.",
            metric_against_ratio(marks, ratios),
        )
    curves = curves_of(trials, tables.epochs, marks, metric)
    yield PageFigure.of(curves_chart(curves), learning_curves(curves))
    yield PageFigure.of(
        map_chart(map_groups(marks, backbone, CHARTED), backbone, metric),
        placement_map(backbone, map_groups(marks, backbone, MAPPED)),
    )
    yield PageFigure(
        "site-influence",
        "Influence of each site",
        "Mean over the full-length trials that keep a site minus mean over those that drop it, "
        "with Welch's 95 % interval (open symbol: too few trials for an interval). Below: the "
        "number of trials on each side. This is an association, not a causal effect: the sampler "
        f"does not sample sites evenly, sites that are decided together (granularity "
        f"{config.granularity}) share one effect, and among many sites some intervals exclude zero "
        "by chance.",
        influence_of_sites(site_influence(trials, backbone, metric), backbone, metric),
    )
    yield PageFigure(
        "site-importance",
        "Importance of each site",
        "How strongly the metric depends on a site, without a sign, as a share of all sites. "
        "PED-ANOVA: what distinguishes the best tenth of the trials. fANOVA: what explains the "
        "variance of all trials. Sites that are decided together, or that rarely change, cannot be "
        "told apart.",
        importance_of_sites(importance),
    )
    yield PageFigure(
        "early-prediction",
        "Do early epochs predict the end?",
        f"Rank correlation between {SIGNAL_NAMES[config.stop_on]} after an epoch and the final "
        "metric, and its lower bound. It is estimated for all trials that reached the epoch, "
        "those stopped there included. Trials are stopped only after an epoch whose bound is above "
        "the line.",
        early_prediction(early_evidence_table(evidence), config.early_stopping.rungs),
    )


def verdict_figures(tables: RunSnapshot) -> Iterator[PageFigure]:
    """The figures of a confirmation, in the order of the page; none without a confirmation."""
    verdicts = tables.verdicts
    if verdicts is not None:
        for number, versus in enumerate(references(verdicts)):
            yield PageFigure(
                "verdicts-paired" if number == 0 else f"verdicts-module-{number}",
                f"Verdicts against {versus}",
                "Difference in test accuracy, taken seed by seed. Thick line: t interval. Thin "
                "line: BCa interval. Grey band: the margin within which arms are equivalent.",
                verdict_forest(verdicts, versus),
            )
    if tables.runs is not None:
        empty = pd.DataFrame(columns=["arm", "search_accuracy"])
        yield PageFigure(
            "confirmation-runs",
            "Every confirmation run",
            "One dot per seed, with mean and standard deviation. Right: the same runs on "
            "validation images, and the accuracy in the search. The search chose the luckiest "
            "runs, so fresh seeds are often lower.",
            confirmation_runs(tables.runs, empty if verdicts is None else verdicts),
        )


def references(verdicts: pd.DataFrame) -> list[str]:
    """The references of the verdicts, paired first."""
    return sorted(dict.fromkeys(verdicts["versus"]), key=lambda name: name != "paired")
