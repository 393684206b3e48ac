"""`--deterministic`: it reaches every training and scoring, and stays what a run began with."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers.confirming import confirmed
from helpers.confirming import refuse as refuse_to_train
from helpers.judging import Runner, files_under, make_search
from helpers.reproducing import reproduced, small

from relu_search import RunFolder, SearchConfig
from relu_search.confirmation import scoring
from relu_search.export.card import read_card
from relu_search.search import back_ends, single_training, warm_start
from relu_search.search.resuming import changed_config
from search_spaces import InputError
from trials.on_ray import pack_runs, tune_runs
from trials.running import devices
from trials.running.trial import run_trial
from trials.training.metrics import NonFiniteLossError
from trials.training.supernet import Supernet

ONE = {"top": 0, "modules": []}
ASKED = [{}, {"deterministic": True}]


class Watched(Runner):
    """A runner that notes how it was called."""

    def __call__(self, *arguments, deterministic=False, **options):
        self.found = getattr(self, "found", set()) | {deterministic}
        return super().__call__(*arguments, **options)


@pytest.mark.parametrize("asked", ASKED)
def test_every_back_end_of_a_search_is_told(asked, monkeypatch):
    told = []

    def note(*_arguments, runner=None, **how):
        told.append((runner.keywords if runner else how)["deterministic"])

    monkeypatch.setattr(tune_runs, "run_trials", note)
    monkeypatch.setattr(pack_runs, "run_packed", note)
    for options in ({}, {"compiled": True, "captured": True}, {"pack": 4}):
        config = SearchConfig(**options, **asked).resolve()
        back_ends.run_search_trials(config, None, None)
    assert told == [bool(asked)] * 3


@pytest.mark.parametrize("asked", ASKED)
def test_measurement_and_warm_start_compute_as_the_trials_do(asked, monkeypatch, tmp_path):
    found = []

    def rates(*_arguments, **_options):
        found.append(torch.are_deterministic_algorithms_enabled())
        return {1: 1.0}

    def train(*_arguments, **_options):
        found.append(torch.are_deterministic_algorithms_enabled())
        raise NonFiniteLossError(1, "training loss", float("nan"))

    def call(function, *arguments, say):
        return function(*arguments, device="cpu", say=say)

    monkeypatch.setattr(devices, "measured_rates", rates)
    monkeypatch.setattr(Supernet, "train", train)
    config = SearchConfig(train_limit=20, pack="auto", warm_start="supernet", **asked).resolve()
    back_ends.with_pack_chosen(config, None, call, lambda _line: None)
    space = config.search_space()
    warm_start.advised_placements(RunFolder(tmp_path), config, None, space, call=call)
    assert found == [bool(asked)] * 2


@pytest.mark.parametrize("asked", ASKED)
def test_a_single_training_is_told_and_its_card_says_so(asked, monkeypatch, tmp_path):
    told = []

    def note(*arguments, deterministic, **options):
        told.append(deterministic)
        return run_trial(*arguments, **options)

    monkeypatch.setattr(single_training, "run_trial", note)
    size = {"backbone": "plain-5", "width": 2, "train_limit": 20, "epochs": 1}
    config = SearchConfig(**size, **asked, out=str(tmp_path / "out"))
    single_training.train_single(config, "paired", device="cpu")
    training = read_card(tmp_path / "out")["training"]
    assert told == [bool(asked)] == [training["deterministic"]]
    assert training["recipe"]["precision"] == "fp32"


def test_a_resumed_search_keeps_it(tmp_path):
    folder = make_search(tmp_path / "run")
    with pytest.raises(InputError, match=r"--deterministic True \(it has False\) contradicts"):
        changed_config(RunFolder(folder), {"deterministic": True})
    kept = make_search(tmp_path / "kept", deterministic=True)
    assert changed_config(RunFolder(kept), {"trials": 50}).deterministic


def test_a_run_of_an_older_version_is_not_deterministic(tmp_path):
    folder = make_search(tmp_path / "run")
    config = folder / "config.toml"
    written = config.read_text()
    config.write_text(written.replace("deterministic = false\n", ""))
    assert config.read_text() != written
    assert not RunFolder(folder).read_config()[0].deterministic


@pytest.mark.parametrize(
    ("of_search", "asked"), [(False, None), (True, None), (False, True), (True, False)]
)
def test_a_confirmation_does_as_the_search_unless_told_otherwise(
    of_search, asked, tmp_path, monkeypatch
):
    folder = make_search(tmp_path / "run", deterministic=of_search)
    runner, scored = Watched(), []
    whole = scoring.score_on_test

    def score(*arguments):
        scored.append(torch.are_deterministic_algorithms_enabled())
        return whole(*arguments)

    monkeypatch.setattr(scoring, "score_on_test", score)
    confirmed(folder, runner, **ONE, deterministic=asked)
    expected = of_search if asked is None else asked
    assert runner.found == {expected}
    assert set(scored) == {expected}


@pytest.mark.parametrize("first", [False, True])
def test_the_first_call_of_a_confirmation_settles_it(first, tmp_path):
    folder = make_search(tmp_path / "run")
    confirmed(folder, Watched(), **ONE, deterministic=first)
    before = files_under(folder)
    with pytest.raises(InputError, match=f"is {not first}; .* was confirmed with {first}"):
        confirmed(folder, refuse_to_train, **ONE, seeds=3, deterministic=not first)
    assert files_under(folder) == before
    again = Watched()
    confirmed(folder, again, **ONE, seeds=3)
    assert again.found == {first}


def test_a_confirmation_of_an_older_version_goes_on(tmp_path):
    folder = make_search(tmp_path / "run")
    confirmed(folder, Watched(), **ONE)
    (folder / "confirm.toml").write_text("epochs = 2\n")
    again = Watched()
    confirmed(folder, again, **ONE, seeds=3)
    assert again.found == {False}
    (folder / "confirm.toml").write_text("epochs = 2\ndeterministic = 1\n")
    with pytest.raises(InputError, match="deterministic = 1, not true or false"):
        confirmed(folder, refuse_to_train, **ONE, seeds=3)


@pytest.mark.parametrize("asked", ASKED)
def test_a_reproduction_is_told_and_keeps_it(asked, tmp_path):
    settings = partial(small, depths=(5,))
    runner = Watched()
    reproduced(settings(**asked), tmp_path / "new", runner)
    assert runner.found == {bool(asked)}
    with pytest.raises(InputError, match="deterministic"):
        reproduced(settings(deterministic=not asked), tmp_path / "new", refuse_to_train)


def test_a_reproduction_of_an_older_version_goes_on(tmp_path):
    folder = tmp_path / "new"
    reproduced(small(), folder, Watched())
    file = folder / "reproduce.toml"
    written = file.read_text()
    file.write_text(written.replace("deterministic = false\n", ""))
    assert file.read_text() != written
    assert reproduced(small(), folder, refuse_to_train).is_complete
