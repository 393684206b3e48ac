"""How long a run may take: may a trial still start, and must a running one end?"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.training.spec import TrialSpec

OUT_OF_TIME = "the time budget was spent"
"""Reason of a trial that the time budget has ended."""
_RECENT = 16
"""Ended trials from which the time of the next one is predicted."""
_SAVED_EVERY = 1.0  # seconds, at most
_LATE = 0.02
"""Share of the budget by which a trial may end after it."""


class TimeBudget:
    """The wall time of a run, of all its processes together.

    A trial may start before the budget is spent, if it is expected to end at most 2 % of the budget
    later. What still runs after these 2 % ends at its next epoch. So a search of short trials ends
    with its budget, and a longer trial that needs a little more is not left out.

    The time of a trial is predicted from its work, the product of its epochs and its sites: the
    seconds per work of the last trials, their upper quartile. Until a trial has ended, it is what
    `expect` was told, or nothing. The seconds before the end of a first epoch count only if there
    is no further epoch, because they may be those in which a process starts. What a trial takes
    beside its epochs does no harm if it is less than an epoch: a trial that ends within an epoch
    after these 2 % is a whole one.

    Args:
        seconds: that the run may take; None: there is no limit.
        spent: seconds that earlier processes of the run took.
        since: moment of the clock from which this process counts; None: now.
        reserve: of the seconds, those that are kept for what follows the trials.
        clock: seconds since any moment.

    Attributes:
        save: is told the seconds spent, at the start of a trial and after an epoch, at most once a
            second.
    """

    def __init__(
        self,
        seconds: float | None = None,
        *,
        spent: float = 0.0,
        since: float | None = None,
        reserve: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.save: Callable[[float], None] = lambda _spent: None
        limit = math.inf if seconds is None else seconds
        self._limit = limit - reserve
        self._late = _LATE * limit
        self._clock = clock
        self._began = (clock() if since is None else since) - spent
        self._expected = 0.0
        self._rates: deque[float] = deque(maxlen=_RECENT)
        self._running: dict[int, list[float]] = {}  # when begun, and when each epoch ended
        self._out_of_time: set[int] = set()
        self._saved = -math.inf

    @property
    def spent(self) -> float:
        """Seconds that the run has taken."""
        return self._clock() - self._began

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._limit < math.inf

    @property
    def left(self) -> float:
        """Seconds that are left for trials; infinite without a limit."""
        return self._limit - self.spent

    def expect(self, spec: TrialSpec, seconds: float) -> None:
        """Set the time that a trial is expected to take, for the time before one has ended."""
        self._expected = seconds / _work(spec)

    def may_start(self, spec: TrialSpec) -> bool:
        """Whether a trial can be trained to its end in the time that is left, or a little later."""
        return self.left > 0 and self.left + self._late >= self._rate * _work(spec)

    def started(self, number: int) -> None:
        """A trial has begun, or goes on after an interruption."""
        self._running[number] = [self._clock()]
        self._record_at_times()

    def epoch_ended(self, number: int) -> bool:
        """A trial has finished an epoch; whether it must end now."""
        self._running[number].append(self._clock())
        self._record_at_times()
        if self.left + self._late <= 0:
            self._out_of_time.add(number)
        return number in self._out_of_time

    def ended(self, number: int, spec: TrialSpec) -> bool:
        """A trial has ended; whether the budget has ended it."""
        times = self._running.pop(number)
        first, *others = times[1:] if len(times) > 2 else times
        if others:
            per_epoch = (others[-1] - first) / len(others)
            self._rates.append(per_epoch / len(spec.backbone.sites))
        return number in self._out_of_time

    def record(self) -> None:
        """Save the time spent."""
        self._saved = self.spent
        self.save(self._saved)

    def _record_at_times(self) -> None:
        if self.spent - self._saved >= _SAVED_EVERY:
            self.record()

    @property
    def _rate(self) -> float:
        """Seconds per work that the next trial is expected to need."""
        if not self._rates:
            return self._expected
        return sorted(self._rates)[math.ceil(0.75 * len(self._rates)) - 1]


def _work(spec: TrialSpec) -> int:
    return spec.recipe.epochs * len(spec.backbone.sites)
