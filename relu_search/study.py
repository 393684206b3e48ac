"""Open the Optuna study of a search: a journal file by default, any Optuna database by URL."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from relu_search.config import without_password
from search_spaces import InputError

SCHEMES = ("sqlite", "postgresql", "mysql")


def check_storage(url: str | None) -> None:
    """Connect once, before any work is done.

    Raises:
        InputError: not a URL, of another scheme than `SCHEMES`, or nothing answers there.
    """
    if url is not None:
        _database(url)


def new_study_name(run: Path) -> str:
    """A name that no other run has, also where many share one database."""
    return f"{run.resolve().name}-{uuid.uuid4().hex[:8]}"


def open_study(
    journal: Path,
    name: str,
    direction: Literal["maximize", "minimize"],
    *,
    storage: str | None = None,
    resume: bool = False,
) -> optuna.Study:
    """The study of a run, new or to go on with.

    Args:
        journal: file of the journal storage, used when no URL is given.
        name: of the study within its storage.
        direction: of the metric.
        storage: database URL.
        resume: the study must exist already; else it must not.

    Raises:
        InputError: the storage does not answer or is damaged, or has or lacks the study.
    """
    where = str(journal) if storage is None else without_password(storage)
    try:
        backend: BaseStorage = (
            _database(storage) if storage else JournalStorage(JournalFileBackend(str(journal)))
        )
        if resume:
            return optuna.load_study(study_name=name, storage=backend)
        return optuna.create_study(study_name=name, storage=backend, direction=direction)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise InputError(f"storage {where} already has a study {name!r}") from error
    except KeyError as error:
        raise InputError(f"storage {where} has no study {name!r} to go on with") from error
    except ValueError as error:  # a JSON error among them
        if isinstance(error, InputError):
            raise
        raise InputError(f"storage {where} is damaged: {error}") from error


def _database(url: str) -> RDBStorage:
    shown = without_password(url)
    scheme = url.partition("://")[0].partition("+")[0]
    if "://" not in url or scheme not in SCHEMES or ":memory:" in url:
        raise InputError(
            f"storage {shown!r} is no lasting database of {', '.join(SCHEMES)}; write for example "
            "sqlite:///study.db, or leave --storage out for a journal file"
        )
    try:
        return RDBStorage(url)
    except Exception as error:  # each database driver has its own exceptions
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"storage {shown} cannot be opened: {lines[0][:160]}") from error
