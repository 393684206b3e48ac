"""The report: complete, well-formed, safe with any text, and without requests."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import tomli_w
from helpers.confirmation_tables import confirm_table, verdict_table
from helpers.replay import RUN_RECORD
from helpers.report_pages import NASTY, modules, page_of, trial

from relu_search import RunFolder
from relu_search.analysis.leaderboard import best_trial
from relu_search.report.run_report import write_report
from search_spaces import InputError, Placement
from search_spaces.drawing import KEY, drawing
from trials.files.paths import absolute_data

FIGURES = {
    *("accuracy-relus", "learning-curves", "placement-map", "site-influence", "site-importance"),
    "early-prediction",
}


def test_a_search_is_reported_with_all_its_figures(searched, tmp_path, monkeypatch):
    monkeypatch.undo()
    shutil.copytree(searched.run.path, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    page = page_of(run)
    figures = FIGURES | {"ratios"}
    for form, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        files = [*run.figures.glob(f"*.{form}")]
        assert {file.stem for file in files} == figures
        assert all(file.read_bytes().startswith(start) for file in files)
    assert len(page.all("img")) == len(page.all("figcaption")) == len(figures)
    assert len(json.loads(page.scripts[0])) == 3
    assert len(page.scripts[1]) > 1_000_000  # Plotly's own
    config, trials = run.read_config()[0], run.read_trials()
    assert (
        drawing(config.network, Placement.parse(best_trial(trials, config)["placement"]))
        in page.text
    )
    assert "Of the ratios tried" in page.text
    for text in ("Best placement found", "plain-8", "digits", "linear (control)", "torch", "Noise"):
        assert text in page.text
    again = (run.path / "report.html").read_bytes()
    assert write_report(run).read_bytes() == again


def test_a_confirmed_search_has_its_verdicts_first(make_run):
    run = make_run(*modules(), trial(4), confirmed=confirm_table())
    page = page_of(run)
    extra = {"verdicts-paired", "verdicts-module-1", "confirmation-runs"}
    assert {p.stem for p in run.figures.glob("*.png")} == FIGURES - {"ratios"} | extra  # too few
    start = page.text.index("found 1 is better than paired: ")
    assert start < page.text.index("found 1 and 2:1 cannot be told apart yet: ")
    assert start < page.text.index("The other 5 comparisons: ") < page.text.index("Leaderboard")
    assert "found 1: 93.2 % in the search, 91.6 % on fresh seeds: 1.6 points lower" in page.text
    assert "Best placement found" not in page.text
    assert "1 diverged" in page.text


@pytest.mark.parametrize("name", ["confirm.csv", "verdict.csv"])
def test_either_table_of_a_confirmation_may_be_missing_or_empty(name, make_run):
    run = make_run(*modules(), trial(4), confirmed=confirm_table())
    table = run.path / name
    table.write_text(table.read_text().splitlines()[0] + "\n")
    page_of(run)
    table.unlink()
    page_of(run)


@pytest.mark.parametrize("content", ["arm\nx\n", "\x00\x01"])
def test_a_damaged_confirmation_is_refused(content, make_run):
    run = make_run(trial(0))
    (run.path / "verdict.csv").write_text(content)
    with pytest.raises(InputError, match=r"verdict\.csv"):
        write_report(run)


def test_a_run_without_a_trial_has_no_report(make_run):
    run = make_run()
    with pytest.raises(InputError, match="no finished trial"):
        write_report(run)
    assert not (run.path / "report.html").exists()


def test_every_text_of_a_user_is_escaped(make_run, tmp_path):
    data = {**RUN_RECORD["data"], "classes": [NASTY, "b"], "split_digest": NASTY}
    record = {"study": "s", "data": data, "versions": {NASTY: NASTY}, "space_size": NASTY}
    # A TOML file cannot hold the control character bare; the writer escapes it.
    assert "\\u0007" in tomli_w.dumps({"x": NASTY})
    runs = confirm_table()
    runs.loc[runs["arm"] == "found 1", "reason"] = NASTY
    trials = (
        *modules(),
        trial(4, module=NASTY, reason=NASTY),
        trial(5, state="FAIL", reason=NASTY),
    )
    run = make_run(*trials, confirmed=runs, record=record, data=f"folder:{NASTY}")
    verdicts = verdict_table(runs)
    for column in ("arm", "versus", "placement", "ratio", "verdict"):
        verdicts.loc[0, column] = NASTY
    verdicts.to_csv(run.path / "verdict.csv", index=False)
    page = page_of(run)
    shown = NASTY.replace("\x07", "\N{REPLACEMENT CHARACTER}")
    in_tables = NASTY.replace("\x07", "\\x07")
    folder = absolute_data(f"folder:{NASTY}").replace("\x07", "\N{REPLACEMENT CHARACTER}")
    for text in (folder, f"2: {shown}"):
        assert text in page.text, text
    for place in ("failed: ", "against "):
        assert place + in_tables in page.text, place
    assert page.text.count(shown) + page.text.count(in_tables) >= 12


def test_a_path_is_escaped(searched, tmp_path):
    folder = tmp_path / "<b onclick='x'>&\""
    shutil.copytree(searched.run.path, folder)
    assert str(folder) in page_of(RunFolder(folder)).text


def test_a_placement_of_another_net_is_refused(make_run):
    with pytest.raises(InputError, match="sites"):
        write_report(make_run(trial(0, placement="01")))


def test_overwrite_takes_the_report_along(make_run):
    run = make_run(trial(0))
    write_report(run)
    with RunFolder.create(str(run.path), overwrite=True) as new:
        new.clear()
    assert [p.name for p in run.path.iterdir()] == [".lock"]


# --- the verb ---------------------------------------------------------------------------------


def test_the_verb_writes_the_page_and_says_where(make_run, cli):
    run = make_run(*modules())
    code, out, err = cli("report", run.path)
    assert code == 0
    assert "linear (control)" in out
    assert "Best placement of the search: " in out
    assert KEY in out
    assert err == f"Report: {run.path / 'report.html'}\n"
    code, out, _ = cli("report", run.path, "--json")
    value = json.loads(out)
    assert value["report"] == str(run.path / "report.html")
    assert len(value["trials"]) == 3
    assert (value["verdicts"], value["answer"]["metric"]) == ([], "val_loss")
    assert len(value["answer"]["estimates"]) == 3


def test_after_a_confirmation_the_first_lines_are_its_answer(make_run, cli):
    run = make_run(*modules(), trial(4), confirmed=confirm_table())
    code, out, _ = cli("report", run.path, "--no-page")
    assert code == 0
    assert out.startswith("found 1 is better than paired: +")
    value = json.loads(cli("report", run.path, "--no-page", "--json")[1])
    assert len(value["verdicts"]) == 7
    assert value["verdict_answer"][0] == out.splitlines()[0]
    best = next(row for row in value["verdicts"] if row["arm"] == "found 1")
    assert best["t_low"] < best["difference"] < best["t_high"]


def test_the_verb_leaves_the_page_out_when_asked(make_run, cli):
    run = make_run(*modules())
    code, out, err = cli("report", run.path, "--no-page", "--json")
    assert (code, err, json.loads(out)["report"]) == (0, "", None)
    assert not (run.path / "report.html").exists()


def test_a_folder_that_cannot_be_written_gets_one_line(make_run, cli):
    run = make_run(*modules())
    run.figures.write_text("a file where the folder should be")
    code, _, err = cli("report", run.path)
    assert code == 2
    assert "--no-page" in err
    assert err.count("\n") == 1


# --- in a browser -----------------------------------------------------------------------------

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on PATH")
@pytest.mark.usefixtures("real_scripts")
def test_a_browser_opens_the_page_without_errors_or_outside_requests(make_run, tmp_path):
    run = make_run(*modules(), trial(4, reason=NASTY), confirmed=confirm_table())
    requests, console, dom = browse(write_report(run), tmp_path / "profile")
    assert (requests, console) == ([], [])
    assert "found 1" in dom


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on PATH")
def test_the_browser_test_notices_what_it_looks_for(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://x.example/a.png'><script>console.error('bad')</script>")
    requests, console, _ = browse(page, tmp_path / "profile")
    assert requests == ["http://x.example/a.png"]
    assert [line for line in console if '"bad"' in line] == console != []


def browse(page: Path, profile: Path) -> tuple[list[str], list[str], str]:
    """Open a page headless, cut off from any network.

    Returns:
        Addresses that the page asked the network for, its console lines, and its final markup.
    """
    net_log = profile / "net.json"
    profile.mkdir()
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--enable-logging=stderr", "--v=0", "--dump-dom"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"),
            *(f"--user-data-dir={profile}", f"--log-net-log={net_log}", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    log = json.loads(net_log.read_text())
    started = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    jobs = [event["params"] for event in log["events"] if event["type"] == started]
    jobs = [job for job in jobs if "url" in job]
    # The browser's own services ask too; only what a page asks for has an origin behind it.
    requests = [job["url"] for job in jobs if job["initiator"] != "not an origin"]
    return [url for url in requests if not url.startswith(("file:", "data:"))], console, done.stdout
