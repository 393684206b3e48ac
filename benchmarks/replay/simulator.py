"""Searches replayed against a table: the real proposer, the real ASHA rules, a simulated clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from benchmarks.relu_bench import SyntheticTable, Table
from benchmarks.replay.baselines import RULES, RuleProposer
from benchmarks.replay.stock import StockProposer
from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.samplers.study_arrays import Prior
from relu_search.search.costs import Costs
from relu_search.search.proposer import StudyProposer
from relu_search.settings.limits import default_grace
from relu_search.settings.metrics import METRICS, Cost, MetricName
from relu_search.settings.search_config import SearchConfig
from relu_search.settings.search_options import COARSE_TO_FINE
from search_spaces import Placement, SearchSpace, reference_modules
from trials.early_stopping.rule import EarlyStopping, Signal
from trials.on_ray.asha import scheduler_of
from trials.on_ray.compat import SchedulerTrial, add_trial, remove_trial, report
from trials.running.proposals import Proposal, Proposer
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec

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
        protected: it was not to be stopped.
        audited: it would have been stopped.
        trusted_at: first rung that it reached when the rung was trusted; None: none was.
    """

    row: int
    seed: int
    epochs: int
    failed: bool
    clock: float
    protected: bool = False
    audited: bool = False
    trusted_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One search against a table.

    The proposer and the scheduler are those of a real search. A placement that is proposed for
    the k-th time gets the k-th of `seeds`, as in a search whose own seed differs from replay to
    replay.

    Args:
        sampler: a name of `SAMPLERS`; `STOCK`; `coarse-to-fine`; or a rule of `RULES`, which has no
            first points but its own.
        workers: trials at once.
        early_stopping: as in a search, or all trials to the end.
        grace_epochs: None: the default of a search.
        seeds: of the table, in the order of use.
        seed: of the sampler.
        costs: objectives beside the metric.
        references: begin with the hand-designed modules and the control.
        first: tried next.
        prior: trials of an earlier search, as data of the model.
    """

    table: Table | SyntheticTable
    sampler: str
    trials: int
    seeds: Sequence[int]
    metric: MetricName = "val_loss"
    workers: int = 1
    early_stopping: bool = True
    grace_epochs: int | None = None
    stop_on: Signal = "train-loss-sum"
    seed: int = 0
    min_relus: int = 1
    costs: tuple[Cost, ...] = ()
    references: bool = True
    first: tuple[Placement, ...] = ()
    prior: Prior | None = None

    def run(self) -> list[Ended]:
        """Play the search to its end; trials in order of their ends."""
        stopping = self._stopping()
        asha = scheduler_of(stopping)
        trusted_at: dict[int, int] = {}
        proposer = self._proposer()
        ended: list[Ended] = []
        clock = 0.0
        events: list[tuple[float, int, int]] = []  # (time, number of the trial, epoch)
        running: dict[int, Proposal] = {}
        more = True
        while True:
            while more and len(running) < self.workers:
                proposal = proposer.propose()
                more = proposal is not None
                if proposal is not None:
                    running[proposal.number] = proposal
                    add_trial(asha, SchedulerTrial.of(proposal))
                    heapq.heappush(events, (clock + self._seconds(proposal), proposal.number, 1))
            if not events:
                return ended
            clock, number, epoch = heapq.heappop(events)
            proposal = running[number]
            metrics = self._metrics(proposal.spec, epoch)
            goes_on = metrics is not None and self._goes_on(proposer, asha, proposal, metrics)
            if epoch in stopping.rungs and number not in trusted_at:
                evidence = asha.evidence.at(epoch)
                if evidence is not None and evidence.trusted:
                    trusted_at[number] = epoch
            if goes_on:
                heapq.heappush(events, (clock + self._seconds(proposal), number, epoch + 1))
                continue
            del running[number]
            failed = metrics is None
            if failed:
                remove_trial(asha, SchedulerTrial.of(proposal))
            proposer.conclude(number, "the recorded training diverged" if failed else None)
            row, seed = self.row_of(proposal.spec), proposal.spec.seed
            done = epoch - 1 if failed else epoch
            ended.append(
                Ended(
                    row=row,
                    seed=seed,
                    epochs=done,
                    failed=failed,
                    clock=clock,
                    protected=proposal.protected,
                    audited=number in asha.audits,
                    trusted_at=trusted_at.get(number),
                )
            )

    def _stopping(self) -> EarlyStopping:
        epochs = self.table.spec.recipe.epochs
        grace = default_grace(epochs) if self.grace_epochs is None else self.grace_epochs
        return EarlyStopping(
            metric=self.metric,
            mode=METRICS[self.metric].mode,
            max_epochs=epochs,
            grace_epochs=grace if self.early_stopping else epochs,
            signal=self.stop_on,
            seed=self.seed,
        )

    def _goes_on(
        self, proposer: Proposer, asha: Any, proposal: Proposal, metrics: EpochMetrics
    ) -> bool:
        proposer.observe(proposal.number, metrics)
        goes_on = report(asha, SchedulerTrial.of(proposal), metrics.to_json())
        return goes_on and metrics.epoch < self.table.spec.recipe.epochs

    def _proposer(self) -> Proposer:
        spec = self.table.spec
        granularity = "block" if self.sampler == COARSE_TO_FINE else spec.granularity
        space = SearchSpace(spec.backbone, granularity, min_relus=self.min_relus, width=spec.width)
        if self.sampler in RULES:
            return RuleProposer(
                space,
                rule=self.sampler,
                spec_of=self._trial_spec,
                trials=self.trials,
                seed=self.seed,
            )
        references = reference_modules(space.backbone) if self.references else {}
        common: dict[str, Any] = {
            "references": references,
            "spec_of": self._trial_spec,
            "metric": self.metric,
            "trials": self.trials,
            "seed": self.seed,
        }
        if self.sampler == STOCK:
            return StockProposer(space, **common)
        common |= {"first": self.first, "prior": self.prior}
        config = SearchConfig(metric=self.metric, objective=",".join(self.costs) or None)
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage, directions=config.resolve().directions)
        if self.costs:
            facts = PlacementFacts(
                backbone=space.backbone, num_classes=10, in_channels=1, image_size=(8, 8)
            )
            costs = Costs(self.costs, facts)
            common |= {"costs_of": costs.of, "site_costs": costs.of_sites()}
        return StudyProposer(study, space, sampler=self.sampler, **common)

    def _seconds(self, proposal: Proposal) -> float:
        """Simulated, for one epoch."""
        row = self.row_of(proposal.spec)
        seconds = self.table.seconds_of(row, proposal.spec.seed)
        return seconds / self.table.spec.recipe.epochs

    def row_of(self, spec: TrialSpec) -> int:
        return self.table.row_of[spec.placement.bits]

    def _metrics(self, spec: TrialSpec, epoch: int) -> EpochMetrics | None:
        known = {
            name: float(values[epoch - 1])
            for name, values in self.table.curves(self.row_of(spec), spec.seed).items()
            if name in EpochMetrics.__annotations__
        }
        if any(map(math.isnan, known.values())):
            return None
        return EpochMetrics(epoch=epoch, seconds=0.0, **known)

    def _trial_spec(self, placement: Placement, repeat: int) -> TrialSpec:
        return self.table.spec.trial(placement, self.seeds[repeat % len(self.seeds)])
