"""Which figures a report holds, and what it says of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from relu_search.analysis.rank_agreement import grace_warning
from relu_search.analysis.run_tables import RunTables
from relu_search.analysis.site_effects import site_importance, site_influence
from relu_search.report.confirmation_figures import confirmation_runs, verdict_forest
from relu_search.report.figure_style import module_label
from relu_search.report.importance_figure import importance_of_sites
from relu_search.report.search_figures import (
    MapRow,
    accuracy_against_relus,
    found_and_modules,
    influence_of_sites,
    learning_curves,
    placement_map,
    rung_correlation,
)
from relu_search.settings.metrics import METRICS
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Placement

MAPPED = 8
"""Found placements in the placement map."""


@dataclass(frozen=True)
class Exhibit:
    """A figure with what the page says of it; `name` is that of its files."""

    name: str
    title: str
    caption: str
    figure: Figure


def search_exhibits(findings: RunTables, correlation: pd.DataFrame) -> Iterator[Exhibit]:
    config, trials, epochs = findings.config, findings.trials, findings.epochs
    metric, backbone = config.metric, config.network
    images = int(findings.record["data"]["validation_images"])
    yield Exhibit(
        "accuracy-relus",
        "Validation metric against ReLUs kept",
        "One point per full-length trial; the line is the best seen with at most so many ReLUs. "
        "One seed per point: points whose bars overlap are not to be told apart, and the front "
        "is optimistic.",
        accuracy_against_relus(trials, metric, images),
    )
    yield Exhibit(
        "learning-curves",
        "Learning curves",
        "Hand-designed modules, the control and the best found; grey lines are the other trials, "
        "and end where early stopping ended them.",
        learning_curves(trials, epochs, metric),
    )
    modules, found = found_and_modules(trials, metric, MAPPED)
    yield Exhibit(
        "placement-map",
        "Placement map",
        "Where each placement keeps its ReLUs: hand-designed modules above, the best found below, "
        "best first; at the right the validation metric and the ReLUs kept.",
        placement_map(
            backbone,
            [
                [_map_row(module_label(row["module"]), row, config) for row in modules],
                [_map_row(row["placement"], row, config) for row in found],
            ],
        ),
    )
    yield Exhibit(
        "site-influence",
        "Influence of each site",
        "Mean over the full-length trials that keep a site minus mean over those that drop it, "
        "with Welch's 95 % interval (open: too few trials for one); below, the trials on each "
        "side. An association, not an effect: the sampler does not draw evenly, sites that are "
        f"decided together (granularity {config.granularity}) share their credit, and with many "
        "sites some intervals miss zero by chance.",
        influence_of_sites(site_influence(trials, backbone, METRICS[metric]), backbone, metric),
    )
    yield Exhibit(
        "site-importance",
        "Importance of each site",
        "How much hangs on a site, without a sign: PED-ANOVA, what sets the best tenth of the "
        "trials apart; fANOVA, what explains their variance. Shares of all sites; sites that are "
        "decided together, or were hardly varied, cannot be told apart.",
        importance_of_sites(site_importance(trials, backbone, METRICS[metric])),
    )
    yield Exhibit(
        "rung-correlation",
        "Do early ranks foretell final ones?",
        "Spearman correlation over full-length trials between the metric after an epoch and at "
        "the end, with a bootstrap 95 % interval. Trials that were stopped are missing, which "
        "makes it look weaker than it is. " + grace_warning(correlation, config.grace_epochs),
        rung_correlation(correlation, config.grace_epochs),
    )


def verdict_exhibits(findings: RunTables) -> Iterator[Exhibit]:
    verdicts = findings.verdicts
    if verdicts is not None:
        for number, versus in enumerate(references(verdicts)):
            yield Exhibit(
                "verdicts-paired" if number == 0 else f"verdicts-module-{number}",
                f"Verdicts against {versus}",
                "Difference in test accuracy, seed by seed; thick: t interval, thin: BCa "
                "interval, grey band: the margin within which arms count as equivalent.",
                verdict_forest(verdicts, versus),
            )
    if findings.runs is not None:
        empty = pd.DataFrame(columns=["arm", "search_accuracy"])
        yield Exhibit(
            "confirmation-runs",
            "Every confirmation run",
            "One dot per seed, mean and standard deviation beside it. At the right the same runs "
            "on validation images, with what the search had said: the gap is selection's luck.",
            confirmation_runs(findings.runs, empty if verdicts is None else verdicts),
        )


def _map_row(name: str, row: dict[str, Any], config: ResolvedConfig) -> MapRow:
    placement = Placement.parse(row["placement"])
    config.network.check(placement)
    value = METRICS[config.metric].text(row[config.metric])
    stopped = "" if row["state"] == "COMPLETE" else f", epoch {row['epochs']}"
    return MapRow(name, placement, f"{value}, {row['relus']} ReLUs{stopped}")


def references(verdicts: pd.DataFrame) -> list[str]:
    """The references compared with, paired first."""
    return sorted(dict.fromkeys(verdicts["versus"]), key=lambda name: name != "paired")
