"""A fixed list of trials, and a way to run trials in this process, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from trials.data.image_sets import TrainingData
from trials.data.splits import Splits
from trials.running.devices import free_device_memory
from trials.running.faults import ALONE, OUT_OF_MEMORY, CommonCause, out_of_memory
from trials.running.proposals import Proposal, Proposer
from trials.running.time_budget import TimeBudget
from trials.running.trial import TrialResult, run_trial
from trials.running.trial_files import NO_FILES, TrialFiles
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec


class TrialEnded(Protocol):
    """Called at the end of a trial.

    Args:
        number: position of the trial in the list.
        epochs: metrics of every finished epoch.
        failure: the reason of its failure, or None.
    """

    def __call__(
        self, number: int, epochs: tuple[EpochMetrics, ...], failure: str | None
    ) -> None: ...


class TrialList:
    """A `Proposer` that hands out a list of trials in order.

    Trials that the time budget ends, or does not let start, stay unfinished.

    Args:
        specs: what to train; the position in the list is the trial's number.
        ended: called at the end of every trial.
        wanted: called with the number just before a trial starts; False: the trial is left out.
        budget: of the whole list; None: there is no limit.

    Attributes:
        budget: of time.
    """

    def __init__(
        self,
        specs: Iterable[TrialSpec],
        *,
        ended: TrialEnded,
        wanted: Callable[[int], bool] = lambda number: True,
        budget: TimeBudget | None = None,
    ) -> None:
        self._specs = list(specs)
        self._next = 0
        self._ended = ended
        self._wanted = wanted
        self.budget = budget or TimeBudget()
        self._open: dict[int, list[EpochMetrics]] = {}

    def __len__(self) -> int:
        return len(self._specs)

    @property
    def largest(self) -> TrialSpec:
        """A spec whose network has the most sites times channels."""
        return max(self._specs, key=lambda s: len(s.backbone.sites) * (s.backbone.width or 1))

    @property
    def is_complete(self) -> bool:
        """Whether every wanted trial has ended."""
        return not self._open and not any(map(self._wanted, range(self._next, len(self))))

    def propose(self) -> Proposal | None:
        while self._next < len(self):
            number, spec = self._next, self._specs[self._next]
            if self._wanted(number):
                if not self.budget.may_start(spec):
                    return None
                self._next += 1
                self._open[number] = []
                self.budget.started(number)
                return Proposal(number=number, spec=spec)
            self._next += 1
        return None

    def observe(self, number: int, metrics: EpochMetrics) -> bool:
        self._open[number].append(metrics)
        return self.budget.epoch_ended(number)

    def conclude(self, number: int, failure: str | None) -> bool:
        epochs, spec = tuple(self._open[number]), self._specs[number]
        out_of_time = self.budget.ended(number, spec)
        if out_of_time and failure is None and len(epochs) < spec.recipe.epochs:
            return False
        del self._open[number]
        self._ended(number, epochs, failure)
        return True


class _EndedHere(Exception):
    """The proposer ends a trial after one of its epochs."""


def run_in_process(
    proposer: Proposer,
    data: TrainingData | Splits,
    *,
    device: str = "cpu",
    files: TrialFiles = NO_FILES,
    runner: Callable[..., TrialResult] = run_trial,
) -> None:
    """Run trials one after another without Ray, until the proposer has no more.

    A trial that needs more memory than the GPU has fails, and the others go on. At the end this
    process keeps no memory of a GPU.

    Args:
        data: if it is `Splits`, each trial takes the split of its own seed.
        device: `cpu` or `cuda`.
        files: folders for weights and checkpoints.
        runner: trains a spec; called as `run_trial`.

    Raises:
        StorageError: weights or a checkpoint cannot be written.
        RunStoppedError: all trials fail for the same reason.
    """

    def conclude(proposal: Proposal, failure: str | None) -> None:
        if proposer.conclude(proposal.number, failure):
            files.remove_checkpoint(proposal.spec, data.name)

    def failure_of(proposal: Proposal) -> str | None:
        number, spec = proposal.number, proposal.spec

        def observe(metrics: EpochMetrics) -> None:
            if proposer.observe(number, metrics):
                raise _EndedHere

        split = data.of(spec.seed) if isinstance(data, Splits) else data
        try:
            return runner(
                spec,
                split,
                device=device,
                save_to=files.weights_of(number),
                checkpoint=files.checkpoint_of(spec, split),
                on_epoch=observe,
            ).failure
        except _EndedHere:
            return None
        except RuntimeError as error:
            if (reason := out_of_memory(error)) is None:
                raise
            return reason + ALONE

    common_cause = CommonCause(conclude)
    try:
        while (proposal := proposer.propose()) is not None:
            failure = failure_of(proposal)
            if failure is not None and failure.startswith(OUT_OF_MEMORY):
                free_device_memory()
            common_cause.ended(proposal, failure)
        common_cause.release()
    finally:
        free_device_memory()
