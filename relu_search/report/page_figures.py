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
            "Each point is the best placement tried of one ratio of convolutions to kept ReLUs, at "
            "its estimate; the band is the 95 % interval. Large squares: ratios that cannot be "
            "told apart from the best one. Hand-designed modules and the control are marked.",
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
        f"Each point is one ReLU site: the mean {metric.title} of the trainings that keep this "
        "ReLU minus the mean of those that drop it, with Welch's 95 % interval (open symbol: too "
        f"few trainings for one). {'Above' if metric.higher_is_better else 'Below'} zero, the "
        "trainings that keep it are better. The bars count the trainings on each side. This is an "
        "association, not a causal effect: the sampler does not sample sites evenly, sites that "
        f"are decided together (granularity {config.granularity}) share one effect, and among many "
        "sites some intervals exclude zero by chance.",
        influence_of_sites(site_influence(trials, backbone, metric), backbone, metric),
    )
    yield PageFigure(
        "site-importance",
        "Importance of each site",
        "Each pair of bars is one ReLU site: how strongly the result depends on whether this ReLU "
        "is kept, as a share of all sites, without saying which is better. PED-ANOVA: what "
        "distinguishes the best tenth of the trainings. fANOVA: what explains the variance of all "
        "trainings. Sites that are decided together, or that rarely change, cannot be told apart.",
        importance_of_sites(importance),
    )
    yield PageFigure(
        "early-prediction",
        "Do early epochs predict the end?",
        f"The upper line is the rank correlation between {SIGNAL_NAMES[config.stop_on]} after an "
        "epoch and the final result (1: the same order of placements, 0: no relation), the lower "
        "line its lower bound. It is estimated for all trainings that reached the epoch, those "
        "stopped there included. Trainings are stopped only after an epoch whose lower bound is "
        "above the dashed line.",
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
                "Each row is one placement: how far its test accuracy is above that of "
                f"{versus}, taken seed by seed on fresh seeds. Thick line: 95 % t interval. Thin "
                "line: 95 % BCa interval. Grey band: the margin within which two placements count "
                "as equivalent.",
                verdict_forest(verdicts, versus),
            )
    if tables.runs is not None:
        empty = pd.DataFrame(columns=["arm", "search_accuracy"])
        yield PageFigure(
            "confirmation-runs",
            "Every confirmation run",
            "Each dot is one training with a seed of its own, below it mean and standard "
            "deviation. Left: accuracy on test images. Right: the same trainings on validation "
            "images, and the accuracy in the search. The search chose the luckiest runs, so fresh "
            "seeds are often lower.",
            confirmation_runs(tables.runs, empty if verdicts is None else verdicts),
        )


def references(verdicts: pd.DataFrame) -> list[str]:
    """The references of the verdicts, paired first."""
    return sorted(dict.fromkeys(verdicts["versus"]), key=lambda name: name != "paired")
