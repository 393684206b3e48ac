"""A run folder that something happened to: one clear line, and what was there is kept."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext

import optuna
import pytest

from relu_search import RunFolder, resume_search
from relu_search.run_folder.study import open_study
from search_spaces import InputError


class ReachedRay(Exception):
    """The check before Ray has passed."""


@pytest.fixture
def run(searched, tmp_path, monkeypatch):
    """A copy of a finished run; going on ends where Ray would start."""

    def no_ray(**_):
        raise ReachedRay

    monkeypatch.setattr("trials.on_ray.session.ray_session", no_ray)
    copy = tmp_path / "run"
    shutil.copytree(searched.run.path, copy)
    return copy


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}


def edit_line(path, number, change):
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = change(lines[number])
    path.write_bytes(b"".join(lines))


DAMAGES = {
    "a line of garbage": (lambda line: b"\x00\xff garbage\n", "damaged at line 4"),
    "half a line in the middle": (lambda line: line[: len(line) // 2] + b"\n", "line 4"),
    "no record": (lambda line: b"[1, 2]\n", "damaged at line 4"),
    "another record": (lambda line: b'{"op_code": 99}\n', "is damaged"),
    "a record without its fields": (lambda line: b'{"op_code": 4}\n', "is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_study_is_one_line_and_nothing_is_changed(damage, run):
    change, says = DAMAGES[damage]
    edit_line(run / "study.journal", 3, change)
    before = contents(run)
    with pytest.raises(InputError, match=says) as caught:
        resume_search(run)
    assert "\n" not in str(caught.value)
    assert contents(run) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"module":"paired"}', b'{"module":5}'),
        (b'{"seed":0}', b'{"seed":"0"}'),
        (b'{"placement":"1*6"}', b'{"placement":"1*7"}'),
        (b'{"placement":"1*6"}', b'{"placement":["1*6"]}'),
        (b'{"history":[', b'{"history":[5,'),
    ],
    ids=str,
)
def test_an_attribute_of_another_type_is_found_before_ray_starts(old, new, run):
    journal = run / "study.journal"
    assert old in journal.read_bytes()
    journal.write_bytes(journal.read_bytes().replace(old, new))
    before = contents(run)
    with pytest.raises(InputError, match=r"restore the study|has 7 sites"):
        resume_search(run, trials=20)
    assert contents(run) == before


def test_a_study_cut_within_its_last_line_goes_on(run):
    journal = run / "study.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "wor')
    with pytest.raises(ReachedRay):
        resume_search(run, trials=20)


def test_the_lock_of_a_killed_process_is_taken_over(run):
    (run / "study.journal.lock").symlink_to("study.journal")
    with pytest.raises(ReachedRay):
        resume_search(run, trials=20)
    assert not (run / "study.journal.lock").is_symlink()


@pytest.mark.parametrize("kept", [0, 40], ids=["lost", "of an older day"])
def test_a_study_that_lacks_recorded_trials_is_refused(kept, run, monkeypatch):
    monkeypatch.setattr("trials.on_ray.session.ray_session", lambda **_: nullcontext([{"CPU": 1}]))
    lines = (run / "study.journal").read_bytes().splitlines(keepends=True)
    (run / "study.journal").write_bytes(b"".join(lines[:kept]))
    before = contents(run)["trials.csv"]
    with pytest.raises(InputError, match=r"no study .* to resume|lacks \d trials that trials"):
        resume_search(run)
    assert contents(run)["trials.csv"] == before


def test_trials_of_another_origin_are_refused(run, monkeypatch):
    monkeypatch.setattr("trials.on_ray.session.ray_session", lambda **_: nullcontext([{"CPU": 1}]))
    name = RunFolder.open(run).read_config()[1]["study"]
    study = open_study(run / "study.journal", name, ["maximize"], resume=True)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(InputError, match="trials that no search recorded, such as number 8"):
        resume_search(run)


# --- what may change when a run goes on -------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrent": 2},
        {"address": "10.0.0.1:6379", "max_failures": 7},
        {"cpus_per_trial": 0.5, "gpus_per_trial": 1},
        {"trials": 30},
        {"epochs": 3, "seed": 0},  # as they were
        {"seed": None},
    ],
    ids=str,
)
def test_a_search_may_go_on_elsewhere(changes, run):
    with pytest.raises(ReachedRay):
        resume_search(run, **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 4}, r"--epochs 4 \(it has 3\) contradicts"),
        ({"train_limit": 50}, r"--train-limit 50 \(it has 100\)"),
        ({"backbone": "plain-20", "trials": 99}, "--backbone plain-20"),
        ({"sampler": "random"}, "--sampler random"),
        ({"out": "elsewhere"}, "--out elsewhere"),
        ({"trials": 7}, "less than the 8"),
        ({"concurrent": 0}, "at least 1"),
        ({"trials": "many"}, "trials is 'many'"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
def test_a_search_that_goes_on_stays_the_same_search(changes, says, run):
    before = contents(run)
    with pytest.raises(InputError, match=says):
        resume_search(run, **changes)
    assert contents(run) == before


def test_a_run_whose_card_is_gone_is_given_another(searched, tmp_path):
    """best/ is made anew from the weights when a run goes on."""
    copy = tmp_path / "run"
    shutil.copytree(searched.run.path, copy)
    shutil.rmtree(copy / "best")
    (copy / "trials.csv").unlink()
    outcome = resume_search(copy)
    assert outcome.best_trial == searched.best_trial
    before = json.loads((searched.run.best / "card.json").read_text())
    after = json.loads((outcome.run.best / "card.json").read_text())
    assert after["placement"] == before["placement"]


def test_what_a_killed_process_left_is_swept(run):
    left = [run / ".config.toml.0a1b2c3d.partial", run / ".export-1", run / "best" / ".export-2"]
    left[0].write_text("half")
    for folder in left[1:]:
        folder.mkdir()
        (folder / "card.json").write_text("half")
    kept = contents(run).keys() - {left[0].name}
    RunFolder.open(run).sweep()
    assert not any(path.exists() for path in left)
    assert contents(run).keys() == kept
    assert (run / "best" / "card.json").is_file()
