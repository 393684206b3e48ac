"""Packed trials on Ray: each worker process trains a pack, one epoch of all members at a time.

Ray Tune runs each trial in a process of its own, so packs do not use it. ASHA is called directly:
to the scheduler and the proposer the members of a pack are ordinary trials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from trials.data.image_sets import TrainingData
from trials.early_stopping.rule import EarlyStopping, PastTrial
from trials.fast.packing import PackedTraining
from trials.files.durable import StorageError
from trials.on_ray.asha import scheduler_of
from trials.on_ray.compat import (
    SchedulerTrial,
    add_trial,
    death_of,
    node_resources,
    remove_trial,
    report,
)
from trials.on_ray.one_worker import device_of_worker
from trials.running.devices import Say
from trials.running.faults import (
    ALONE,
    OUT_OF_MEMORY,
    CommonCause,
    RunStoppedError,
    out_of_memory,
)
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
    say: Say = lambda _line: None,
) -> None:
    """Run trials in packs until the proposer has no more, or until Ctrl-C. Needs a `ray_session`.

    A pack for which its GPU has too little memory is halved, and its trials go on after their last
    finished epoch. If even one trial is too much, its worker is closed, and the trial waits until
    the other workers are closed too. Then it gets a GPU to itself. Only if this fails, the trial
    has failed.

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
        say: is told of packs that are halved and of trials that start again.

    Raises:
        InputError: a worker asks for more than a node of the cluster has.
        StorageError: the run folder cannot be written.
        RunStoppedError: all trials fail for the same reason, or Ray itself fails.
    """
    of_worker = replace(resources, concurrent=None)
    run = _PackedRun(
        proposer=proposer,
        scheduler=scheduler_of(stopping, past),
        epochs=stopping.max_epochs,
        files=files,
        data_name=data.name,
        restarts=resources.max_failures,
        say=say,
    )
    of_actor = (ray.put(data), files, captured, deterministic)
    try:
        _run_on(of_worker, of_actor, run, pack, resources.concurrent)
        if run.set_aside:
            run.take_up_set_aside()
            _run_on(replace(of_worker, gpus_per_trial=1), of_actor, run, 1, resources.concurrent)
    except KeyboardInterrupt:
        return
    except ray.exceptions.RayError as error:
        raise RunStoppedError(f"Ray has failed: {type(error).__name__}") from error


def _run_on(
    of_worker: Resources,
    of_actor: tuple[Any, ...],
    run: _PackedRun,
    pack: int,
    concurrent: int | None,
) -> None:
    """Run trials on as many workers as the cluster has room for, until no worker has any left."""
    per_worker, slots = plan_resources(of_worker, node_resources())
    at_once = concurrent or slots * pack
    count = min(slots, -(-at_once // pack))
    workers = [_Worker(per_worker, of_actor, pack) for _ in range(count)]
    try:
        _drive(run, workers, at_once)
    finally:
        for worker in workers:
            worker.close()


def _drive(run: _PackedRun, workers: list[_Worker], at_once: int) -> None:
    """Fill the packs, train an epoch in each, pass the results on, until all trials have ended."""
    while True:
        _fill([worker for worker in workers if worker.training is None], run, at_once)
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
        except ray.exceptions.RayActorError as error:
            run.died(worker.numbers, str(error))
            worker.restart()
            continue
        except _GpuFullError as full:
            _make_room(run, workers, worker, str(full))
            continue
        for ended in run.take(events):
            worker.drop(ended)


def _make_room(run: _PackedRun, workers: list[_Worker], worker: _Worker, reason: str) -> None:
    """After a full GPU: halve the pack, or close its worker, or fail a trial that is alone."""
    numbers = worker.numbers
    worker.close()
    if len(numbers) > 1:
        worker.room = len(numbers) // 2
        worker.restart()
        run.say(f"{OUT_OF_MEMORY}: a pack of {len(numbers)} goes on with {worker.room} at once")
        run.start_again(numbers)
    elif worker.shares_gpu:
        workers.remove(worker)
        run.wait_for_a_gpu(numbers[0])
    else:
        worker.restart()
        run.take([(numbers[0], reason + ALONE)])


def _fill(idle: Sequence[_Worker], run: _PackedRun, at_once: int) -> None:
    """Give new trials to the idle workers, first to those with the fewest."""
    while len(run.open) < at_once:
        with_room = [worker for worker in idle if len(worker.numbers) < worker.room]
        if not with_room or (proposal := run.next_proposal()) is None:
            return
        min(with_room, key=lambda worker: len(worker.numbers)).add(proposal)


class _GpuFullError(RuntimeError):
    """A pack needs more memory than its GPU has left. The message begins with `OUT_OF_MEMORY`."""


class _Worker:
    """The driver's handle of a process with a pack.

    Attributes:
        room: trials that its pack may have.
        shares_gpu: whether other workers may use the same GPU.
        numbers: numbers of the trials in its pack.
        training: Ray's reference to the epoch in progress, or None.
    """

    def __init__(
        self, per_worker: Mapping[str, float], of_actor: tuple[Any, ...], room: int
    ) -> None:
        self._options = {"num_cpus": per_worker["cpu"], "num_gpus": per_worker["gpu"]}
        self._of_actor = of_actor
        self.room = room
        self.shares_gpu = 0 < per_worker["gpu"] < 1
        self.restart()

    def close(self) -> None:
        """End the process."""
        ray.kill(self.actor)

    def restart(self) -> None:
        """Start a new process with an empty pack."""
        self.actor = _pack_actor.options(**self._options).remote(*self._of_actor)
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
            _GpuFullError: the GPU has too little memory.
        """
        training, self.training = self.training, None
        try:
            events: Events = ray.get(training)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, StorageError):
                raise error.cause from error
            if (full := out_of_memory(error.cause)) is not None:
                raise _GpuFullError(full) from error
            reason = f"{type(error.cause).__name__}: {error.cause}"
            self.close()
            numbers, events = self.numbers, [(number, reason) for number in self.numbers]
            self.restart()
            self.numbers = numbers
        return events


