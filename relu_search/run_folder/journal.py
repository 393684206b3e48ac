"""Optuna's journal file, with many records in one write.

Each write waits until the records are on the disk, so fewer writes are faster.
"""

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

from relu_search.compat import JOURNAL_LOCK, journal_of
from search_spaces import InputError
from trials.files.durable import cut_half_line, storage_errors
from trials.files.given import read_given
from trials.files.memory import memory_limit

_MEMORY_PER_BYTE = 20  # of a study, for each byte of its journal


class GroupingJournal(JournalFileBackend):
    """A journal with one writer, which can hold records back and write them together.

    A proposal of 36 choices is 40 records. Records that are held back are read as if they were in
    the file. Write errors are raised as `StorageError`.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self._file = file
        self._held: list[dict[str, Any]] | None = None
        self._first_held: int | None = None  # its number in the journal

    @contextlib.contextmanager
    def grouped(self) -> Iterator[None]:
        """Hold back all records until the end of the block, then write them."""
        self._held, self._first_held = [], None
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                self.append_logs(held)
            self._learn_offsets()

    def _learn_offsets(self) -> None:
        """Let Optuna learn where the new records begin in the file.

        It learns that while it reads; without this, its next read would start at the beginning.
        """
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
    """The journal storage of a file, after removing a killed process's half line and lock.

    Raises:
        InputError: a line in the middle is damaged.
    """
    lines = []
    if file.exists():
        try:
            content = read_given(file, memory_limit() // _MEMORY_PER_BYTE)
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error.strerror or error})") from error
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        cut_half_line(file)
    file.with_name(f"{file.name}{JOURNAL_LOCK}").unlink(missing_ok=True)
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
    """A block in which a study in a journal writes once; a database writes as usual."""
    journal = journal_of(study)
    return journal.grouped() if isinstance(journal, GroupingJournal) else contextlib.nullcontext()
