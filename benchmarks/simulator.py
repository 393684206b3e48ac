"""Searches replayed against a table: the real proposer, the real ASHA rules, a simulated clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import optuna
from ray.tune.schedulers import ASHAScheduler

from benchmarks.relu_bench import Table
from benchmarks.stock import StockProposer
from relu_search.config import DIRECTIONS, Metric
from relu_search.proposer import StudyProposer
from search_spaces import Placement, SearchSpace, reference_modules
from trials.proposals import Proposal, Proposer
from trials.scheduling import EarlyStopping
from trials.training import EpochMetrics
from trials.trial import TrialSpec

STOCK = "stock"
"""In the place of a sampler's name: Ray's own `OptunaSearch`."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial that a replay has concluded.

    Attributes:
        row: of the table.
        seed: of the table.
        epochs: trained.
        failed: the recorded training diverged.
        clock: simulated seconds since the start of the search.
    """

    row: int
    seed: int
    epochs: int
    failed: bool
    clock: float


@dataclass(kw_only=True)
class Replay:
    """One search against a table.

    The proposer and the scheduler are those of a real search. A placement that is proposed for
    the k-th time gets the k-th of `seeds`, as in a search whose own seed differs from replay to
    replay.

    Args:
        sampler: a name of `SAMPLERS`, or `STOCK`.
        workers: trials at once.
        early_stopping: ASHA, or all trials to the end.
        seeds: of the table, in the order of use.
        seed: of the sampler.
    """

    table: Table
    sampler: str
    trials: int
    seeds: Sequence[int]
    metric: Metric = "val_loss"
    workers: int = 1
    early_stopping: bool = True
    grace_epochs: int = 1
    reduction_factor: float = 3
    seed: int = 0
    min_relus: int = 1
    ended: list[Ended] = field(default_factory=list)

    def run(self) -> Replay:
        """Play the search to its end; `ended` has the trials in order of their ends."""
        spec = self.table.spec
        space = SearchSpace(
            spec.backbone, spec.granularity, min_relus=self.min_relus, width=spec.width
        )
        common: dict[str, Any] = {
            "references": reference_modules(space.backbone),
            "spec_of": self._trial_spec,
            "metric": self.metric,
            "trials": self.trials,
            "seed": self.seed,
        }
        proposer: Proposer
        if self.sampler == STOCK:
            proposer = StockProposer(space, **common)
        else:
            study = optuna.create_study(direction=DIRECTIONS[self.metric])
            proposer = StudyProposer(study, space, sampler=self.sampler, **common)
        stopping = EarlyStopping(
            metric=self.metric,
            mode="max" if DIRECTIONS[self.metric] == "maximize" else "min",
            max_epochs=spec.recipe.epochs,
            grace_epochs=self.grace_epochs if self.early_stopping else spec.recipe.epochs,
            reduction_factor=self.reduction_factor,
        )
        self._play(proposer, stopping.scheduler())
        return self

    def _play(self, proposer: Proposer, asha: ASHAScheduler) -> None:
        clock = 0.0
        queue: list[tuple[float, int, Proposal, int]] = []  # (time, number, proposal, epoch)
        open_: dict[int, SimpleNamespace] = {}
        more = True
        while True:
            while more and len(open_) < self.workers:
                proposal = proposer.propose()
                more = proposal is not None
                if proposal is not None:
                    trial = SimpleNamespace(
                        config={"number": proposal.number, "protected": proposal.protected}
                    )
                    open_[proposal.number] = trial
                    asha.on_trial_add(None, trial)
                    self._schedule(queue, clock, proposal, 1)
            if not queue:
                return
            clock, number, proposal, epoch = heapq.heappop(queue)
            trial, metrics = open_[number], self._metrics(proposal.spec, epoch)
            failure = None
            if metrics is None:
                decision, failure = "STOP", "the recorded training diverged"
            else:
                proposer.observe(number, metrics)
                result = {"epoch": epoch, self.metric: getattr(metrics, self.metric)}
                decision = asha.on_trial_result(None, trial, result)
            if decision == "CONTINUE" and epoch < self.table.spec.recipe.epochs:
                self._schedule(queue, clock, proposal, epoch + 1)
                continue
            if metrics is None:
                asha.on_trial_remove(None, trial)
            del open_[number]
            proposer.conclude(number, failure)
            self.ended.append(
                Ended(
                    row=self.row_of(proposal.spec),
                    seed=proposal.spec.seed,
                    epochs=epoch - (metrics is None),
                    failed=metrics is None,
                    clock=clock,
                )
            )

    def _schedule(
        self,
        queue: list[tuple[float, int, Proposal, int]],
        clock: float,
        proposal: Proposal,
        epoch: int,
    ) -> None:
        row = self.row_of(proposal.spec)
        seconds = self.table.seconds[row, proposal.spec.seed] / self.table.spec.recipe.epochs
        heapq.heappush(queue, (clock + float(seconds), proposal.number, proposal, epoch))

    def row_of(self, spec: TrialSpec) -> int:
        bits = Placement.parse(spec.placement).bits
        return self.table.row_of[bits]

    def _metrics(self, spec: TrialSpec, epoch: int) -> EpochMetrics | None:
        known = {
            name: float(values[self.row_of(spec), spec.seed, epoch - 1])
            for name, values in self.table.metrics.items()
            if name in EpochMetrics.__annotations__
        }
        if any(map(math.isnan, known.values())):
            return None
        return EpochMetrics(epoch=epoch, seconds=0.0, **known)

    def _trial_spec(self, placement: Placement, repeat: int) -> TrialSpec:
        return self.table.spec.trial(placement, self.seeds[repeat % len(self.seeds)])
