"""Made-up tables of a search, its figures, and a reader of the text in a figure."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from relu_search.analysis.site_effects import site_importance, site_influence
from relu_search.report.accuracy_against_relus import accuracy_against_relus
from relu_search.report.curves import early_prediction, learning_curves
from relu_search.report.figure_style import rendered
from relu_search.report.placement_map import MapRow, placement_map
from relu_search.report.site_figures import importance_of_sites, influence_of_sites
from search_spaces import Backbone, Placement, reference_modules


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
                "relus": placement.kept,
                "epochs": 3,
                "val_accuracy": accuracy[-1],
                "val_loss": 2 - accuracy[-1],
            }
        )
    return backbone, pd.DataFrame(trials), pd.DataFrame(epochs)


def search_figures(backbone, trials, epochs, metric) -> dict[str, Figure]:
    """Every figure of a search, by a short name."""
    evidence = pd.DataFrame(
        {"epoch": [1, 2], "n": [9, 9], "correlation": [0.4, 0.9], "at_least": [0.1, 0.8]}
    )
    modules = [MapRow(n, p, "90.0 %") for n, p in reference_modules(backbone).items()]
    return {
        "curves": learning_curves(trials, epochs, metric),
        "accuracy": accuracy_against_relus(trials, metric),
        "map": placement_map(backbone, [modules, modules[:1]]),
        "influence": influence_of_sites(site_influence(trials, backbone, metric), backbone, metric),
        "importance": importance_of_sites(site_importance(trials, backbone, metric)),
        "early": early_prediction(evidence, (1, 2)),
    }
