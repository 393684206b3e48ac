"""Scores on the test split: when it is read, by which code, and what is scored."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.confirming import DIVERGED, confirmed, refuse
from helpers.full_gpu import FULL
from helpers.judging import Runner, Witness, accuracy_on, read_rows, write_digits

from relu_search import SearchConfig, run_search
from relu_search.confirmation import scoring
from relu_search.settings.machines import Machines
from trials.data import splits
from trials.data.held_out import load_test_split
from trials.running.faults import RunStoppedError
from trials.running.resources import Resources


def test_test_figures_are_those_of_the_saved_networks(folder):
    runner = Runner(fitted=("01*3", "0+1*5"))
    confirmed(folder, runner)
    for row in read_rows(folder / "confirm.csv"):
        model, data = runner.models[row["placement"], int(row["seed"])]
        test = load_test_split(data)
        expected = accuracy_on(model, data, test.images, test.labels)
        assert float(row["test_accuracy"]) == pytest.approx(expected, abs=0.0021)  # one image
        assert float(row["val_accuracy"]) == runner.accuracy(row["placement"], int(row["seed"]))


def test_test_images_are_read_after_the_last_training_and_each_model_scored_once(
    folder, monkeypatch
):
    witness = Witness().watch(monkeypatch)
    failing = {("01*3", 2): DIVERGED, ("0*6", 1): "ValueError: x"}
    confirmed(folder, witness.training(Runner(failing=failing)))
    kinds = witness.kinds()
    assert kinds.count("train") == 10
    assert kinds.count("score") == 8
    assert kinds.count("read test") == 1
    last = max(i for i, kind in enumerate(kinds) if kind == "train")
    assert kinds.index("read test") > last
    witness.events.clear()
    confirmed(folder, witness.training(Runner()), seeds=3)
    kinds = witness.kinds()
    assert kinds.count("train") == kinds.count("score") == 6  # the failed one, and five new ones
    assert kinds.index("read test") > max(i for i, kind in enumerate(kinds) if kind == "train")
    witness.events.clear()
    confirmed(folder, refuse, seeds=3)
    assert {"score", "read test"} & set(witness.kinds()) == set()


@pytest.mark.parametrize(
    ("machines", "device"),
    [
        (Machines(in_process=True), "cuda"),
        (Machines(in_process=True, resources=Resources(gpus_per_trial=0)), "cpu"),
    ],
    ids=["plan with a GPU", "plan without"],
)
def test_trainings_and_scores_in_this_process_use_the_device_of_the_plan(
    machines, device, folder, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    devices = []

    def score(model, test, training, recipe, device):
        devices.append(device)
        return 0.1, 0.9

    def runner(spec, data, *, device, **options):
        devices.append(device)
        return Runner()(spec, data, device="cpu", **options)

    monkeypatch.setattr(scoring, "score_on_test", score)
    confirmed(folder, runner, compute=machines)
    assert devices == [device] * 20


@pytest.mark.parametrize("error", FULL)
def test_a_gpu_that_is_full_while_models_are_scored_stops_the_run_and_loses_nothing(
    folder, error, monkeypatch
):
    score, calls = scoring.score_on_test, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise error
        return score(*arguments)

    monkeypatch.setattr(scoring, "score_on_test", full)
    with pytest.raises(RunStoppedError, match=r"^out of GPU memory: .* on the test split"):
        confirmed(folder, Runner())
    confirmed(folder, refuse)
    scored = [row for row in read_rows(folder / "confirm.csv") if row["test_accuracy"]]
    assert len(scored) == len(calls) - 1


def test_with_an_address_models_are_scored_in_a_worker_of_the_cluster(folder, monkeypatch):
    """With the resources of a training; the session and the worker are pretended."""
    confirmed(folder, Runner(failing={("01*3", 2): DIVERGED}))
    table = pd.read_csv(folder / "confirm.csv")
    table.assign(test_accuracy=None, test_loss=None).to_csv(folder / "confirm.csv", index=False)
    calls = []

    def call(resources, function, *arguments, say):
        calls.append((resources, len(arguments[0])))
        return function(*pickle.loads(pickle.dumps(arguments)), device="cpu", say=say)

    @contextlib.contextmanager
    def session(*, address, verbose):
        yield [{"CPU": 4, "GPU": 1}]

    monkeypatch.setattr("trials.on_ray.session.ray_session", session)
    monkeypatch.setattr("trials.on_ray.one_worker.call_in_worker", call)
    monkeypatch.setattr(scoring, "MODELS_AT_ONCE", 4)
    confirmed(folder, refuse, compute=Machines(address="auto"))
    assert calls == [({"cpu": 1, "gpu": 0.25}, count) for count in (4, 4, 1)]
    scored = pd.read_csv(folder / "confirm.csv")
    pd.testing.assert_frame_equal(scored, table)


def test_no_training_set_is_padded_to_score_a_model(folder, monkeypatch):
    events = []

    def noted(name, function):
        return lambda *arguments: events.append(name) or function(*arguments)

    monkeypatch.setattr(splits, "pad_with_mean", noted("pad", splits.pad_with_mean))
    monkeypatch.setattr(scoring, "score_on_test", noted("score", scoring.score_on_test))
    confirmed(folder, Runner())
    assert events.count("score") == 10
    assert "pad" in events  # to train
    assert "pad" not in events[events.index("score") :]


def test_search_train_export_and_report_read_images_of_the_training_split_alone(
    tmp_path, monkeypatch, cli
):
    """In this process; workers get what was loaded here. A search opens the test split, to tell
    what it lacks; after it the test file is not even an image set."""
    data = write_digits(tmp_path / "data")
    witness = Witness().watch(monkeypatch)
    config = SearchConfig(
        backbone="plain-5",
        width=2,
        data=data,
        train_limit=20,
        epochs=1,
        trials=3,
        concurrent=1,
        out=str(tmp_path / "run"),
    )
    assert run_search(config).best_trial is not None
    assert {split for kind, split in witness.events if kind == "read"} == {"train"}
    witness.events.clear()
    (tmp_path / "data" / "test.parquet").write_bytes(b"nobody reads this")
    tiny = ["--backbone", "plain-5", "--width", "2", "--train-limit", "20", "--epochs", "1"]
    for arguments in (
        ["train", *tiny, "--data", data, "--out", tmp_path / "model"],
        ["export", tmp_path / "run", "--out", tmp_path / "copy"],
        ["report", tmp_path / "run"],
    ):
        code, _, err = cli(*arguments)
        assert code == 0, err
    assert {split for kind, split in witness.events if kind == "open"} == {"train"}


def test_no_module_but_three_may_import_the_test_split():
    """The contract of pyproject.toml is checked as a whole in test_layers; here by plain text.

    `outlook.py` gives a search sentences about the split, and nothing else.
    """
    root = Path(__file__).parents[3]
    importing = {
        file.relative_to(root).as_posix()
        for package in ("search_spaces", "trials", "relu_search")
        for file in (root / package).glob("**/*.py")
        if "held_out" in file.read_text()
    }
    assert importing == {
        "relu_search/confirmation/scoring.py",
        "relu_search/reproduce/run_experiment.py",
        "trials/data/outlook.py",
    }
    opening = {
        file.name
        for package in ("search_spaces", "trials", "relu_search")
        for file in (root / package).glob("**/*.py")
        if "open_source(" in file.read_text()
    }
    assert opening == {"splits.py", "held_out.py", "sources.py"}


def test_the_other_verbs_do_not_load_the_reader_of_the_test_split():
    modules = (
        *("search.run_search", "search.single_training", "export.from_run"),
        *("analysis.answer", "analysis.leaderboard"),
    )
    code = (
        f"import sys, {', '.join(f'relu_search.{module}' for module in modules)}; "
        "forbidden = {'trials.data.held_out', 'relu_search.confirmation.scoring'}; "
        "raise SystemExit(bool(forbidden & {*sys.modules}))"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
