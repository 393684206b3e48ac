"""A run folder of any number of trials, in the formats that a search writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.replay import RUN_RECORD
from helpers.trial_tables import BLANK

from relu_search import RunFolder, SearchConfig
from search_spaces import Backbone, Placement, reference_modules

EPOCHS = 5


def write_large_run(path: Path, trials: int) -> RunFolder:
    """A finished search on plain-38: the modules, then random placements, of which a third is
    stopped early."""
    config = SearchConfig(backbone="plain-38", epochs=EPOCHS, trials=trials, granularity="site")
    backbone = Backbone.parse("plain-38", 8)
    rng = np.random.default_rng(0)
    placements = list(reference_modules(backbone).items())
    while len(placements) < trials:
        bits = "".join(map(str, rng.integers(0, 2, len(backbone.sites))))
        placements.append(("", Placement(bits)))
    rows, epochs = [], []
    for number, (module, placement) in enumerate(placements[:trials]):
        is_stopped = not module and number % 3 == 0
        length = 2 if is_stopped else EPOCHS
        losses = np.exp(-0.3 * np.arange(1, length + 1) + rng.normal(0, 0.1, length))
        for epoch, loss in enumerate(losses, start=1):
            row = {"trial": number, "epoch": epoch, "val_loss": loss, "train_loss": loss}
            accuracy = float(np.exp(-loss))
            epochs.append(
                row | {"val_accuracy": accuracy, "train_accuracy": accuracy, "seconds": 0.5}
            )
        last = {name: epochs[-1][name] for name in ("val_loss", "val_accuracy", "train_loss")}
        rows.append(
            {"trial": number, **BLANK, "module": module, "placement": placement.text}
            | {"ratio": f"{len(placement)}:{placement.kept}", "relus": placement.kept}
            | {"state": "PRUNED" if is_stopped else "COMPLETE", "epochs": length, **last}
        )
    run = RunFolder(path)
    path.mkdir(parents=True)
    run.write_config(config.resolve(), RUN_RECORD)
    run.start_tables(rows, epochs)
    return run
