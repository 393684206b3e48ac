"""Open the Optuna study of a search: a journal file by default, any Optuna database by URL."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

from relu_search.run_folder.journal import open_journal
from search_spaces import InputError
from trials.files.durable import StorageError
from trials.files.storage_urls import sqlite_file, without_password
from trials.training.metrics import EpochMetrics

METRIC_ATTRIBUTE = "metric"
"""User attribute of a study with several objectives: the name of its metric."""
FLOOR_ATTRIBUTE = "floor"
"""User attribute of a study that minimises a cost alone: the least validation accuracy."""
COSTS_ATTRIBUTE = "costs"
"""User attribute of a study with several objectives: True; of its trials: their costs."""
LATENCY_ATTRIBUTE = "latency"
"""User attribute of a trial: the timing of its placement; of a study: milliseconds of paired."""
AUDIT_ATTRIBUTE = "audit"
"""User attribute of a trial: the epoch after which it would have been stopped early, had it not
been drawn as an audit."""
SCHEMES = ("sqlite", "postgresql", "mysql")
_RECORDED: dict[str, Callable[[Any], bool]] = {
    "placement": lambda value: isinstance(value, str),
    "module": lambda value: isinstance(value, str),
    "seed": lambda value: type(value) is int and 0 <= value < 2**63,
    "history": lambda value: isinstance(value, list),
}
"""User attributes of every finished trial, and whether a value is one."""
_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "reason": lambda value: isinstance(value, str),
    LATENCY_ATTRIBUTE: lambda value: (
        isinstance(value, dict)
        and value.keys() >= {"median_ms", "q25_ms", "q75_ms"}
        and all(type(one) in (int, float) and 0 <= one < _LARGEST for one in value.values())
    ),
    AUDIT_ATTRIBUTE: lambda value: type(value) is int and value >= 1,
    COSTS_ATTRIBUTE: lambda value: (
        isinstance(value, list)
        and all(type(one) in (int, float) and abs(one) < _LARGEST for one in value)
    ),
}
_LARGEST = 1e40  # of a number that is measured; a loss of float32 is below
_PIECE = 100
"""Epochs per attribute of a trial: about 20 KB. MySQL allows 64 KB."""


def check_storage(url: str | None) -> None:
    """Connect once, before any work is done. An SQLite file that this makes is removed again.

    Raises:
        InputError: not a URL, another scheme than those of `SCHEMES`, or no database answers.
    """
    if url is None:
        return
    file = sqlite_file(url)
    is_new = file is not None and not file.exists()
    try:
        _database(url).engine.dispose()
    finally:
        if file is not None and is_new:
            file.unlink(missing_ok=True)


def new_study_name(run: Path) -> str:
    """A name that is unique, also where many runs share one database."""
    return f"{run.resolve().name}-{uuid.uuid4().hex[:8]}"


def open_study(
    journal: Path,
    name: str,
    directions: Sequence[Literal["maximize", "minimize"]],
    *,
    storage: str | None = None,
    resume: bool = False,
) -> optuna.Study:
    """A new or an existing study of a run. The caller holds the run folder's lock.

    Args:
        journal: file of the journal storage, used when no URL is given.
        name: of the study within its storage.
        directions: of the metric, then of the costs; only used for a new study.
        storage: database URL.
        resume: whether the study must exist already; otherwise it must not exist.

    Raises:
        InputError: the storage does not answer or is damaged; or the study exists although it must
            not, or is missing.
    """
    where = str(journal) if storage is None else without_password(storage)
    file = None if storage is None else sqlite_file(storage)
    if resume and file is not None and not file.exists():  # SQLite would make an empty one
        raise InputError(
            f"storage {where} does not exist; give the place of the database with --storage"
        ) from KeyError(name)
    try:
        backend: BaseStorage = _database(storage) if storage else open_journal(journal)
    except (InputError, StorageError):
        raise
    except Exception as error:  # any record of a journal may be wrong
        raise InputError(f"storage {where} is damaged: {error!r:.160}") from error
    try:
        if resume:
            return optuna.load_study(study_name=name, storage=backend)
        return optuna.create_study(study_name=name, storage=backend, directions=directions)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise InputError(f"storage {where} already has a study {name!r}") from error
    except KeyError as error:
        raise InputError(f"storage {where} has no study {name!r} to resume") from error


def has_study(journal: Path, name: str, *, storage: str | None = None) -> bool:
    """Whether an interrupted run has created its study.

    Raises:
        InputError: the storage does not answer or is damaged.
    """
    if storage is None and not journal.exists():
        return False
    try:
        open_study(journal, name, ["maximize"], storage=storage, resume=True)
    except InputError as error:
        if isinstance(error.__cause__, KeyError):
            return False
        raise
    return True


def store_history(trial: optuna.Trial, history: list[dict[str, Any]]) -> None:
    """Store the metrics of every epoch with a trial, in pieces: databases limit an attribute."""
    pieces = range(0, max(1, len(history)), _PIECE)
    for number, start in enumerate(pieces):
        trial.set_user_attr(_piece_name(number), history[start : start + _PIECE])


def history_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """The metrics of every epoch of a trial that has ended."""
    history: list[dict[str, Any]] = []
    number = 0
    while (piece := trial.user_attrs.get(_piece_name(number))) is not None:
        history += piece
        number += 1
    return history


def _piece_name(number: int) -> str:
    return f"history-{number}" if number else "history"


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials of a search that have ended, in order.

    Raises:
        InputError: the study has trials that no search recorded, or an attribute of a trial has
            another type or value than a search gives it.
    """
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    for trial in finished:
        if not trial.user_attrs.keys() >= _RECORDED.keys():
            raise InputError(
                f"study {study.study_name!r} has trials that no search recorded, such as number "
                f"{trial.number}; give a search a study of its own"
            )
        for name, holds in (*_RECORDED.items(), *_OPTIONAL.items()):
            value = trial.user_attrs.get(name)
            if (value is not None or name in _RECORDED) and not holds(value):
                raise InputError(
                    f"study {study.study_name!r} is damaged: {name} of trial {trial.number} is "
                    f"{value!r:.80}; restore the study, or search again"
                )
        _check_history(study, trial)
    return finished


