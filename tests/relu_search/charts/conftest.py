"""Snapshots of made-up runs."""

from __future__ import annotations

import pandas as pd
import pytest

from relu_search import RunFolder, SearchConfig
from relu_search.analysis.run_snapshot import RunSnapshot


@pytest.fixture
def snapshot_of(tmp_path):
    """Rows of `trials.csv` of plain-8, and options of the search -> a snapshot with curves."""

    def make(trials, backbone="plain-8", **options):
        table = pd.DataFrame(trials)
        epochs = pd.DataFrame(
            [
                (row["trial"], e, row["val_accuracy"] * e / row["epochs"], row["val_loss"] + 1 / e)
                for row in table.to_dict("records")
                for e in range(1, row["epochs"] + 1)
            ],
            columns=["trial", "epoch", "val_accuracy", "val_loss"],
        )
        config = SearchConfig(backbone=backbone, width=4, epochs=9, trials=9, **options).resolve()
        return RunSnapshot(RunFolder(tmp_path), config, {}, table, epochs, None, None)

    return make
