"""Studies by name, in a journal or a database."""

from __future__ import annotations

import os

import optuna
import pytest

from relu_search.run_folder.study import (
    check_storage,
    finished_trials,
    has_study,
    new_study_name,
    open_study,
)
from search_spaces import InputError
from trials.files.durable import StorageError


def test_a_new_study_must_not_exist_and_a_resumed_one_must(tmp_path):
    journal, url = tmp_path / "study.journal", f"sqlite:///{tmp_path}/study.db"
    for storage in (None, url):
        with pytest.raises(InputError, match=r"no study 'a'|study.db does not exist"):
            open_study(journal, "a", ["maximize"], storage=storage, resume=True)
        open_study(journal, "a", ["maximize"], storage=storage)
        with pytest.raises(InputError, match="already has a study 'a'"):
            open_study(journal, "a", ["maximize"], storage=storage)
        resumed = open_study(journal, "a", ["maximize"], storage=storage, resume=True)
        resumed.add_trial(optuna.trial.create_trial(value=1.0))
        assert len(open_study(journal, "a", ["maximize"], storage=storage, resume=True).trials) == 1


def test_runs_of_one_name_have_studies_of_their_own(tmp_path):
    names = {new_study_name(tmp_path / "a") for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("a-") for name in names)


def test_a_run_cut_off_before_its_study_was_made_is_no_damage(tmp_path):
    journal = tmp_path / "study.journal"
    assert not has_study(journal, "a")
    journal.write_bytes(b"")
    assert not has_study(journal, "a")
    open_study(journal, "b", ["maximize"])
    assert not has_study(journal, "a")
    assert has_study(journal, "b")
    journal.write_bytes(b"nonsense\n")
    with pytest.raises(InputError, match="damaged at line 1"):
        has_study(journal, "b")


# --- SQLite in memory, in every spelling ------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite://", "sqlite:///", "sqlite+pysqlite://", "sqlite://?timeout=5"),
        *("sqlite:///:memory:", "sqlite:///file::memory:?uri=true"),
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///file:x?mode=memory&cache=shared&uri=true",
        *("sqlite:///file:?uri=true", "sqlite:///file:%3Amemory%3A?uri=true"),
        *("sqlite:///file:/z?vfs=memdb&uri=true", "SQLITE://"),
    ],
)
def test_a_database_in_memory_alone_is_refused(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"sqlite:///study\.db|cannot be opened"):
        check_storage(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite:///a.db", "sqlite:///file:a.db?uri=true"])
def test_a_database_on_disk_is_taken(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_storage(url)
    assert list(tmp_path.iterdir()) == []  # the check makes no file


# --- trials that someone has been at ----------------------------------------------------------

METRICS = {
    "epoch": 1,
    "train_loss": 1.0,
    "train_accuracy": 0.5,
    "val_loss": 1.0,
    "val_accuracy": 0.5,
    "seconds": 0.1,
}
GOOD = {"placement": "01*3", "module": "2:1", "seed": 0, "history": [METRICS], "costs": [3.0]}


def study_with(tmp_path, **attributes):
    study = open_study(tmp_path / "study.journal", "a", ["maximize"])
    trial = optuna.trial.create_trial(value=1.0, user_attrs={**GOOD, **attributes})
    study.add_trial(trial)
    return study


def test_a_recorded_trial_is_taken(tmp_path):
    assert [t.number for t in finished_trials(study_with(tmp_path, reason="none"))] == [0]


@pytest.mark.parametrize(
    "attributes",
    [
        *({"placement": 5}, {"placement": None}, {"module": ["2:1"]}, {"module": None}),
        *({"seed": "0"}, {"seed": 1.5}, {"seed": -1}, {"seed": 10**400}, {"seed": True}),
        *({"history": "x"}, {"history": {}}, {"history": [1]}, {"history": [{}]}),
        *({"history": [{**METRICS, "val_loss": value}]} for value in ("1", None, 1e300, [1])),
        *({"history": [{**METRICS, "epoch": value}]} for value in (0, 1.5, 10**400, float("nan"))),
        *({"history-1": 5}, {"history-1": [{**METRICS, "seconds": float("inf")}]}),
        *({"reason": 5}, {"costs": 5}, {"costs": ["3"]}, {"costs": [float("nan")]}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_attribute_of_another_type_is_refused(attributes, tmp_path):
    with pytest.raises(InputError, match="study 'a' is damaged"):
        finished_trials(study_with(tmp_path, **attributes))


@pytest.mark.timeout(20)
def test_a_journal_that_is_a_fifo_or_a_link_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="not a regular file"):
        open_study(tmp_path / "fifo", "a", ["maximize"])
    (tmp_path / "mine").write_text("{}\nhalf")
    (tmp_path / "link").symlink_to("mine")
    with pytest.raises(StorageError, match="cannot be written"):
        open_study(tmp_path / "link", "a", ["maximize"])
    assert (tmp_path / "mine").read_text() == "{}\nhalf"
