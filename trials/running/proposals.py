"""The interface between a scheduler, which runs trials, and a proposer, which chooses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A trial to run.

    Attributes:
        number: identifies the trial within its search.
        spec: what to train.
        protected: it is never stopped early; its metrics still count when others are judged.
        costs: further objectives to minimise, known before training.
        passed: last epoch that it had finished before an interruption; earlier ones were judged.
    """

    number: int
    spec: TrialSpec
    protected: bool = False
    costs: tuple[float, ...] = ()
    passed: int = 0


class Proposer(Protocol):
    """Decides what is trained next, and learns from the results.

    All calls come from one thread. A proposed trial is observed once per finished epoch, in order,
    and then concluded once. Trials that are not concluded when the scheduler returns were
    interrupted.
    """

    def propose(self) -> Proposal | None:
        """The next trial, or None if there are no more."""

    def observe(self, number: int, metrics: EpochMetrics) -> bool:
        """An epoch of a trial has finished; whether the trial must end here."""

    def conclude(self, number: int, failure: str | None) -> bool:
        """A trial has ended: trained to the end, stopped early, or failed for this reason.

        Returns:
            Whether it is over; False: a later run goes on with it, from its checkpoint.
        """
