"""`relu-search export`."""

from __future__ import annotations

import shutil

import pytest
from helpers.command_line import by_arguments, check_refused

from relu_search import load_exported


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["given/none", "--out", "x"], "cannot be read"),
        (["given/file", "--out", "x"], "not valid JSON"),
        (["given/old-run", "--out", "x"], "no best model: no trial within"),
        (["given/old-run", "--out", "given/full"], "not an empty folder"),
        (["given/none", "--out", "x", "--trial", "1"], "not a run folder"),
        (["given/old-run"], "--out"),
    ],
    ids=by_arguments,
)
def test_bad_input_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, ["export", *arguments], says)


def test_export_hands_over_the_best_trial_or_another_one(searched, cli_json, folder):
    run = searched.run.path
    assert (
        cli_json("export", run, "--out", "best")["training"]["trial"]
        == searched.best_trial["trial"]
    )
    card = cli_json("export", run, "--trial", 2, "--out", "control")
    assert (card["module"], card["training"]["trial"]) == ("linear", 2)
    assert load_exported("control").placement.text == "0*6"


@pytest.mark.parametrize(
    ("trial", "says"), [("99", "is not in trials.csv; only"), ("stopped", "is stopped early; only")]
)
def test_a_trial_without_weights_cannot_be_exported(trial, says, searched, cli, folder):
    run = shutil.copytree(searched.run.path, folder / "copy")
    if trial == "stopped":
        table = run / "trials.csv"
        table.write_text(table.read_text().replace("\n5,COMPLETE,", "\n5,PRUNED,"))
        trial = "5"
    arguments = ["export", "copy", "--trial", trial, "--out", "x"]
    check_refused(cli, folder, arguments, says)


def test_an_unknown_format_is_refused(searched, cli, folder):
    arguments = ["export", searched.run.path, "--out", "x", "--format", "pickle"]
    check_refused(cli, folder, arguments, "safetensors")
