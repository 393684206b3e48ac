"""Packed trials on Ray: each worker process trains a pack in lockstep, an epoch at a time.

Ray Tune gives every trial a process, so here its scheduler is asked directly: the same ASHA object
hears of K ordinary trials, as the proposer does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import ray

from trials.data.splits import TrainingData
from trials.fast.packing import PackedTraining
from trials.files.durable import StorageError
from trials.on_ray.asha import scheduler_of
from trials.running.early_stopping import EarlyStopping, PastTrial
from trials.running.faults import CommonCause, RunStoppedError
from trials.running.proposals import Proposal, Proposer
from trials.running.resources import Resources, plan_resources
from trials.running.trial_files import NO_FILES, TrialFiles
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec

Events = list[tuple[int, EpochMetrics | str]]
"""Finished epochs, or the reason of a failure, by number of the trial, in order."""


def run_packed(
    proposer: Proposer,
    data: TrainingData,
    *,
    pack: int,
    captured: bool = False,
    stopping: EarlyStopping,
    resources: Resources,
    past: Sequence[PastTrial] = (),
    files: TrialFiles = NO_FILES,
) -> None:
    """Run trials in packs until the proposer has no more, or Ctrl-C. Needs a `ray_session`.

    Args:
        proposer: decides and learns; called in this process only.
        data: shared with all workers through Ray's object store.
        pack: trials in a worker; a slot whose trial has ended is filled again.
        captured: train by recorded CUDA graphs.
        stopping: when to stop a trial early.
        resources: `concurrent` limits the trials at once in all packs together.
        past: trials before an interruption, for the rungs.
        files: absolute paths that every worker can write; no exchange.

    Raises:
        InputError: the cluster can never give a worker what it asks for.
        StorageError: the run folder cannot be written.
        RunStoppedError: all trials fail the same way, or Ray itself fails.
    """
    per_worker, slots = plan_resources(
        Resources(cpus_per_trial=resources.cpus_per_trial, gpus_per_trial=resources.gpus_per_trial),
        ray.cluster_resources(),
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
    of_actor = (shared, files, captured)
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
    """Fill the packs, train an epoch in each, pass on what comes back."""
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
    """Give proposals to the workers with the fewest trials."""
    while idle and len(run.open) < at_once:
        worker = min(idle, key=lambda w: len(w.numbers))
        if len(worker.numbers) == pack:
            return
        proposal = run.next_proposal()
        if proposal is None:
            return
        worker.add(proposal)


class _Worker:
    """A process with a pack, as the driver sees it.

    Attributes:
        numbers: of the trials in its pack.
        training: the epoch that it is at, or None.
    """

    def __init__(self, options: Mapping[str, float], of_actor: tuple[Any, ...]) -> None:
        self._options, self._of_actor = options, of_actor
        self.restart()

    def restart(self) -> None:
        """A fresh process with an empty pack."""
        actor: Any = _PackActor  # what ray.remote makes of a class has no type
        self.actor = actor.options(**self._options).remote(*self._of_actor)
        self.numbers: list[int] = []
        self.training: Any = None
        self._joining: list[tuple[int, dict[str, Any]]] = []
        self._leaving: list[int] = []

    def add(self, proposal: Proposal) -> None:
        self.numbers.append(proposal.number)
        self._joining.append((proposal.number, proposal.spec.to_json()))

    def drop(self, number: int) -> None:
        self.numbers.remove(number)
        self._leaving.append(number)

    def start_epoch(self) -> None:
        self.training = self.actor.epoch.remote(self._joining, self._leaving)
        self._joining, self._leaving = [], []

    def finished_epoch(self) -> Events:
        """What the epoch gave; a fault of the whole pack fails each of its trials.

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
            events = [(number, reason) for number in self.numbers]
            numbers = self.numbers
            self.restart()
            self.numbers = numbers
        return events


@ray.remote
class _PackActor:
    """The process itself."""

    def __init__(self, data: TrainingData, files: TrialFiles, captured: bool) -> None:
        gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        self._data, self._files = data, files
        self._training = PackedTraining(data, "cuda" if gpus else "cpu", captured=captured)

    def epoch(self, joining: list[tuple[int, dict[str, Any]]], leaving: list[int]) -> Events:
        """Change the pack, then train all its members for an epoch."""
        for number in leaving:
            if number in self._training.members:
                self._training.leave(number)
        events: Events = []
        for number, spec in joining:
            restored = self._join(number, TrialSpec.from_json(spec))
            events += [(number, metrics) for metrics in restored]
        if self._training.members:
            events += self._training.epoch().items()
        return events

    def _join(self, number: int, spec: TrialSpec) -> tuple[EpochMetrics, ...]:
        """Epochs of its checkpoint; a trial that needs no more of them does not join."""
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
    """What is known of the trials of a run: the driver's side of proposer and scheduler.

    Attributes:
        open: trials that were proposed and have not ended.
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
            self.scheduler.on_trial_add(None, trial_for_asha(proposal))
        return proposal

    def take(self, events: Events) -> list[int]:
        """Pass on epochs and ends; numbers of the trials that have ended."""
        ended = []
        for number, event in events:
            proposal = self.open.get(number)
            if proposal is None:  # stopped at an earlier epoch of its checkpoint
                continue
            failure = event if isinstance(event, str) else None
            if isinstance(event, EpochMetrics) and self._goes_on(proposal, event):
                continue
            if failure is not None:
                self.scheduler.on_trial_remove(None, trial_for_asha(proposal))
            ended.append(number)
            self.common_cause.ended(self.open.pop(number), failure)
        return ended

    def died(self, numbers: Sequence[int]) -> None:
        """A worker's process has died: its trials go on elsewhere, but not for ever."""
        for number in numbers:
            proposal = self.open.pop(number)
            self._deaths[number] += 1
            if self._deaths[number] <= self.restarts:
                self._died.append(proposal)
            else:
                reason = "the worker process died before it could say why"
                self.common_cause.ended(proposal, reason)

    def _goes_on(self, proposal: Proposal, metrics: EpochMetrics) -> bool:
        if metrics.epoch > self._seen[proposal.number]:  # again after a restart
            self._seen[proposal.number] = metrics.epoch
            self.proposer.observe(proposal.number, metrics)
        result = {"epoch": metrics.epoch, self.metric: getattr(metrics, self.metric)}
        decision = self.scheduler.on_trial_result(None, trial_for_asha(proposal), result)
        return bool(decision == "CONTINUE" and metrics.epoch < self.epochs)

    def _conclude(self, proposal: Proposal, failure: str | None) -> None:
        self.proposer.conclude(proposal.number, failure)
        self.files.remove_checkpoint(proposal.spec, self.data_name)


def trial_for_asha(proposal: Proposal) -> SimpleNamespace:
    """A trial as `scheduler_of`'s schedulers see it."""
    config = {
        "number": proposal.number,
        "protected": proposal.protected,
        "costs": proposal.costs,
    }
    return SimpleNamespace(config=config)
