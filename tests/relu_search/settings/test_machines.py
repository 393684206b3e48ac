"""Machines: where a search ran, with what a user changes."""

from __future__ import annotations

import math

import pytest

from relu_search import SearchConfig, run_search
from relu_search.search.training_lists import run_trainings
from relu_search.settings.machines import Machines
from search_spaces import InputError
from trials.data.splits import load_data
from trials.running.resources import Resources
from trials.running.trial_files import NO_FILES
from trials.running.trial_list import TrialList


def test_the_machines_of_a_search_are_those_of_its_options():
    config = SearchConfig(
        concurrent=2, gpus_per_trial=0.5, niceness=5, address="auto", exchange="/x"
    )
    resources = Resources(concurrent=2, gpus_per_trial=0.5)
    machines = Machines(resources=resources, niceness=5, address="auto", exchange="/x")
    assert Machines.of(config.resolve()) == machines


def test_given_options_replace_those_of_the_search_and_no_others():
    machines = Machines(resources=Resources(concurrent=2, cpus_per_trial=3), address="auto")
    changed = machines.with_options({"concurrent": 1, "in_process": True})
    assert changed.resources == Resources(concurrent=1, cpus_per_trial=3)
    assert (changed.address, changed.in_process, changed.verbose) == ("auto", True, False)


def test_an_empty_text_such_as_that_of_an_unset_variable_changes_nothing():
    machines = Machines(address="host:1", exchange="/x")
    assert machines.with_options({"address": "", "exchange": ""}) == machines


def test_a_resource_out_of_range_is_refused():
    """Checked in one place, so by the options of a search and by these alike."""
    for name, value in (
        ("concurrent", 0),
        ("cpus_per_trial", 0),
        ("cpus_per_trial", math.nan),
        ("gpus_per_trial", -0.5),
        ("gpus_per_trial", math.inf),
        ("max_failures", -1),
    ):
        with pytest.raises(InputError, match="at least"):
            Machines().with_options({name: value})
        with pytest.raises(InputError, match=f"at least|{name}"):
            SearchConfig(**{name: value})


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("0.5", 0.5), ("0", 0), ("2", 2)])
def test_gpus_per_trial_is_a_number_or_auto_also_as_text(text, value):
    given = {"gpus_per_trial": text}
    assert Machines().with_options(given).resources.gpus_per_trial == value
    resolved = SearchConfig.from_options(given).resolve()
    assert resolved.resources.gpus_per_trial == resolved.to_toml()["gpus_per_trial"] == value


def test_a_text_that_is_neither_is_refused():
    with pytest.raises(InputError, match="'many'; it must be auto or a number"):
        Machines().with_options({"gpus_per_trial": "many"})
    with pytest.raises(InputError, match="gpus_per_trial is 'many'; it must be auto or a number"):
        SearchConfig.from_options({"gpus_per_trial": "many"})


@pytest.mark.parametrize("niceness", [-1, 20, 1.5])
def test_a_niceness_out_of_range_is_refused(niceness):
    for of in (Machines().with_options, lambda options: SearchConfig(**options)):
        with pytest.raises(InputError, match=r"niceness is .*; it must be"):
            of({"niceness": niceness})


def test_a_search_and_a_list_of_trainings_start_ray_with_the_niceness(monkeypatch, tmp_path):
    started = []

    def ray_session(**options):
        started.append(options["niceness"])
        raise InputError("started")

    monkeypatch.setattr("trials.on_ray.session.ray_session", ray_session)
    with pytest.raises(InputError, match="started"):
        run_search(SearchConfig(niceness=4, out=str(tmp_path / "run")))
    with pytest.raises(InputError, match="started"):
        run_trainings(
            Machines(niceness=5),
            TrialList([], ended=lambda *_: None),
            load_data("digits"),
            precision="fp32",
            files=NO_FILES,
            name="x",
            say=print,
        )
    assert started == [4, 5]
