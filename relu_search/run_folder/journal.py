"""Optuna's journal file, with many records in one write: each write waits for the disk."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search_spaces import InputError
from trials.files.durable import cut_half_line, storage_errors


class GroupingJournal(JournalFileBackend):
    """A journal whose one writer may hold records back for a moment.

    A proposal of 36 choices is 40 records. Held back, they are read as if they were in the file,
    and reach the disk together. Write errors are those of the run folder.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self._file = file
        self._held: list[dict[str, Any]] | None = None
        self._first_held: int | None = None  # its number in the journal

    @contextlib.contextmanager
    def grouped(self) -> Iterator[None]:
        """Hold back all records until the end of the block."""
        self._held, self._first_held = [], None
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                self.append_logs(held)
            self._learn_where_records_lie()

    def _learn_where_records_lie(self) -> None:
        """Optuna does so while it reads from the file, and else would read all of it next time."""
        if self._first_held is not None:
            deque(super().read_logs(self._first_held), maxlen=0)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._held is None:
            with storage_errors(self._file):
                super().append_logs(logs)
        else:
            self._held += [json.loads(json.dumps(log)) for log in logs]

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        number = log_number_from
        if self._held is None or self._first_held is None:
            for log in super().read_logs(log_number_from):
                number += 1
                yield log
        if self._held is not None:
            if self._first_held is None:
                self._first_held = number
            yield from self._held[number - self._first_held :]


def open_journal(file: Path) -> JournalStorage:
    """The journal, relieved of what a killed process left: half a line, its lock.

    Raises:
        InputError: a line in the middle is damaged.
    """
    lines = []
    if file.exists():
        cut_half_line(file)
        lines = file.read_bytes().splitlines()
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    whole = next((n for n, line in enumerate(lines) if not _is_record(line)), len(lines))
    if whole < len(lines):
        raise InputError(
            f"{file} is damaged at line {whole + 1}; finished trials are in trials.csv beside it. "
            f"To go on with what came before, keep the first {whole} lines and move trials.csv away"
        )
    return JournalStorage(GroupingJournal(file))


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def one_write(study: optuna.Study) -> contextlib.AbstractContextManager[None]:
    """A block in which a study in a journal writes once; a database writes as ever."""
    storage = study._storage
    if isinstance(storage, JournalStorage) and isinstance(storage._backend, GroupingJournal):
        return storage._backend.grouped()
    return contextlib.nullcontext()
