"""Searches in the real trackers, read back by their own readers; and trackers that fail."""

from __future__ import annotations

import os
import socket
import sys

import pytest
from helpers.command_line import check_refused
from helpers.killing import SEARCH, lines, running
from helpers.replayed_search import OPTIONS, cut_off_in_a_trial, replay_searches
from helpers.tracker_readers import READERS, by_tables

from relu_search import RunFolder, SearchConfig, SearchListener, resume_search, run_search
from relu_search.trackers import processes
from relu_search.trackers.followed import FollowedSearch, Sent
from relu_search.trackers.follower import Follower
from relu_search.trackers.processes import Trackers
from search_spaces import InputError


class Results(SearchListener):
    """Writes what a tracker is sent at the end of a search."""

    def began(self, run, config):
        self.run = run

    def ended(self, ending):
        self.run.best.mkdir(exist_ok=True)
        (self.run.best / "card.json").write_text('{"made": "here"}')
        (self.run.path / "report.html").write_text("<p>report</p>")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    for name in os.environ:
        if name.startswith(("WANDB_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(processes, "_PATIENCE", dict.fromkeys(processes._PATIENCE, 200.0))


@pytest.fixture
def interrupted_and_resumed(tmp_path, monkeypatch, capsys):
    """A tracker -> the run folder of a search that was cut off in its third of four trials."""

    def search(name):
        replay_searches(monkeypatch, failing={3: "no"})
        with monkeypatch.context() as patch:
            patch.setattr("relu_search.search.run_search.run_search_trials", cut_off_in_a_trial)
            config = SearchConfig(**OPTIONS, trials=4, log=name, out=str(tmp_path / "run"))
            run_search(config)
        resume_search(tmp_path / "run", listeners=[Results()])
        assert "WARNING" not in capsys.readouterr().err
        return RunFolder(tmp_path / "run")

    return search


@pytest.mark.filterwarnings("ignore:The ``noload``:DeprecationWarning")  # MLflow's own queries
@pytest.mark.parametrize(
    "name",
    [
        "tensorboard",
        pytest.param("mlflow", marks=pytest.mark.slow),
        pytest.param("wandb", marks=pytest.mark.slow),
    ],
)
def test_a_tracker_has_every_trial_once_also_after_an_interruption(name, interrupted_and_resumed):
    run = interrupted_and_resumed(name)
    trials, search = READERS[name](run)
    assert list(run.read_trials()["state"]) == ["COMPLETE"] * 3 + ["FAIL"]
    assert trials == by_tables(run)
    assert search == ("budget spent", "plain-8", {"card.json", "report.html"})


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:The ``noload``:DeprecationWarning")
def test_all_trackers_are_equal_to_the_tables_after_a_kill_of_a_real_search(tmp_path):
    out = tmp_path / "run"
    with running(*SEARCH, "--trials", 6, "--log", ",".join(READERS), "--out", out) as search:
        assert search.wait_for(lambda: lines(out / "epochs.csv") > 8)  # within the third trial
        search.kill()
    with running("search", "--resume", out) as search:
        code, text = search.finish()
    assert code == 0, text
    run = RunFolder(out)
    for name, read in READERS.items():
        trials, of_search = read(run)
        assert trials == by_tables(run), name
        assert of_search == ("budget spent", "plain-8", {"card.json", "report.html"}), name


def logged(out, log, **options):
    """A whole search of two trials that is sent to trackers."""
    return run_search(SearchConfig(**OPTIONS, trials=2, log=log, out=str(out), **options))


def warnings(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING")]


@pytest.mark.slow
def test_a_tracker_that_is_unreachable_is_one_warning_and_no_password_is_shown(
    tmp_path, monkeypatch, capsys
):
    replay_searches(monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")  # nobody answers
    outcome = logged(tmp_path / "run", "mlflow,tensorboard")
    assert outcome.ending == "budget spent"
    assert outcome.run.count_trials() == 2
    [line] = warnings(capsys)
    assert line.startswith("WARNING: mlflow fails (MlflowException: ")
    assert "secret" not in line
    assert (outcome.run.path / "trackers" / "tensorboard" / "trial-0001").is_dir()


@pytest.mark.slow
def test_a_tracker_that_never_answers_is_one_warning(tmp_path, monkeypatch, capsys):
    replay_searches(monkeypatch)
    monkeypatch.setattr(processes, "_PATIENCE", {"budget spent": 3.0})
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        outcome = logged(tmp_path / "run", "mlflow")
    assert outcome.run.count_trials() == 2
    [line] = warnings(capsys)
    assert "mlflow has not been sent everything" in line


def test_a_tracker_that_is_killed_is_one_warning_and_is_brought_up_to_date_by_a_resume(
    tmp_path, monkeypatch, capsys
):
    class Kill(SearchListener):
        def started(self, trial):
            for process in trackers._processes:
                process._process.kill()
                process._process.wait()

    replay_searches(monkeypatch)
    trackers = Trackers(["tensorboard"], lambda line: print(line, file=sys.stderr))
    config = SearchConfig(**OPTIONS, trials=2, out=str(tmp_path / "run"))
    run = run_search(config, listeners=[Kill(), trackers]).run
    [line] = warnings(capsys)
    assert "tensorboard has not been sent everything" in line
    assert not list(run.path.glob("trackers/tensorboard/trial-*"))
    resume_search(run.path, log="tensorboard")
    assert warnings(capsys) == []
    assert len(list(run.path.glob("trackers/tensorboard/trial-*"))) == 2


class Fails:
    """A tracker whose every fourth call fails, before it has taken anything."""

    def __init__(self):
        self.calls = 0
        self.taken = []

    def _take(self, *call):
        self.calls += 1
        if self.calls % 4 == 0:
            raise ConnectionError("not now")
        self.taken.append(call)

    def begin(self, key, parameters, earlier):
        self._take("begin", key, parameters.get("placement"))
        return key

    def epochs(self, key, metrics):
        self._take("epochs", key, [one["epoch"] for one in metrics])

    def files(self, key, files):
        self._take("files", key, [file.name for file in files])

    def end(self, key, state, reason):
        self._take("end", key, state)


def test_what_a_tracker_did_not_take_is_sent_again_and_no_epoch_twice(tmp_path, monkeypatch):
    replay_searches(monkeypatch)
    run = logged(tmp_path / "run", None).run
    (run.path / "report.html").touch()
    search, tracker = FollowedSearch(run.path), Fails()
    search.ending = "budget spent"
    follower = Follower(search, tracker, Sent(tmp_path / "sent.json"))
    failures = 0
    while True:
        try:
            follower.send()
            break
        except ConnectionError:
            failures += 1
    assert failures == 2
    placements = list(run.read_trials()["placement"])
    of_trials = [
        call
        for key in ("0", "1")
        for call in (
            ("begin", key, placements[int(key)]),
            ("epochs", key, [1, 2, 3]),
            ("end", key, "COMPLETE"),
        )
    ]
    assert tracker.taken == [
        ("begin", "search", None),
        *of_trials,
        ("files", "search", ["report.html"]),
        ("end", "search", "budget spent"),
    ]


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("wanbd", "log 'wanbd' is unknown; write one or several of tensorboard, mlflow, wandb"),
        ("mlflow,", "log '' is unknown"),
        ("mlflow wandb", "log 'mlflow wandb' is unknown"),
        ("tensorboard,none", "log 'none' is unknown"),
        ("mlflow", r"log mlflow needs a library .*: pip install 'relu-search\[mlflow\]', or leave"),
    ],
)
def test_bad_names_and_missing_libraries_are_one_line(log, says, cli, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "find_spec", lambda name: None)
    out = tmp_path / "run"
    check_refused(cli, tmp_path, ["search", "--out", out, "--log", log], says)


def test_a_folder_of_the_name_of_a_library_is_no_library(tmp_path, monkeypatch):
    (tmp_path / "no_such_library").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="log no_such_library needs a library"):
        Trackers(["no_such_library"], print)


@pytest.mark.parametrize("link", ["tensorboard", "tensorboard/log.txt", "tensorboard/trial-0000"])
def test_nothing_is_written_through_a_link(link, tmp_path, monkeypatch, capsys):
    replay_searches(monkeypatch)
    run = logged(tmp_path / "run", None).run
    path = run.path / "trackers" / link
    path.parent.mkdir(parents=True)
    target = tmp_path / "elsewhere"
    target.touch() if path.suffix else target.mkdir()
    path.symlink_to(target)
    resume_search(run.path, log="tensorboard")
    [line] = warnings(capsys)
    assert "is a link, and nothing is written through it" in line
    assert target.read_bytes() == b"" if path.suffix else list(target.iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload``:DeprecationWarning")
def test_a_new_place_gets_the_whole_search(tmp_path, monkeypatch):
    replay_searches(monkeypatch)
    logged(tmp_path / "run", "mlflow")
    (tmp_path / "mlflow.db").rename(tmp_path / "old.db")
    resume_search(tmp_path / "run", trials=3, listeners=[Results()])
    run = RunFolder(tmp_path / "run")
    assert READERS["mlflow"](run)[0] == by_tables(run)
    assert len(by_tables(run)) == 3
