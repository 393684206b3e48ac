"""`relu-search report`."""

from __future__ import annotations

import pytest
from helpers.command_line import check_refused


@pytest.mark.parametrize(
    ("run", "says"), [("given/none", "not a run folder"), ("given/old-run", r"trials\.csv")]
)
def test_a_folder_without_a_searched_run_is_refused(run, says, cli, folder):
    check_refused(cli, folder, ["report", run], says)


def test_report_prints_the_leaderboard_of_a_run(searched, cli, cli_json):
    code, out, err = cli("report", searched.run.path, "--no-page")
    assert (code, err) == (0, "")
    for text in ("paired", "2:1", "linear (control)", "full length", "stopped early", "Noise: "):
        assert text in out
    table = cli_json("report", searched.run.path, "--no-page")
    assert len(table["trials"]) == 8
    values = [r["val_loss"] for r in table["trials"] if r["state"] == "COMPLETE"]
    assert values == sorted(values)  # too few trials for shrinking
