"""Faults that end a whole run instead of one trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trials.training.metrics import DIVERGED

if TYPE_CHECKING:
    from trials.running.proposals import Proposal

COMMON_CAUSE = 3
"""So many trials in a row that fail with the same words have a common cause."""


class RunStoppedError(RuntimeError):
    """A run cannot go on, though what it has finished stays: the message says why, in one line."""


class CommonCause:
    """Concludes trials, and notices when all fail the same way: say, no worker can read the data.

    A failed trial is concluded only when the next one has ended otherwise. So those that failed by
    a common cause stay open, cost nothing of the budget, and are trained when the run goes on. A
    diverged training does not count: that is what a search wants to know of a placement.

    Args:
        conclude: told of a trial that has ended, and why it failed or None.
    """

    def __init__(self, conclude: Callable[[Proposal, str | None], None]) -> None:
        self._conclude = conclude
        self._held: list[tuple[Proposal, str]] = []

    def ended(self, proposal: Proposal, failure: str | None) -> None:
        """A trial has ended.

        Raises:
            RunStoppedError: it is one of `COMMON_CAUSE` in a row that failed with the same words.
        """
        if failure is None or failure.startswith(DIVERGED):
            self.release()
            self._conclude(proposal, failure)
            return
        if self._held and self._held[-1][1] != failure:
            self.release()
        self._held.append((proposal, failure))
        if len(self._held) == COMMON_CAUSE:
            raise RunStoppedError(f"{COMMON_CAUSE} trials in a row failed the same way: {failure}")

    def release(self) -> None:
        """Conclude the failed trials that were held back."""
        while self._held:
            self._conclude(*self._held.pop(0))
