"""Searches in the real trackers, read back by their own readers; and trackers that fail."""

from __future__ import annotations

import os
import socket
import sys

import pytest
from helpers.command_line import check_refused
from helpers.replayed_search import OPTIONS, cut_off_in_a_trial, replay_searches

from relu_search import RunFolder, SearchConfig, SearchListener, resume_search, run_search
from relu_search.trackers import processes
from relu_search.trackers.followed import FollowedSearch, Sent
from relu_search.trackers.follower import Follower
from relu_search.trackers.processes import Trackers
from search_spaces import InputError

METRICS = ("val_loss", "val_accuracy", "train_loss", "train_accuracy", "seconds")


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


def expected(run):
    """Key -> (state, metric -> [(epoch, value)]) of every trial, from the tables of the run."""
    epochs = run.read_epochs()
    states = dict(zip(run.read_trials()["trial"], run.read_trials()["state"], strict=True))
    assert list(states.values()) == ["COMPLETE"] * 3 + ["FAIL"]
    return {
        str(number): (
            state,
            {
                name: list(zip(rows["epoch"], rows[name], strict=True))
                for name in METRICS
                for rows in [epochs[epochs["trial"] == number]]
            },
        )
        for number, state in states.items()
    }


def study_of(run):
    return run.read_config()[1]["study"]


def test_tensorboard_has_every_trial_once_also_after_an_interruption(interrupted_and_resumed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = interrupted_and_resumed("tensorboard")

    def read(name):
        found = EventAccumulator(str(run.path / "trackers" / "tensorboard" / name))
        return found.Reload()

    def text(found, tag):
        return found.Tensors(tag)[-1].tensor_proto.string_val[0].decode()

    for key, (state, curves) in expected(run).items():
        found = read(f"trial-{int(key):04d}")
        for name, curve in curves.items():
            points = [(p.step, p.value) for p in found.Scalars(name)]
            assert points == [(step, pytest.approx(value)) for step, value in curve]
        assert text(found, "state").partition(":")[0] == state
        placement = run.read_trials()["placement"][int(key)]
        assert f"| placement | {placement} |" in text(found, "parameters")
        assert "| backbone | plain-8 |" in text(found, "parameters")
        assert found.SummaryMetadata("_hparams_/session_start_info") is not None
    search = read("search")
    assert text(search, "state") == "budget spent"
    assert '{"made": "here"}' in text(search, "card.json")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload``:DeprecationWarning")  # of its own queries
def test_mlflow_has_every_trial_once_also_after_an_interruption(interrupted_and_resumed):
    run = interrupted_and_resumed("mlflow")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.path.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("relu-search")
    runs = client.search_runs([experiment.experiment_id])
    names = {one.info.run_name: one for one in runs}
    assert len(runs) == len(names) == 5
    search = names.pop(study_of(run))
    assert (search.info.status, search.data.tags["state"]) == ("FINISHED", "budget spent")
    assert search.data.params["backbone"] == "plain-8"
    files = {file.path for file in client.list_artifacts(search.info.run_id)}
    assert files == {"card.json", "report.html"}
    table = run.read_trials()
    for key, (state, curves) in expected(run).items():
        found = names[f"trial {key}"]
        assert found.data.tags["mlflow.parentRunId"] == search.info.run_id
        assert found.data.tags["state"] == state
        assert found.info.status == {"COMPLETE": "FINISHED", "FAIL": "FAILED"}[state]
        assert found.data.params["placement"] == table["placement"][int(key)]
        assert found.data.params["ratio"] == table["ratio"][int(key)]
        assert found.data.params["epochs"] == "3"
        for name, curve in curves.items():
            history = client.get_metric_history(found.info.run_id, name)
            assert sorted((one.step, one.value) for one in history) == curve


@pytest.mark.slow
def test_wandb_has_every_trial_once_also_after_an_interruption(interrupted_and_resumed):
    from helpers.wandb_files import runs_of

    run = interrupted_and_resumed("wandb")
    study, table = study_of(run), run.read_trials()
    runs = runs_of(run.path / "trackers")
    assert set(runs) == {f"{study}-{key}" for key in ("search", 0, 1, 2, 3)}
    assert {len(parts) for key, parts in runs.items() if key[-1] in "h2"} == {2}  # both continue
    for key, (state, curves) in expected(run).items():
        parts = runs[f"{study}-{key}"]
        assert {part["group"] for part in parts} == {study}
        config = parts[-1]["config"]
        assert config["placement"] == table["placement"][int(key)]
        assert (config["backbone"], config["epochs"]) == ("plain-8", 3)
        for name, curve in curves.items():
            found = [(s, v[name]) for part in parts for s, v in part["history"].items()]
            assert found == curve
        assert parts[-1]["summary"]["state"] == state
        assert parts[-1]["exit"] == int(state == "FAIL")
    search = runs[f"{study}-search"][-1]
    assert search["summary"]["state"] == "budget spent"
    assert set(search["artifacts"]) == {"card.json", "report.html"}


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
    """A tracker whose every third call fails, before it has taken anything."""

    def __init__(self):
        self.calls = 0
        self.taken = []

    def _take(self, *call):
        self.calls += 1
        if self.calls % 3 == 0:
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


def test_what_a_tracker_did_not_take_is_sent_again_and_nothing_twice(tmp_path, monkeypatch):
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
    assert failures == 4
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
