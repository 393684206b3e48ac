"""What the scheduler asks of whoever decides which trial comes next."""

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
        protected: early stopping must leave it alone; what it reports still counts for others.
        costs: further objectives to minimise, known beforehand, the same ones for all trials.
    """

    number: int
    spec: TrialSpec
    protected: bool = False
    costs: tuple[float, ...] = ()


class Proposer(Protocol):
    """Decides what is trained next and learns from what comes back.

    Calls come from one thread. Every proposed trial is observed once per finished epoch, in
    order, then concluded once; trials still open when the scheduler returns were interrupted.
    """

    def propose(self) -> Proposal | None:
        """The next trial, or None when there will be no further one."""

    def observe(self, number: int, metrics: EpochMetrics) -> None:
        """An epoch of a trial has finished."""

    def conclude(self, number: int, failure: str | None) -> None:
        """A trial has ended: trained to the end, stopped early, or failed for a reason."""
