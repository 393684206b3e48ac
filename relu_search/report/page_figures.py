"""Which figures a report has, and the captions of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from relu_search.analysis.early_stops import SIGNAL_NAMES, early_evidence_table
from relu_search.analysis.estimates import estimate_text, estimates
from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.analysis.site_effects import site_influence
from relu_search.ratios.best_ratio import best_ratio
from relu_search.report.accuracy_against_relus import accuracy_against_relus, metric_against_ratio
from relu_search.report.confirmation_figures import confirmation_runs, verdict_forest
from relu_search.report.curves import early_prediction, learning_curves
from relu_search.report.figure_style import module_label, modules_and_found
from relu_search.report.placement_map import MapRow, placement_map
from relu_search.report.site_figures import importance_of_sites, influence_of_sites
from relu_search.settings.metrics import counted_costs
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Placement
from trials.early_stopping.rung_evidence import RungEvidence

MAPPED = 8
"""Found placements in the placement map."""


@dataclass(frozen=True)
class PageFigure:
    """A figure with its title and caption; `name` is that of its files."""

    name: str
    title: str
    caption: str
    figure: Figure


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
    config, trials, epochs = tables.config, tables.trials, tables.epochs
    metric, backbone = config.optimised, config.network
    cost = (counted_costs(config.costs) or ["relus"])[0]
    kept = {"relus": "ReLUs kept", "relu_elements": "ReLU elements", "latency": "latency"}[cost]
    no_more = f"so {'much' if cost == 'latency' else 'many'} {kept}"
    yield PageFigure(
        "accuracy-relus",
        f"{metric.title.capitalize()} against {kept}",
        "One point per placement with full-length trials: the model's estimate (bars: ± 1 sd), the "
        "number that placements are ranked by. The line is the Pareto front: the best estimate "
        f"with at most {no_more}. Placements whose bars overlap cannot be told apart.",
        accuracy_against_relus(trials, metric, cost),
    )
    if (ratios := best_ratio(trials, config)) is not None:
        yield PageFigure(
            "ratios",
            f"{metric.title.capitalize()} of the best placement of each ratio",
            "The line is the estimate of the best placement tried of each ratio, the band its 95 % "
            "interval. Large squares: ratios that cannot be told apart from the best one. "
            "Hand-designed modules and the control are marked.",
            metric_against_ratio(trials, ratios),
        )
    yield PageFigure(
        "learning-curves",
        "Learning curves",
        "Hand-designed modules, the all-linear control and the best three found placements; the "
        "curve of a placement with several seeds is their mean. Grey lines are the other trials. "
        "They end where a trial was stopped.",
        learning_curves(trials, epochs, metric),
    )
    yield PageFigure(
        "placement-map",
        "Placement map",
        "Where each placement keeps its ReLUs. Above: hand-designed modules. Below: the best found "
        "placements. Both are ranked as in the leaderboard, best first. At the right: the model's "
        f"estimate of the {metric.title} (mean ± 1 sd), and the ReLUs kept.",
        placement_map(backbone, _map_groups(trials, config)),
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


def _map_groups(trials: pd.DataFrame, config: ResolvedConfig) -> list[list[MapRow]]:
    metric = config.optimised
    known = estimates(trials, metric)

    def row_of(name: str, row: dict[str, Any]) -> MapRow:
        placement = Placement.parse(row["placement"])
        config.network.check(placement)
        value, stopped = estimate_text(known, row["placement"], metric), ""
        if row["state"] != "COMPLETE":
            value, stopped = metric.text(row[metric.name]), f", epoch {row['epochs']}"
        return MapRow(name, placement, f"{value}, {relus_text(row['relus'])}{stopped}")

    modules, found = modules_and_found(trials, metric, MAPPED)
    return [
        [row_of(module_label(row["module"]), row) for row in modules],
        [row_of(row["placement"], row) for row in found],
    ]


def relus_text(count: int) -> str:
    """A number of ReLUs in words: `1 ReLU`, `6 ReLUs`."""
    return f"{count} ReLU{'' if count == 1 else 's'}"


def references(verdicts: pd.DataFrame) -> list[str]:
    """The references of the verdicts, paired first."""
    return sorted(dict.fromkeys(verdicts["versus"]), key=lambda name: name != "paired")