def _check_history(study: optuna.Study, trial: FrozenTrial) -> None:
    pieces = [v for name, v in trial.user_attrs.items() if name.startswith("history")]
    if not all(isinstance(piece, list) and all(map(_are_metrics, piece)) for piece in pieces):
        raise InputError(
            f"study {study.study_name!r} is damaged: trial {trial.number} has a history that is no "
            "list of metrics; restore the study, or search again"
        )


def _are_metrics(epoch: Any) -> bool:
    """Whether these are the metrics of an epoch, and finite."""
    names = {one.name for one in fields(EpochMetrics)}
    return (
        isinstance(epoch, dict)
        and epoch.keys() == names
        and all(type(value) in (int, float) and abs(value) < _LARGEST for value in epoch.values())
        and epoch["epoch"] >= 1
        and epoch["epoch"] % 1 == 0
    )


def _database(url: str) -> RDBStorage:
    shown = without_password(url)
    scheme = url.partition("://")[0].partition("+")[0]
    if "://" not in url or scheme not in SCHEMES or ":memory:" in url:
        raise InputError(
            f"storage {shown!r} is not a database of {', '.join(SCHEMES)} on disk or on a server; "
            "write for example sqlite:///study.db, or omit --storage for a journal file"
        )
    # A server may restart, so connections to it are tested before they are used.
    options: dict[str, Any] = {} if scheme == "sqlite" else {"pool_pre_ping": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options in the URL that are not used
            storage = RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        driver = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}.get(scheme, scheme)
        raise InputError(
            f"storage {shown} needs a Python driver that is not installed: pip install "
            f"'relu-search[{scheme}]', and write {driver}://..."
        ) from error
    except Exception as error:  # each database driver has its own exceptions
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        hint = "; a run folder keeps no password, so give it in the URL, PGPASSWORD or ~/.pgpass"
        raise InputError(
            f"storage {shown} cannot be opened: {lines[0][:160]}{hint if options else ''}"
        ) from error
    if scheme == "sqlite" and not _is_on_disk(storage):
        raise InputError(
            f"storage {shown!r} is in memory alone, and the study would be lost; write for example "
            "sqlite:///study.db, or omit --storage for a journal file"
        )
    return storage


def _is_on_disk(storage: RDBStorage) -> bool:
    """Whether SQLite keeps a database in a file. Many spellings of a URL mean that it does not."""
    with storage.engine.connect() as connection:
        rows = connection.exec_driver_sql("PRAGMA database_list").all()
    return all(file and Path(file).is_file() for _, name, file in rows if name == "main")
