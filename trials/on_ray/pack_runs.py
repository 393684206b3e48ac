"""Packed trials on Ray: each worker process trains a pack, one epoch of all members at a time.

Ray Tune runs each trial in a process of its own, so packs do not use it. ASHA is called directly:
to the scheduler and the proposer the members of a pack are ordinary trials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from trials.data.splits import TrainingData
from trials.fast.packing import PackedTraining
from trials.files.durable import StorageError
from trials.on_ray.asha import scheduler_of
from trials.on_ray.compat import (
    SchedulerTrial,
    add_trial,
    node_resources,
    remove_trial,
    report,
)
from trials.running.early_stopping import EarlyStopping, PastTrial
from trials.running.faults import CommonCause, RunStoppedError
from trials.running.proposals import Proposal, Proposer
from trials.running.resources import Resources, plan_resources
from trials.running.trial_files import NO_FILES, TrialFiles
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec

Events = list[tuple[int, EpochMetrics | str]]
"""(number of the trial, a finished epoch or the reason of a failure), in order."""


def run_packed(
    proposer: Proposer,
    data: TrainingData,
    *,
    pack: int,
    captured: bool = False,
    deterministic: bool = False,
    stopping: EarlyStopping,
    resources: Resources,
    past: Sequence[PastTrial] = (),
    files: TrialFiles = NO_FILES,
) -> None:
    """Run trials in packs until the proposer has no more, or until Ctrl-C. Needs a `ray_session`.

    Args:
        proposer: chooses the trials; called in this process only.
        data: shared with all workers through Ray's object store.
        pack: trials in a worker; the place of a trial that has ended is filled again.
        captured: train with recorded CUDA graphs.
        deterministic: repeat to the last bit on GPUs too.
        stopping: when to stop a trial early.
        resources: CPUs and GPUs are those of a worker; `concurrent` limits the trials in all packs
            together.
        past: trials before an interruption, for the rungs.
        files: absolute paths that every worker can write; an exchange is not used.

    Raises:
        InputError: a worker asks for more than a node of the cluster has.
        StorageError: the run folder cannot be written.
        RunStoppedError: all trials fail for the same reason, or Ray itself fails.
    """
    per_worker, slots = plan_resources(
        Resources(cpus_per_trial=resources.cpus_per_trial, gpus_per_trial=resources.gpus_per_trial),
        node_resources(),
    )
    at_once = resources.concurrent or slots * pack
    run = _PackedRun(
        proposer=proposer,
        scheduler=scheduler_of(stopping, past),
        epochs=stopping.max_epochs,
        metric=stopping.metric,
        files=files,
        data_name=data.name,
        restarts=resources.max_failures,
    )
    shared = ray.put(data)
    options = {"num_cpus": per_worker["cpu"], "num_gpus": per_worker["gpu"]}
    of_actor = (shared, files, captured, deterministic)
    workers = [_Worker(options, of_actor) for _ in range(min(slots, -(-at_once // pack)))]
    try:
        _drive(run, workers, pack, at_once)
    except KeyboardInterrupt:
        return
    except ray.exceptions.RayError as error:
        raise RunStoppedError(f"Ray has failed: {type(error).__name__}") from error
    finally:
        for worker in workers:
            ray.kill(worker.actor)


def _drive(run: _PackedRun, workers: Sequence[_Worker], pack: int, at_once: int) -> None:
    """Fill the packs, train an epoch in each, pass the results on, until all trials have ended."""
    while True:
        _fill([worker for worker in workers if worker.training is None], run, pack, at_once)
        for worker in workers:
            if worker.training is None and worker.numbers:
                worker.start_epoch()
        busy = {worker.training: worker for worker in workers if worker.training is not None}
        if not busy:
            run.common_cause.release()
            return
        done, _ = ray.wait(list(busy), num_returns=1)
        worker = busy[done[0]]
        try:
            events = worker.finished_epoch()
        except ray.exceptions.RayActorError:
            run.died(worker.numbers)
            worker.restart()
            continue
        for ended in run.take(events):
            worker.drop(ended)


def _fill(idle: Sequence[_Worker], run: _PackedRun, pack: int, at_once: int) -> None:
    """Give new trials to the idle workers, first to those with the fewest."""
    while idle and len(run.open) < at_once:
        worker = min(idle, key=lambda w: len(w.numbers))
        if len(worker.numbers) == pack:
            return
        proposal = run.next_proposal()
        if proposal is None:
            return
        worker.add(proposal)


class _Worker:
    """The driver's handle of a process with a pack.

    Attributes:
        numbers: numbers of the trials in its pack.
        training: Ray's reference to the epoch in progress, or None.
    """

    def __init__(self, options: Mapping[str, float], of_actor: tuple[Any, ...]) -> None:
        self._options, self._of_actor = options, of_actor
        self.restart()

    def restart(self) -> None:
        """Start a new process with an empty pack."""
        actor: Any = _PackActor  # a class under ray.remote has no type
        self.actor = actor.options(**self._options).remote(*self._of_actor)
        self.numbers: list[int] = []
        self.training: Any = None
        self._joining: list[tuple[int, TrialSpec]] = []
        self._leaving: list[int] = []

    def add(self, proposal: Proposal) -> None:
        self.numbers.append(proposal.number)
        self._joining.append((proposal.number, proposal.spec))

    def drop(self, number: int) -> None:
        self.numbers.remove(number)
        self._leaving.append(number)

    def start_epoch(self) -> None:
        self.training = self.actor.epoch.remote(self._joining, self._leaving)
        self._joining, self._leaving = [], []

    def finished_epoch(self) -> Events:
        """The results of the epoch. An exception in the process fails each of its trials.

        Raises:
            StorageError: the worker cannot write.
            RayActorError: its process has died.
        """
        training, self.training = self.training, None
        try:
            events: Events = ray.get(training)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, StorageError):
                raise error.cause from error
            reason = f"{type(error.cause).__name__}: {error.cause}"
            ray.kill(self.actor)
            numbers, events = self.numbers, [(number, reason) for number in self.numbers]
            self.restart()
            self.numbers = numbers
        return events


@ray.remote
class _PackActor:
    """A worker process with a pack.

    The pack is built by the first epoch, not by the constructor: Ray reports an exception in
    a constructor as the death of the process, and its reason would be lost.
    """

    def __init__(
        self, data: TrainingData, files: TrialFiles, captured: bool, deterministic: bool
    ) -> None:
        self._data, self._files = data, files
        self._how = {"captured": captured, "deterministic": deterministic}
        self._built: PackedTraining | None = None

    @property
    def _training(self) -> PackedTraining:
        if self._built is None:
            gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
            device = "cuda" if gpus else "cpu"
            self._built = PackedTraining(self._data, device, **self._how)
        return self._built

    def epoch(self, joining: list[tuple[int, TrialSpec]], leaving: list[int]) -> Events:
        """Remove and add members, then train all members for an epoch."""
        for number in leaving:
            if number in self._training.members:
                self._training.leave(number)
        events: Events = []
        for number, spec in joining:
            events += [(number, metrics) for metrics in self._join(number, spec)]
        if self._training.members:
            events += self._training.epoch().items()
        return events

    def _join(self, number: int, spec: TrialSpec) -> tuple[EpochMetrics, ...]:
        """Add a trial unless its checkpoint is of the last epoch; the epochs of the checkpoint."""
        restored = self._training.join(
            number,
            spec,
            save_to=self._files.weights_of(number),
            checkpoint=self._files.checkpoint_of(spec, self._data),
        )
        if len(restored) == spec.recipe.epochs:
            self._training.leave(number)
        return restored


@dataclass(kw_only=True)
class _PackedRun:
    """The trials of a run in the driver, between proposer and scheduler.

    Attributes:
        open: trials that were proposed and have not ended, by number.
    """

    proposer: Proposer
    scheduler: Any
    epochs: int
    metric: str
    files: TrialFiles
    data_name: str
    restarts: int
    open: dict[int, Proposal] = field(default_factory=dict)
    _died: list[Proposal] = field(default_factory=list)
    _deaths: Counter[int] = field(default_factory=Counter)
    _seen: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.common_cause = CommonCause(self._conclude)

    def next_proposal(self) -> Proposal | None:
        proposal = self._died.pop(0) if self._died else self.proposer.propose()
        if proposal is not None:
            self.open[proposal.number] = proposal
            add_trial(self.scheduler, SchedulerTrial.of(proposal))
        return proposal

    def take(self, events: Events) -> list[int]:
        """Pass epochs and ends to the proposer; the numbers of the trials that have ended."""
        ended = []
        for number, event in events:
            proposal = self.open.get(number)
            if proposal is None:  # stopped by an earlier event of this list
                continue
            failure = event if isinstance(event, str) else None
            if isinstance(event, EpochMetrics) and self._goes_on(proposal, event):
                continue
            if failure is not None:
                remove_trial(self.scheduler, SchedulerTrial.of(proposal))
            ended.append(number)
            self.common_cause.ended(self.open.pop(number), failure)
        return ended

    def died(self, numbers: Sequence[int]) -> None:
        """Restart the trials of a process that has died, at most `restarts` times each."""
        for number in numbers:
            proposal = self.open.pop(number)
            self._deaths[number] += 1
            if self._deaths[number] <= self.restarts:
                self._died.append(proposal)
            else:
                reason = "the worker process died before it could say why"
                self.common_cause.ended(proposal, reason)

    def _goes_on(self, proposal: Proposal, metrics: EpochMetrics) -> bool:
        if metrics.epoch > self._seen[proposal.number]:  # else repeated after a restart
            self._seen[proposal.number] = metrics.epoch
            self.proposer.observe(proposal.number, metrics)
        result = {"epoch": metrics.epoch, self.metric: getattr(metrics, self.metric)}
        goes_on = report(self.scheduler, SchedulerTrial.of(proposal), result)
        return goes_on and metrics.epoch < self.epochs

    def _conclude(self, proposal: Proposal, failure: str | None) -> None:
        self.proposer.conclude(proposal.number, failure)
        self.files.remove_checkpoint(proposal.spec, self.data_name)
