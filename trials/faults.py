"""Faults that end a whole run instead of one trial."""

from __future__ import annotations

DIVERGED = "diverged"
"""First word of the reason of a training that ended by a non-finite loss."""
COMMON_CAUSE = 3
"""So many trials in a row that fail with the same words have a common cause."""


class RunStoppedError(RuntimeError):
    """A run cannot go on, though what it has finished stays: the message says why, in one line."""


class CommonCause:
    """Notices that everything fails the same way, such as by data that no worker can read.

    A diverged training does not count: that is what the search wants to know of a placement.
    """

    def __init__(self) -> None:
        self._last: str | None = None
        self._count = 0

    def hear(self, failure: str | None) -> None:
        """A trial has ended; `failure` is the reason if it failed.

        Raises:
            RunStoppedError: it is one of `COMMON_CAUSE` in a row that failed with the same words.
        """
        if failure is not None and failure.startswith(DIVERGED):
            failure = None
        self._count = self._count + 1 if failure is not None and failure == self._last else 1
        self._last = failure
        if failure is not None and self._count >= COMMON_CAUSE:
            raise RunStoppedError(f"{self._count} trials in a row failed the same way: {failure}")
