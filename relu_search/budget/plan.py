"""How long a search takes and what it needs, by a measured epoch: the estimate before it starts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from relu_search.settings.limits import bytes_text, duration_text
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.data.image_sets import TrainingData
from trials.running.devices import Say, TrialNeeds, measured_needs
from trials.running.faults import ALONE, out_of_memory

if TYPE_CHECKING:
    from trials.fine_tuning.weights import StartingWeights

TOP, SEEDS = 3, 6
"""Placements and seeds of a confirmation with its default options."""
_MOST_MEASURED = 8
"""Workers that measure at the same time, at most."""


class TooShortError(InputError):
    """No trial fits into a time budget.

    Args:
        budget: as it was given.
        trial, beside: seconds of a trial, and of what comes before the first and after the last.
        share: of the budget, what the search gets.
    """

    def __init__(self, budget: str, trial: float, beside: float, share: float = 1.0) -> None:
        part = "" if share == 1 else f", of which the search gets {share:.0%},"
        super().__init__(
            f"time budget {budget}{part} is too short for one trial, which takes about "
            f"{duration_text(trial)} beside {duration_text(beside)} of preparation and summary; "
            f"give at least {duration_text(math.ceil((trial + beside) / share))}, or fewer --epochs"
        )
        self.trial, self.beside = trial, beside

    def of_part(self, whole: str, share: float) -> TooShortError:
        """The same, of a search that gets a share of a whole budget."""
        return TooShortError(whole, self.trial, self.beside, share)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An estimate of a search whose trials all train to the end.

    Attributes:
        needs: of one trial, or of all trials of a pack together.
        epochs: of a trial.
        pack: trials in a worker.
        at_once: trials at the same time.
        trials: that are asked for; None: as many as the time allows.
        limit: seconds that the trials may take; None: there is no limit.
        arms: of a confirmation of this search with default options.
    """

    needs: TrialNeeds
    epochs: int
    pack: int
    at_once: int
    trials: int | None
    limit: float | None
    arms: int

    @property
    def trial_seconds(self) -> float:
        """Of one trial, beside the others that run at the same time."""
        return self.needs.seconds(self.epochs)

    @property
    def per_hour(self) -> float:
        """Trials in an hour."""
        return 3600 * self.at_once / self.trial_seconds

    def trials_in(self, seconds: float) -> int:
        """Trials that can start and end in this time, in which the processes start, too."""
        left = max(0.0, seconds - self.needs.start_seconds)
        return self.at_once * math.floor(left / self.trial_seconds)

    def seconds_for(self, trainings: int) -> float:
        """Time for so many trainings, with the start of the processes."""
        rounds = math.ceil(trainings / self.at_once)
        return self.needs.start_seconds + rounds * self.trial_seconds

    @property
    def expected(self) -> int:
        """Trials of the whole search."""
        in_time = math.inf if self.limit is None else self.trials_in(self.limit)
        return int(min(in_time, math.inf if self.trials is None else self.trials))

    @property
    def memory(self) -> int:
        """Bytes of all workers together."""
        return math.ceil(self.at_once / self.pack) * self.needs.memory

    @property
    def disk(self) -> int:
        """Bytes of the weights of all trials, the best model, and the checkpoints."""
        return (self.expected + 1) * self.needs.weights + self.at_once * self.needs.checkpoint

    @property
    def confirm_trainings(self) -> int:
        """Trainings of a confirmation with default options."""
        return self.arms * SEEDS

    def estimate(self) -> str:
        """What fits into the time, in one line."""
        assert self.limit is not None
        trials = f"{self.expected} trial{'s'[: self.expected != 1]}"
        return estimate_text(trials, self.limit, self.trial_seconds, self.at_once)

    def lines(self) -> Iterator[str]:
        """The whole estimate as sentences."""
        yield (
            f"One trial takes {duration_text(self.trial_seconds)} (epochs of "
            f"{duration_text(self.needs.epoch_seconds)}, measured), and {self.at_once} run at once:"
            f" {self.per_hour:.3g} trials per hour. Early stopping can only shorten this."
        )
        if self.limit is not None:
            yield f"In {duration_text(self.limit)}: about {self.trials_in(self.limit)} trials."
        if self.trials is not None:
            hours = duration_text(self.seconds_for(self.trials))
            yield f"{self.trials} trial{'s'[: self.trials != 1]}: {hours}."
        what = "trial" if self.pack == 1 else f"pack of {self.pack} trials"
        yield (
            f"Memory: {bytes_text(self.needs.memory)} for each {what}, "
            f"{bytes_text(self.memory)} together."
        )
        yield (
            f"Disk: {bytes_text(self.disk)} for {self.expected} trials; the weights of one are "
            f"{bytes_text(self.needs.weights)}."
        )
        longer = "" if self.pack == 1 else ", and longer as it does not train in packs"
        yield (
            f"A confirmation ({self.arms} placements, {SEEDS} seeds) is {self.confirm_trainings} "
            f"trainings: {duration_text(self.seconds_for(self.confirm_trainings))}{longer}."
        )

    def record(self) -> dict[str, Any]:
        """What the run folder keeps of it."""
        return {
            "trials": self.expected,
            "trial_seconds": self.trial_seconds,
            "at_once": self.at_once,
        }

    def to_json(self) -> dict[str, Any]:
        """All numbers; times in seconds, sizes in bytes."""
        return {
            **asdict(self.needs),
            "trial_seconds": self.trial_seconds,
            "at_once": self.at_once,
            "trials_per_hour": self.per_hour,
            "time_budget": self.limit,
            "trials_in_time_budget": None if self.limit is None else self.trials_in(self.limit),
            "trials": self.trials,
            "seconds_for_trials": None if self.trials is None else self.seconds_for(self.trials),
            "memory_together": self.memory,
            "disk": self.disk,
            "confirm_trainings": self.confirm_trainings,
            "confirm_seconds": self.seconds_for(self.confirm_trainings),
        }


