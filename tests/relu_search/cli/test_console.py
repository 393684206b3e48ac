"""What a search says before it begins and when it has ended."""

from __future__ import annotations

import json

import pytest
from helpers.judging import make_search

from relu_search import RunFolder, SearchConfig, SearchOutcome
from relu_search.analysis.leaderboard import best_trial
from relu_search.cli.console import ReportAtEnd, headline, show_outcome

OUTSIDE = [("COMPLETE", "", "1*6", 0.5), ("PRUNED", "", "1*5+0", 0.4)]
STOPPED = [("PRUNED", "", "1*6", 0.5), ("FAIL", "", "001*2", None)]


@pytest.fixture
def ended(tmp_path, capfd):
    """Ends a made-up search: trials, options -> (folder, stdout, stderr)."""

    def end(trials, *, ending="budget spent", as_json=False, name="run", **options):
        folder = make_search(tmp_path / name, trials=trials, **options)
        run = RunFolder(folder)
        (folder / "best").mkdir()
        config, _ = run.read_config()
        report = ReportAtEnd()
        report.began(run, config)
        report.ended(ending)
        best = best_trial(run.read_trials(), config)
        outcome = SearchOutcome(run=run, ending=ending, best_trial=best)
        show_outcome(outcome, report.path, as_json)
        return folder, *capfd.readouterr()

    return end


FOUND = [("COMPLETE", "", "0+1*5", 0.7), ("COMPLETE", "paired", "1*6", 0.5)]


def test_the_ending_names_the_report_the_best_model_and_the_next_command(ended):
    folder, out, err = ended(FOUND, name="a run")
    assert out.splitlines()[1].split()[:2] == ["1", "0+1*5"]
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert f"Report: {folder / 'report.html'}\n" in err
    assert f"Best model: {folder / 'best'}." in err
    assert err.endswith(f"relu-search confirm '{folder}'\n")  # as a shell reads it


def test_json_is_alone_on_stdout_and_has_the_path_of_the_report(ended):
    folder, out, _ = ended(FOUND, as_json=True)
    result = json.loads(out)
    assert result["report"] == str(folder / "report.html")
    assert result["best"]["placement"] == "0+1*5"


@pytest.mark.parametrize(
    "changes", [{"report": False}, {"ending": "interrupted"}], ids=["no report", "interrupted"]
)
def test_no_report_is_written_if_it_is_not_wanted_or_the_search_was_interrupted(ended, changes):
    folder, out, err = ended(FOUND, as_json=True, **changes)
    assert json.loads(out)["report"] is None
    assert "Report" not in err
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    "error", [OSError("disk full"), ZeroDivisionError(), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_report_that_cannot_be_written_is_a_line_and_no_failure(
    ended, monkeypatch, error, as_json
):
    def broken(run):
        print("noise")
        raise error

    monkeypatch.setattr("relu_search.report.run_report.write_report", broken)
    folder, out, err = ended(FOUND, as_json=as_json)
    reason = str(error) or type(error).__name__
    line = f"The report was not written: {reason}. Write it with: relu-search report {folder}\n"
    assert line in err
    assert "noise" not in out
    assert "Best model:" in err
    if as_json:
        assert json.loads(out)["report"] is None


@pytest.mark.parametrize(
    ("trials", "limits", "says"),
    [
        (OUTSIDE, {"max_relus": 2}, "No full-length trial keeps 1 to 2 ReLUs"),
        (OUTSIDE, {"min_relus": 0, "max_relus": 0}, "No full-length trial keeps 0 ReLUs"),
        (OUTSIDE, {"max_relus": "17%"}, "No full-length trial keeps 1 ReLU,"),
        (STOPPED, {}, "No trial trained to full length"),
        ([("COMPLETE", "", "1*6", None)], {}, "No full-length trial has a finite validation acc"),
    ],
)
def test_without_a_best_trial_the_ending_says_why(ended, trials, limits, says):
    folder, _, err = ended(trials, **limits)
    assert says in err
    assert "Best model" not in err
    assert "relu-search confirm" not in err
    if "keeps" in says:
        assert f"relu-search search --resume {folder} --trials 14" in err
        assert "trained to" not in err


def warning(**options):
    line = headline(SearchConfig(backbone="plain-20", granularity="site", **options).resolve())
    return line.partition("\nWARNING: ")[2]


def test_before_the_training_it_is_said_when_the_modules_leave_no_budget():
    assert "none of these modules keeps 1 ReLU, so" in warning(max_relus="10%", trials=3)
    assert warning(max_relus="10%", trials=3).endswith("Use --trials 4 or more.")
    assert warning(max_relus="10%", trials=4) == ""
    assert "none of these" not in warning(trials=3)  # paired and 2:1 are within the limits
    assert "no other placement is tried" in warning(trials=3)
    assert "too small for 2:1, linear" in warning(trials=1)
    assert "none of these" in warning(max_relus=9, trials=1)
    assert "none of these" not in warning(max_relus=9, trials=2)
    assert warning() == ""
