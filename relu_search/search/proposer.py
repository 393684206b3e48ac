"""Which placement is next? An Optuna study behind the scheduler's `Proposer` protocol.

The study decides what has happened: COMPLETE trials have trained to the end, PRUNED trials have all
values that they reported, FAIL trials have a reason. This module does not use Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from relu_search.compat import enqueued_choices, reopened_trial
from relu_search.run_folder.journal import one_write
from relu_search.run_folder.study import (
    AUDIT_ATTRIBUTE,
    COSTS_ATTRIBUTE,
    FLOOR_ATTRIBUTE,
    LATENCY_ATTRIBUTE,
    METRIC_ATTRIBUTE,
    history_of,
    store_history,
)
from relu_search.samplers.by_name import make_sampler
from relu_search.samplers.distinct import distributions
from relu_search.samplers.study_arrays import Prior
from relu_search.settings.metrics import METRICS, MetricName
from search_spaces import Placement, SearchSpace, module_name_of
from trials.early_stopping.rule import PastTrial
from trials.running.proposals import Proposal
from trials.running.time_budget import OUT_OF_TIME, TimeBudget
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec

REFERENCE = "reference"
"""User attribute of the trials of hand-designed modules: the module's name."""
MODULE_SEEDS = 3
"""Trainings that a search gives paired and the best other module."""
_MODULE_SHARE = 10
"""At most one in so many trials of the budget is a further seed of a module."""
PASSED = "passed"
"""User attribute of a trial with several objectives: its last finished epoch."""


class StudyListener(Protocol):
    """Is told the events of a study, in order. Its exceptions end the search."""

    def started(self, proposal: Proposal) -> None: ...
    def epoch(self, number: int, metrics: EpochMetrics) -> None: ...
    def finished(self, trial: FrozenTrial) -> None: ...


@dataclass(kw_only=True)
class _OpenTrial:
    """A trial that is running.

    Attributes:
        reported: epochs whose metric the study already has from before an interruption.
    """

    trial: optuna.Trial
    proposal: Proposal
    reported: frozenset[int]
    history: list[EpochMetrics] = field(default_factory=list)


