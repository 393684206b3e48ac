"""One real search that several test files look at, and a way to call the command line."""

from __future__ import annotations

import json

import pytest

from relu_search import SearchConfig, run_search
from relu_search.cli.app import main

SMALL = {
    "backbone": "plain-8",
    "width": 4,
    "data": "digits",
    "train_limit": 100,
    "epochs": 3,
    "trials": 8,
    "concurrent": 1,
    "grace_epochs": 1,
}


@pytest.fixture(scope="session")
def small_config():
    """The options of the small search, some of them changed."""

    def make(**changes):
        return SearchConfig(**{**SMALL, **changes})

    return make


@pytest.fixture(scope="session")
def searched(small_config, tmp_path_factory):
    """The outcome of one real search; a test that writes into its folder must copy it first."""
    out = tmp_path_factory.mktemp("searched") / "run"
    outcome = run_search(small_config(out=str(out)))
    before = sorted(out.rglob("*"))
    yield outcome
    assert sorted(out.rglob("*")) == before, "a test wrote into the search that all tests share"


@pytest.fixture
def cli(capfd):
    """Arguments -> (exit code, stdout, stderr) of the command line."""

    def call(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return end.value.code, out, err

    return call


@pytest.fixture
def cli_json(cli):
    """Arguments -> the JSON value that a successful call prints, alone, on stdout."""

    def call(*arguments):
        code, out, err = cli(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return call
