"""Searches replayed against a table: the real proposer, the real ASHA rules, a simulated clock."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import optuna
from optuna.trial import FrozenTrial

from benchmarks.relu_bench import Table
from relu_search.config import DIRECTIONS, Metric
from relu_search.proposer import StudyProposer
from search_spaces import Placement, SearchSpace, reference_modules
from trials.proposals import Proposal
from trials.scheduling import EarlyStopping
from trials.training import EpochMetrics
from trials.trial import TrialSpec


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial that a replay has concluded.

    Attributes:
        row: of the table.
        seed: of the table.
        epochs: trained.
        state: of Optuna.
        clock: simulated seconds since the start of the search.
    """

    row: int
    seed: int
    epochs: int
    state: str
    clock: float


@dataclass(kw_only=True)
class Replay:
    """One search against a table.

    The proposer and the scheduler are those of a real search. A placement that is proposed for
    the k-th time gets the k-th of `seeds`, as in a search whose own seed differs from replay to
    replay.

    Args:
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
    study: optuna.Study = field(init=False)

    def run(self) -> Replay:
        """Play the search to its end; `ended` has the trials in order of their ends."""
        spec = self.table.spec
        self.study = optuna.create_study(direction=DIRECTIONS[self.metric])
        space = SearchSpace(
            spec.backbone, spec.granularity, min_relus=self.min_relus, width=spec.width
        )
        self._clock = 0.0
        proposer = StudyProposer(
            self.study,
            space,
            references=reference_modules(space.backbone),
            spec_of=self._trial_spec,
            metric=self.metric,
            trials=self.trials,
            sampler=self.sampler,
            seed=self.seed,
            listeners=(self,),
        )
        stopping = EarlyStopping(
            metric=self.metric,
            mode="max" if DIRECTIONS[self.metric] == "maximize" else "min",
            max_epochs=spec.recipe.epochs,
            grace_epochs=self.grace_epochs if self.early_stopping else spec.recipe.epochs,
            reduction_factor=self.reduction_factor,
        )
        self._play(proposer, stopping.scheduler())
        return self

    def _play(self, proposer: StudyProposer, asha: object) -> None:
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
                    asha.on_trial_add(None, trial)  # type: ignore[attr-defined]
                    self._schedule(queue, proposal, 1)
            if not queue:
                return
            self._clock, number, proposal, epoch = heapq.heappop(queue)
            trial, metrics = open_[number], self._metrics(proposal.spec, epoch)
            failure = None
            if metrics is None:
                decision, failure = "STOP", "the recorded training diverged"
            else:
                proposer.observe(number, metrics)
                result = {"epoch": epoch, self.metric: getattr(metrics, self.metric)}
                decision = asha.on_trial_result(None, trial, result)  # type: ignore[attr-defined]
            if decision == "CONTINUE" and epoch < self.table.spec.recipe.epochs:
                self._schedule(queue, proposal, epoch + 1)
                continue
            if metrics is None:
                asha.on_trial_remove(None, trial)  # type: ignore[attr-defined]
            del open_[number]
            proposer.conclude(number, failure)

    def _schedule(
        self, queue: list[tuple[float, int, Proposal, int]], proposal: Proposal, epoch: int
    ) -> None:
        row = self.row_of(proposal.spec)
        seconds = self.table.seconds[row, proposal.spec.seed] / self.table.spec.recipe.epochs
        heapq.heappush(queue, (self._clock + float(seconds), proposal.number, proposal, epoch))

    def row_of(self, spec: TrialSpec) -> int:
        bits = Placement.parse(spec.placement).bits
        return self.table.row_of[bits]

    def _metrics(self, spec: TrialSpec, epoch: int) -> EpochMetrics | None:
        known = {
            name: float(values[self.row_of(spec), spec.seed, epoch - 1])
            for name, values in self.table.metrics.items()
            if name in EpochMetrics.__annotations__
        }
        if any(value != value for value in known.values()):
            return None
        return EpochMetrics(epoch=epoch, seconds=0.0, **known)

    def _trial_spec(self, placement: Placement, repeat: int) -> TrialSpec:
        return self.table.spec.trial(placement, self.seeds[repeat % len(self.seeds)])

    def started(self, proposal: Proposal) -> None:
        """Nothing to note: what counts is when a trial ends."""

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Nothing to note: the study has it."""

    def finished(self, trial: FrozenTrial) -> None:
        placement = self.table.spec.space.decode(trial.params)
        self.ended.append(
            Ended(
                row=self.table.row_of[placement.bits],
                seed=trial.user_attrs["seed"],
                epochs=len(trial.intermediate_values),
                state=trial.state.name,
                clock=self._clock,
            )
        )