class StudyProposer:
    """Proposes hand-designed modules first, then the placements of the sampler.

    A placement that the sampler proposes again is trained with another seed, to the end: a further
    seed is a measurement. Once all placements were tried, the rest of the budget goes to seeds.
    Before, its last trials can be further seeds of the modules with which the result is compared.

    With a study that has trials, the search continues: finished trials count towards the budget,
    and trials that were running are proposed again first, with their own numbers.

    Args:
        study: only this process has it open; its sampler is replaced.
        space: what may be proposed.
        references: module name -> placement, trained first and protected from early stopping.
        own: name -> placement of the user, trained after them.
        protect_own: whether these are protected, too.
        module_seeds: trainings of paired and of the best other module, for which at most the last
            tenth of the budget is used; 0: no further seeds of modules.
        first: placements to try after them, without protection.
        spec_of: takes a placement and how often it was proposed before; returns what to train.
        metric: first objective of the study.
        costs_of: takes a placement; returns the further objectives, known without training. None:
            there are none.
        timing_of: takes a placement; returns its timing, if latency is one of the costs.
        trials: budget, including the references.
        planned: trials that the sampler plans with, where time may end the search before; None:
            `trials`.
        budget: of time; None: there is no limit.
        decided: takes the placements that were tried and the number of trials that have ended;
            returns whether no further trial is needed. It is asked before each new proposal, once
            all placements that are to be tried first have been proposed. None: all of the budget
            is needed.
        site_costs: (costs, sites) what keeping each site adds.
        prior: trials of an earlier run, as data of the sampler's model.
        floor: least accuracy; the study then minimises the cost alone. None: there is none.
        sampler: a name of `SAMPLERS`.
        seed: of the sampler.
        listeners: are told of every event.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        *,
        references: Mapping[str, Placement],
        own: Mapping[str, Placement] | None = None,
        protect_own: bool = False,
        module_seeds: int = 0,
        first: Sequence[Placement] = (),
        spec_of: Callable[[Placement, int], TrialSpec],
        metric: MetricName,
        trials: int,
        planned: int | None = None,
        budget: TimeBudget | None = None,
        decided: Callable[[Collection[Placement], int], bool] | None = None,
        costs_of: Callable[[Placement], tuple[float, ...]] | None = None,
        timing_of: Callable[[Placement], Mapping[str, float] | None] = lambda _placement: None,
        site_costs: NDArray[np.float64] | None = None,
        floor: float | None = None,
        prior: Prior | None = None,
        sampler: str = "gp",
        seed: int = 0,
        listeners: tuple[StudyListener, ...] = (),
    ) -> None:
        self._study = study
        self._space = space
        self._spec_of = spec_of
        self._metric: MetricName = metric
        self._costs_of = costs_of
        self._timing_of = timing_of
        self._floor = floor
        if costs_of is not None:
            attributes = {METRIC_ATTRIBUTE: metric, COSTS_ATTRIBUTE: True, FLOOR_ATTRIBUTE: floor}
            for key, value in attributes.items():
                if key not in study.user_attrs and value is not None:
                    study.set_user_attr(key, value)
        self._trials = trials
        self._planned = planned or trials
        self._references = references
        self._module_seeds = module_seeds
        self._budget = budget or TimeBudget()
        self._decided = decided
        self._typical = spec_of(space.backbone.paired, 0)
        self._listeners = listeners
        self._distributions = distributions(space)
        self._open: dict[int, _OpenTrial] = {}
        self._cut_off: list[FrozenTrial] = []
        self._waiting = 0
        self._tried: dict[Placement, set[int]] = {}  # canonical placement -> numbers of its trials
        self._spent = 0
        self._take_over_earlier_trials()
        own = own or {}
        self._names = {space.canonical(placement): name for name, placement in own.items()}
        self._enqueue_references({**references, **(own if protect_own else {})})
        self._enqueue_first([*own.values(), *first])
        study.sampler = make_sampler(
            sampler,
            space,
            tried=self._tried,
            trials=self._planned,
            seed=seed,
            site_costs=site_costs,
            floor=floor,
            prior=prior,
        )

    @property
    def remaining(self) -> int:
        """Number of trials of the budget that were not proposed yet."""
        return self._trials - self._spent - len(self._open)

    @property
    def has_more(self) -> bool:
        """Whether another trial may be proposed now. One that was interrupted always goes on."""
        if self._cut_off or self.remaining <= 0:
            return self.remaining > 0
        if not self._budget.may_start(self._typical):
            return False
        if self._decided is None or self._waiting:
            return True
        return not self._decided(self._tried, self._spent)

    @property
    def unfinished(self) -> int:
        """Number of trials that were proposed and have not ended."""
        return len(self._open)

    def past_trials(self) -> list[PastTrial]:
        """All finished trials, from which a new scheduler fills its rungs.

        Trials that were running are not included: they report their epochs again.
        """
        trials = self._study.get_trials(deepcopy=False)
        return [
            PastTrial(
                number=trial.number,
                placement=trial.user_attrs["placement"],
                history=history_of(trial),
                costs=tuple(trial.user_attrs.get(COSTS_ATTRIBUTE, ())),
            )
            for trial in trials
            if trial.state.is_finished()
        ]

    def propose(self) -> Proposal | None:
        with one_write(self._study):
            return self._next()

    def _next(self) -> Proposal | None:
        if not self.has_more:
            return None
        reported: frozenset[int] = frozenset()
        if self._cut_off:
            earlier = self._cut_off.pop(0)
            trial, reported = self._reopened(earlier), _reported(earlier)
        else:
            if not self._waiting and (module := self._module_in_need()) is not None:
                self._study.enqueue_trial(module)
            trial = self._study.ask(self._distributions)
            self._waiting = max(0, self._waiting - 1)
        placement = self._space.decode(trial.params)
        self._mark_tried(placement, trial.number)
        numbers = self._tried[self._space.canonical(placement)]
        repeat = sum(number < trial.number for number in numbers)
        spec = self._spec_of(placement, repeat)
        trial.set_user_attr("placement", placement.text)
        name = self._names.get(self._space.canonical(placement))
        trial.set_user_attr("module", name or module_name_of(self._space.backbone, placement))
        trial.set_user_attr("seed", spec.seed)
        costs: tuple[float, ...] = ()
        if self._costs_of is not None:
            costs = self._costs_of(placement)
            trial.set_user_attr(COSTS_ATTRIBUTE, list(costs))
            if (timing := self._timing_of(placement)) is not None:
                trial.set_user_attr(LATENCY_ATTRIBUTE, dict(timing))
        proposal = Proposal(
            number=trial.number,
            spec=spec,
            protected=REFERENCE in trial.user_attrs or repeat > 0,
            costs=costs,
            passed=max(reported, default=0),
        )
        self._open[trial.number] = _OpenTrial(trial=trial, proposal=proposal, reported=reported)
        self._budget.started(trial.number)
        for listener in self._listeners:
            listener.started(proposal)
        return proposal

    def _module_in_need(self) -> dict[str, str] | None:
        """The choices of a module that the end of the budget trains again; None: of none."""
        left = self._planned - self._spent - len(self._open)
        if left > self._planned // _MODULE_SHARE or self._planned >= self._space.size:
            return None
        seeds = {one: len(self._tried[self._space.canonical(one)]) for one in self._compared()}
        fewest = min(seeds, key=lambda one: seeds[one], default=None)
        if fewest is None or seeds[fewest] >= self._module_seeds:
            return None
        return self._space.encode(fewest)

    def _compared(self) -> list[Placement]:
        """Paired, and the best other module by its first run; without the all-linear control."""
        scores: dict[Placement, float] = {}
        for trial in self._study.get_trials(deepcopy=False):
            placement = self._references.get(trial.user_attrs.get(REFERENCE, ""))
            if placement and placement.kept and trial.state == TrialState.COMPLETE:
                value = history_of(trial)[-1][self._metric]
                scores[placement] = METRICS[self._metric].sign * value
        paired = {one for one in scores if "0" not in one.bits}
        return sorted(scores, key=lambda one: (one not in paired, -scores[one]))[:2]

    def observe(self, number: int, metrics: EpochMetrics) -> bool:
        running = self._open[number]
        running.history.append(metrics)
        if metrics.epoch not in running.reported:
            if self._costs_of is None:
                running.trial.report(getattr(metrics, self._metric), step=metrics.epoch)
            else:  # Optuna allows no reports with several objectives
                running.trial.set_user_attr(PASSED, metrics.epoch)
        for listener in self._listeners:
            listener.epoch(number, metrics)
        return metrics.epoch not in running.reported and self._budget.epoch_ended(number)

    def note_audit(self, number: int, epoch: int) -> None:
        """A trial would have been stopped after this epoch; as an audit it trains to the end."""
        self._open[number].trial.set_user_attr(AUDIT_ATTRIBUTE, epoch)

    def conclude(self, number: int, failure: str | None) -> bool:
        """Tell the study how a trial ended: COMPLETE only if it trained every epoch."""
        with one_write(self._study):
            frozen = self._told(self._open.pop(number), failure)
        self._spent += 1
        for listener in self._listeners:
            listener.finished(frozen)
        return True

    def _told(self, running: _OpenTrial, failure: str | None) -> FrozenTrial:
        trial, history = running.trial, running.history
        out_of_time = self._budget.ended(trial.number, running.proposal.spec)
        store_history(trial, [metrics.to_json() for metrics in history])
        if failure is not None or not history:
            trial.set_user_attr("reason", failure or "ended before its first epoch")
            return self._study.tell(trial, state=TrialState.FAIL)
        if history[-1].epoch < running.proposal.spec.recipe.epochs:
            if out_of_time:
                trial.set_user_attr("reason", OUT_OF_TIME)
            return self._study.tell(trial, state=TrialState.PRUNED)
        values = [getattr(history[-1], self._metric), *running.proposal.costs]
        if self._floor is not None:
            values = [*running.proposal.costs]
        return self._study.tell(trial, values=values)

    def _take_over_earlier_trials(self) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                self._spent += 1
            elif trial.state == TrialState.WAITING:
                self._waiting += 1
            else:
                self._cut_off.append(trial)
            params = choices_of(trial)
            if params.keys() == self._distributions.keys():  # else interrupted within `ask`
                self._mark_tried(self._space.decode(params), trial.number)

    def _reopened(self, trial: FrozenTrial) -> optuna.Trial:
        """A trial of an earlier process, with the choices that `Study.ask` did not store yet."""
        reopened = reopened_trial(self._study, trial)
        for name, choices in self._space.choices.items():
            reopened.suggest_categorical(name, choices)
        return reopened

    def _enqueue_references(self, references: Mapping[str, Placement]) -> None:
        known = {t.user_attrs.get(REFERENCE) for t in self._study.get_trials(deepcopy=False)}
        for name, placement in references.items():
            params = self._space.encode(placement)
            if params is not None and name not in known:
                number = len(self._study.get_trials(deepcopy=False))
                self._study.enqueue_trial(params, user_attrs={REFERENCE: name})
                self._mark_tried(placement, number)
                self._waiting += 1

    def _enqueue_first(self, placements: Sequence[Placement]) -> None:
        for placement in placements:
            params = self._space.encode(placement)
            if params is not None and self._space.canonical(placement) not in self._tried:
                number = len(self._study.get_trials(deepcopy=False))
                self._study.enqueue_trial(params)
                self._mark_tried(placement, number)
                self._waiting += 1

    def _mark_tried(self, placement: Placement, number: int) -> None:
        canonical = self._space.canonical(placement)
        if canonical not in self._tried:
            self._tried[canonical] = set()
        self._tried[canonical].add(number)


def _reported(trial: FrozenTrial) -> frozenset[int]:
    """The epochs of an interrupted trial that the study knows."""
    return frozenset(trial.intermediate_values) | set(range(1, trial.user_attrs.get(PASSED, 0) + 1))


def choices_of(trial: FrozenTrial) -> dict[str, Any]:
    """The choices of a trial, also of one that is enqueued and not started yet."""
    enqueued = enqueued_choices(trial)
    return trial.params if enqueued is None else enqueued
