"""Open the Optuna study of a search: a journal file by default, any Optuna database by URL."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from relu_search.config import without_password
from search_spaces import InputError

SCHEMES = ("sqlite", "postgresql", "mysql")


def check_storage(url: str | None) -> None:
    """Reject a URL that no storage of ours understands, before any work is done.

    Raises:
        InputError: not a URL, or of another scheme than `SCHEMES`.
    """
    if url is None:
        return
    scheme = url.partition("://")[0].partition("+")[0]
    if "://" not in url or scheme not in SCHEMES:
        raise InputError(
            f"storage {without_password(url)!r} is no database URL of {', '.join(SCHEMES)}; write "
            "for example sqlite:///study.db, or leave --storage out for a journal file"
        )


def open_study(
    journal: Path,
    name: str,
    direction: Literal["maximize", "minimize"],
    *,
    storage: str | None = None,
    resume: bool = False,
) -> optuna.Study:
    """The study of a run, new or to be resumed.

    Args:
        journal: file of the journal storage, used when no URL is given.
        name: of the study within its storage.
        direction: of the metric.
        storage: database URL.
        resume: the study must exist already; else it must not.

    Raises:
        InputError: the storage does not answer, or has or lacks the study against expectation.
    """
    check_storage(storage)
    where = str(journal) if storage is None else without_password(storage)
    try:
        backend = (
            _database(storage) if storage else JournalStorage(JournalFileBackend(str(journal)))
        )
        if resume:
            return optuna.load_study(study_name=name, storage=backend)
        return optuna.create_study(study_name=name, storage=backend, direction=direction)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise InputError(
            f"storage {where} already has a study {name!r}; choose another --out, or --resume it"
        ) from error
    except KeyError as error:
        raise InputError(f"storage {where} has no study {name!r} to go on with") from error
    except Exception as error:  # each database driver has its own exceptions
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"storage {where} cannot be opened: {lines[0][:160]}") from error


def _database(url: str) -> RDBStorage:
    with contextlib.redirect_stderr(io.StringIO()):  # Optuna logs the connection error as well
        return RDBStorage(url)
