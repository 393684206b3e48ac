"""Run folders to report on."""

from __future__ import annotations

import pytest
from helpers.confirmation_tables import verdict_table
from helpers.replay import RUN_RECORD

from relu_search import RunFolder, SearchConfig
from relu_search.charts.scripts import plotly_script
from relu_search.confirmation.looks import Looks


@pytest.fixture(autouse=True)
def quick_files(monkeypatch):
    """Figures are drawn for the page only; their files stay empty, which saves most of the time.

    The page has a short script in the place of Plotly's, which has 5 MB.
    """
    monkeypatch.setattr("relu_search.report.run_report.plotly_script", lambda: "/* Plotly */")
    monkeypatch.setattr("relu_search.report.run_report.rendered", lambda figure, form: b"")


@pytest.fixture
def real_scripts(monkeypatch):
    """The page has Plotly's own script, as it has for users."""
    monkeypatch.setattr("relu_search.report.run_report.plotly_script", plotly_script)


@pytest.fixture
def make_run(tmp_path):
    """Trials, and what else is special -> a run folder of plain-8 with curves of two epochs."""

    def make(*trials, confirmed=None, record=None, **options):
        run = RunFolder(tmp_path)
        options = {"backbone": "plain-8", "width": 4, "epochs": 2, "trials": 9} | options
        config = SearchConfig(**options).resolve()
        run.write_config(config, record or RUN_RECORD)
        epochs = [
            {k: t[k] for k in ("trial", "val_accuracy", "val_loss")} | {"epoch": e}
            for t in trials
            for e in range(1, t["epochs"] + 1)
        ]
        run.start_tables(trials, epochs)
        if confirmed is not None:
            confirmed.to_csv(tmp_path / "confirm.csv", index=False)
            verdict_table(confirmed).to_csv(tmp_path / "verdict.csv", index=False)
            Looks().write(run)
        return run

    return make