class _Pack:
    """The pack of a worker process.

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
            self._built = PackedTraining(self._data, device_of_worker(), **self._how)
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


_pack_actor: Any = ray.remote(_Pack)  # Ray has no types for it


@dataclass(kw_only=True)
class _PackedRun:
    """The trials of a run in the driver, between proposer and scheduler.

    Attributes:
        open: trials that were proposed, have not ended and are not set aside, by number.
        set_aside: trials that wait for a GPU to themselves.
    """

    proposer: Proposer
    scheduler: Any
    epochs: int
    files: TrialFiles
    data_name: str
    restarts: int
    say: Say
    open: dict[int, Proposal] = field(default_factory=dict)
    set_aside: list[Proposal] = field(default_factory=list)
    _again: list[Proposal] = field(default_factory=list)
    _deaths: Counter[int] = field(default_factory=Counter)
    _seen: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.common_cause = CommonCause(self._conclude)

    def next_proposal(self) -> Proposal | None:
        proposal = self._again.pop(0) if self._again else self.proposer.propose()
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

    def died(self, numbers: Sequence[int], error: str) -> None:
        """Restart the trials of a process that has died, at most `restarts` times each.

        Args:
            error: text of Ray's error.
        """
        for number in numbers:
            proposal = self.open.pop(number)
            self._deaths[number] += 1
            if self._deaths[number] <= self.restarts:
                self._again.append(proposal)
            else:
                self.common_cause.ended(proposal, death_of(error))

    def start_again(self, numbers: Sequence[int]) -> None:
        """Give the trials of a pack that was too large to workers again."""
        self._again += [self.open.pop(number) for number in numbers]

    def wait_for_a_gpu(self, number: int) -> None:
        """Set a trial aside that fits on no GPU beside others."""
        self.set_aside.append(self.open.pop(number))
        self.say(f"trial {number}: {OUT_OF_MEMORY}; it waits until it has a GPU to itself")

    def take_up_set_aside(self) -> None:
        """Let the trials that were set aside be the next ones."""
        self._again[:0], self.set_aside = self.set_aside, []

    def _goes_on(self, proposal: Proposal, metrics: EpochMetrics) -> bool:
        must_end = False
        if metrics.epoch > self._seen[proposal.number]:  # else repeated after a restart
            self._seen[proposal.number] = metrics.epoch
            must_end = self.proposer.observe(proposal.number, metrics)
        goes_on = report(self.scheduler, SchedulerTrial.of(proposal), metrics.to_json())
        return goes_on and not must_end and metrics.epoch < self.epochs

    def _conclude(self, proposal: Proposal, failure: str | None) -> None:
        if self.proposer.conclude(proposal.number, failure):
            self.files.remove_checkpoint(proposal.spec, self.data_name)