def measured_plan(
    config: ResolvedConfig,
    data: TrainingData,
    call: Callable[..., Any],
    *,
    at_once: int,
    say: Say,
) -> Plan:
    """The estimate of a search, by trainings in as many workers as the search will use.

    Args:
        config: its options; `pack` is a number.
        data: of the search.
        call: calls the measurement where a trial would run; see `call_in_worker`.
        at_once: trials at the same time.
        say: is told the progress.

    Raises:
        InputError: a training fails.
    """
    assert config.pack != "auto"
    kept = config.network.paired
    specs = [config.trial_spec(kept)] * config.pack
    how = specs, data, config.compiled, config.captured, config.deterministic
    workers = math.ceil(at_once / config.pack)
    return Plan(
        needs=needs_at_once(call, workers, *how, weights=config.start, say=say),
        epochs=config.epochs,
        pack=config.pack,
        at_once=at_once,
        trials=config.trials,
        limit=config.time_limit,
        arms=len({**config.references, **config.own_placements}) + TOP,
    )


def needs_at_once(
    call: Callable[..., TrialNeeds],
    workers: int,
    *how: Any,
    say: Say,
    weights: StartingWeights | None = None,
) -> TrialNeeds:
    """What a trial needs while others run: means of as many measurements at the same time.

    Args:
        call: calls `measured_needs` where a trial would run.
        workers: that train at the same time; at most `_MOST_MEASURED` measure. If they fill a
            GPU, half as many measure, as the trials themselves would then share it.
        how: arguments of `measured_needs`.
        weights: from which the trials start.

    Raises:
        InputError: one training alone needs more memory than a GPU has.
    """
    measure = partial(measured_needs, weights=weights)
    count, began = min(_MOST_MEASURED, workers), time.monotonic()
    try:
        with ThreadPoolExecutor(count) as pool:
            asked = [pool.submit(call, measure, *how, say=say) for _ in range(count)]
            found = [one.result() for one in asked]
    except RuntimeError as error:
        if (reason := out_of_memory(error)) is None:
            raise
        if count == 1:
            raise InputError(reason + ALONE) from error
        say(f"{reason} with {count} at once; {count // 2} are measured")
        return needs_at_once(call, count // 2, *how, say=say, weights=weights)
    slowest = max(one.measured_seconds for one in found)
    return replace(
        found[0],
        epoch_seconds=fmean(one.epoch_seconds for one in found),
        other_seconds=fmean(one.other_seconds for one in found),
        memory=max(one.memory for one in found),
        measured_seconds=slowest,
        start_seconds=max(0.0, time.monotonic() - began - slowest),
    )


def estimate_text(what: str, seconds: float, each: float, at_once: int) -> str:
    """How much fits into a time, in one line."""
    return (
        f"about {what} in {duration_text(seconds)}: {duration_text(each)} each by a measured "
        f"epoch, {at_once} at once"
    )
