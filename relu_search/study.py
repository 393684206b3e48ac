"""Open the Optuna study of a search: a journal file by default, any Optuna database by URL."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from relu_search.config import without_password
from search_spaces import InputError

SCHEMES = ("sqlite", "postgresql", "mysql")
Mode = Literal["new", "resume", "replace"]


def check_storage(url: str | None) -> None:
    """Connect once, before any work is done.

    Raises:
        InputError: not a URL, of another scheme than `SCHEMES`, or nothing answers there.
    """
    if url is not None:
        _database(url)


def open_study(
    journal: Path,
    name: str,
    direction: Literal["maximize", "minimize"],
    *,
    storage: str | None = None,
    mode: Mode = "new",
) -> optuna.Study:
    """The study of a run.

    Args:
        journal: file of the journal storage, used when no URL is given.
        name: of the study within its storage.
        direction: of the metric.
        storage: database URL.
        mode: `new` must not find a study of that name, `resume` must find one, `replace` deletes
            what it finds.

    Raises:
        InputError: the storage does not answer, or has or lacks the study against expectation.
    """
    where = str(journal) if storage is None else without_password(storage)
    backend: BaseStorage = (
        _database(storage) if storage else JournalStorage(JournalFileBackend(str(journal)))
    )
    try:
        if mode == "resume":
            return optuna.load_study(study_name=name, storage=backend)
        if mode == "replace" and name in optuna.get_all_study_names(backend):
            optuna.delete_study(study_name=name, storage=backend)
        return optuna.create_study(study_name=name, storage=backend, direction=direction)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise InputError(
            f"storage {where} already has a study {name!r}; choose another --out, --resume the "
            "run, or --overwrite it"
        ) from error
    except KeyError as error:
        raise InputError(f"storage {where} has no study {name!r} to go on with") from error


def _database(url: str) -> RDBStorage:
    shown = without_password(url)
    scheme = url.partition("://")[0].partition("+")[0]
    if "://" not in url or scheme not in SCHEMES:
        raise InputError(
            f"storage {shown!r} is no database URL of {', '.join(SCHEMES)}; write for example "
            "sqlite:///study.db, or leave --storage out for a journal file"
        )
    try:
        return RDBStorage(url)
    except Exception as error:  # each database driver has its own exceptions
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"storage {shown} cannot be opened: {lines[0][:160]}") from error
