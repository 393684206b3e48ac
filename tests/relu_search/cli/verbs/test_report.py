"""`relu-search report`."""

from __future__ import annotations

import pytest
from helpers.command_line import check_refused
from helpers.replay import RUN_RECORD
from helpers.trial_tables import FAILED, rows_like

from relu_search import RunFolder, SearchConfig


@pytest.mark.parametrize(
    ("run", "says"), [("given/none", "not a run folder"), ("given/old-run", r"trials\.csv")]
)
def test_a_folder_without_a_searched_run_is_refused(run, says, cli, folder):
    check_refused(cli, folder, ["report", run], says)


def test_report_prints_the_leaderboard_of_a_run(searched, cli, cli_json):
    code, out, err = cli("report", searched.run.path, "--no-page")
    assert (code, err) == (0, "")
    for text in (
        "paired",
        "2:1",
        "linear (control)",
        "full length",
        "Early stopping stopped no trial",
        "Noise: ",
    ):
        assert text in out
    table = cli_json("report", searched.run.path, "--no-page")
    assert len(table["trials"]) == 8
    values = [r["val_loss"] for r in table["trials"] if r["state"] == "COMPLETE"]
    assert values == sorted(values)  # too few trials for shrinking


@pytest.fixture
def told(folder):
    """A run of three trials at a path and with texts that act on a terminal; its path."""
    path = folder / "br[/red]\x1b[31m"
    path.mkdir(parents=True)
    run = RunFolder(path)
    run.write_config(SearchConfig(backbone="plain-8", epochs=3, trials=3).resolve(), RUN_RECORD)
    texts = {"module": "[bold]m\x1b[2J", "ratio": "\x9b5n"}
    failed = {**FAILED, "reason": "[blink]r\x1b]0;title\x07"}
    run.start_tables(rows_like({}, texts, failed))
    table = path / "trials.csv"  # as a stranger writes it
    table.write_text(table.read_text().replace("\\x1b", "\x1b").replace("\\x9b", "\x9b"))
    return path


def test_texts_of_a_run_do_not_act_on_the_terminal(told, cli):
    code, out, err = cli("report", told)
    assert code == 0
    for text in ("[bold]m\\x1b[2J", "\\x9b5n", "failed: [blink]r\\x1b]0;title"):
        assert text in out
    assert r"br[/red]\x1b[31m/report.html" in err
    assert not set(out + err) & {"\x1b", "\x9b", "\x07"}


@pytest.mark.parametrize("placement", ["2*2", "01", "1*7", ""])
@pytest.mark.parametrize("options", [[], ["--json"], ["--no-page"]], ids=str)
def test_a_bad_placement_is_refused_before_anything_is_printed(placement, options, told, cli):
    RunFolder(told).start_tables(rows_like({}, {"placement": placement}))
    code, out, err = cli("report", told, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (told / "report.html").exists()


def test_a_run_at_a_path_that_is_no_utf_8_is_reported(told, cli):
    other = told.with_name("caf\udce9")
    told.rename(other)
    code, _, err = cli("report", other)
    assert code == 0
    assert "caf\\udce9/report.html" in err
    assert (other / "report.html").read_bytes().decode()
