"""Made-up tables of a search, its figures, and a reader of the text in a figure."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from relu_search import SearchConfig
from relu_search.analysis.site_effects import site_importance, site_influence
from relu_search.charts.epoch_curves import curves_of
from relu_search.charts.placement_marks import marks_of
from relu_search.charts.placement_rows import map_groups
from relu_search.charts.trade_off import TradeOff
from relu_search.report.accuracy_against_relus import accuracy_against_relus
from relu_search.report.curves import early_prediction, learning_curves
from relu_search.report.figure_style import rendered
from relu_search.report.placement_map import placement_map
from relu_search.report.site_figures import importance_of_sites, influence_of_sites
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Backbone, Placement, ratio_text, reference_modules


def text_of(figure: Figure) -> str:
    """All text that a reader of the figure sees, one piece a line, from its SVG."""
    with rc_context({"svg.fonttype": "none"}):  # text as text, not as outlines
        root = ElementTree.fromstring(rendered(figure, "svg"))
    return "\n".join(
        "".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")
    )


def search_tables(name: str, found: int = 12, state: str = "COMPLETE"):
    """A backbone, and trials and epochs of a made-up search over three epochs in it.

    Losses are 2 - accuracy, between 1.1 and 1.8.
    """
    backbone = Backbone.parse(name, 8)
    rng = np.random.default_rng(3)
    placements = list(reference_modules(backbone).items())
    for _ in range(found):
        bits = rng.integers(0, 2, len(backbone.sites))
        placements.append(("", Placement("".join(map(str, bits)))))
    trials, epochs = [], []
    for i, (module, placement) in enumerate(placements):
        accuracy = np.sort(rng.uniform(0.2, 0.9, 3))
        for epoch, value in enumerate(accuracy, start=1):
            row = {"trial": i, "epoch": epoch, "val_accuracy": value, "val_loss": 2 - value}
            epochs.append(row)
        trials.append(
            {
                "trial": i,
                "state": state,
                "module": module,
                "placement": placement.text,
                "ratio": ratio_text(backbone, placement),
                "relus": placement.kept,
                "epochs": 3,
                "val_accuracy": accuracy[-1],
                "val_loss": 2 - accuracy[-1],
            }
        )
    return backbone, pd.DataFrame(trials), pd.DataFrame(epochs)


def config_of(backbone: Backbone, metric: str = "val_loss", **options) -> ResolvedConfig:
    """The options of a search in this backbone."""
    return SearchConfig(backbone=backbone.name, width=8, metric=metric, **options).resolve()


def search_figures(backbone, trials, epochs, metric) -> dict[str, Figure]:
    """Every figure of a search, by a short name."""
    config = config_of(backbone, metric.name)
    marks = marks_of(trials, config)
    evidence = pd.DataFrame(
        {"epoch": [1, 2], "n": [9, 9], "correlation": [0.4, 0.9], "at_least": [0.1, 0.8]}
    )
    return {
        "curves": learning_curves(curves_of(trials, epochs, marks, metric)),
        "accuracy": accuracy_against_relus(TradeOff.of(marks, config, "relus")),
        "map": placement_map(backbone, map_groups(marks, backbone)),
        "influence": influence_of_sites(site_influence(trials, backbone, metric), backbone, metric),
        "importance": importance_of_sites(site_importance(trials, backbone, metric)),
        "early": early_prediction(evidence, (1, 2)),
    }
