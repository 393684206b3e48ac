"""Trials on Ray Tune, one per worker process.

`run_trials` connects a `Proposer` to Ray Tune: Ray starts the workers, each calls `run_trial`, ASHA
stops bad trials early, and the proposer is told of every epoch and every end.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from trials.data.image_sets import TrainingData
from trials.data.splits import Splits
from trials.early_stopping.rule import EarlyStopping, PastTrial
from trials.files.durable import StorageError
from trials.files.scratch import scratch_folder
from trials.on_ray.asha import scheduler_of
from trials.on_ray.compat import SchedulerTrial, death_of, error_of, node_resources
from trials.on_ray.interrupts import handlers_kept
from trials.on_ray.one_worker import device_of_worker
from trials.on_ray.session import first_line
from trials.running.devices import Say, free_device_memory
from trials.running.exchange import forget, take_over, worker_files
from trials.running.faults import (
    ALONE,
    OUT_OF_MEMORY,
    CommonCause,
    RunStoppedError,
    out_of_memory,
)
from trials.running.proposals import Proposal, Proposer
from trials.running.resources import Resources, plan_resources
from trials.running.trial import TrialResult, run_trial
from trials.running.trial_files import NO_FILES, TrialFiles
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec

FAILURE = "failure"
"""Key in the report that ends a failed trial; its value is the reason."""
STOPS_RUN = "stops_run"  # another key of that report: the whole run ends, the trial stays open

Runner = Callable[..., TrialResult]


def run_trials(
    proposer: Proposer,
    data: TrainingData | Splits,
    *,
    stopping: EarlyStopping | None,
    resources: Resources,
    past: Sequence[PastTrial] = (),
    files: TrialFiles = NO_FILES,
    runner: Runner = run_trial,
    say: Say = lambda _line: None,
    verbose: bool = False,
) -> None:
    """Run trials until the proposer has no more, or until Ctrl-C. Needs a `ray_session`.

    A trial for which its GPU has too little memory starts again with a GPU to itself, after its
    last finished epoch. Only if this fails too, the trial has failed.

    Args:
        proposer: chooses the trials; called in this process only.
        data: shared with all workers through Ray's object store, one copy per node. If it is
            `Splits`, each trial takes the split of its own seed.
        stopping: when to stop a trial early; None: all train to the end.
        resources: per trial.
        past: trials before an interruption, for the rungs.
        files: folders for weights and checkpoints: absolute paths that every worker can write,
            unless there is an exchange.
        runner: trains a spec; called as `run_trial`.
        say: is told of trials that start again.

    Raises:
        InputError: a trial asks for more than a node of the cluster has.
        StorageError: the run folder cannot be written.
        RunStoppedError: all trials fail for the same reason, or Ray itself fails.
        Exception: raised by the proposer.
    """
    per_trial, concurrent = plan_resources(resources, node_resources())
    shares_gpu = 0 < per_trial["gpu"] < 1

    def resources_of(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        gpus = 1 if config["alone"] else per_trial["gpu"]
        return tune.PlacementGroupFactory([{"CPU": per_trial["cpu"], "GPU": gpus}])

    trainable = tune.with_resources(
        tune.with_parameters(_worker, data=data, runner=runner, files=files), resources_of
    )
    search = _ProposerSearch(
        proposer,
        files,
        data.name,
        restarts=resources.max_failures,
        shares_gpu=shares_gpu,
        say=say,
    )

    def keep_and_name(trial: Any) -> str:
        """Ray's name of a trial, which is given to the search: only it knows how it has ended.

        A callback of Ray would be told of it too. But with any callback Ray imports its
        integrations with mlflow and wandb: a second, and folders among the temporary files.
        """
        search.trials[trial.trial_id] = trial
        return f"trial-{trial.config.get('number', 0):04d}"

    try:
        with handlers_kept(), scratch_folder() as scratch:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=search,
                    scheduler=scheduler_of(stopping, past) if stopping else FIFOScheduler(),
                    num_samples=-1,
                    max_concurrent_trials=concurrent,
                    reuse_actors=True,
                    trial_name_creator=keep_and_name,
                    trial_dirname_creator=keep_and_name,
                ),
                run_config=tune.RunConfig(
                    name="search",
                    storage_path=str(scratch),
                    verbose=2 if verbose else 0,
                    progress_reporter=tune.CLIReporter(),  # that of notebooks clears their output
                    stop=_Stopper(search),
                ),
            ).fit()
    except (ray.exceptions.RayError, tune.TuneError, ConnectionError) as error:
        raise RunStoppedError(f"Ray has failed: {first_line(error)}") from error
    if search.fault is not None:
        raise search.fault


def _worker(
    config: dict[str, Any], *, data: TrainingData | Splits, runner: Runner, files: TrialFiles
) -> None:
    """One trial in a worker process. A failure is reported, not raised: Ray would print a trace."""
    spec = TrialSpec.from_json(config["spec"])
    finished = 0
    stops_run = False
    try:
        split = data.of(spec.seed) if isinstance(data, Splits) else data
        with worker_files(files, config["number"], spec, split) as mine:

            def report(metrics: EpochMetrics) -> None:
                nonlocal finished
                finished = metrics.epoch
                mine.publish()
                tune.report(metrics.to_json())

            failure = runner(
                spec,
                split,
                device=device_of_worker(),
                save_to=mine.weights,
                checkpoint=mine.checkpoint,
                on_epoch=report,
            ).failure
    except StorageError as error:
        failure, stops_run = f"on {socket.gethostname()}, {error}", True
    except Exception as error:  # it ends this trial, not the run
        failure = out_of_memory(error) or f"{type(error).__name__}: {error}"
    if failure is not None and failure.startswith(OUT_OF_MEMORY):
        free_device_memory()  # for the other trials on this GPU: this process may live on
    if failure is not None:
        tune.report({"epoch": finished + 1, FAILURE: failure, STOPS_RUN: stops_run})


class _ProposerSearch(Searcher):  # type: ignore[misc]
    """A `Proposer` as a search algorithm of Ray. Maps Ray's trial ids to the proposer's numbers.

    A trial whose worker died, or whose GPU was full, is given to Ray again, as a new trial of Ray.
    (Ray's own `max_failures` does not count workers that die between two trials.) After a full GPU
    the new trial asks for a whole one. Until it runs no other trial is given to Ray, because small
    trials would take the parts of each GPU that become free.

    Attributes:
        fault: the error that ends the run. After it the proposer is not called any more, so the
            running trials stay open.
        trials: Ray's trials by Ray's ids.
    """

    def __init__(
        self,
        proposer: Proposer,
        files: TrialFiles,
        data_name: str,
        *,
        restarts: int,
        shares_gpu: bool,
        say: Say,
    ) -> None:
        super().__init__(metric="val_accuracy", mode="max")  # Ray asks for them; not used
        self.fault: Exception | None = None
        self.trials: dict[str, Any] = {}
        self._proposer = proposer
        self._files = files
        self._data_name = data_name
        self._restarts = restarts
        self._open: dict[str, Proposal] = {}
        self._again: list[Proposal] = []
        self._shares_gpu = shares_gpu
        self._alone: set[int] = set()  # trials that have, or will have, a GPU to themselves
        self._awaited: set[str] = set()  # Ray's ids of those that have not begun
        self._say = say
        self._deaths: Counter[int] = Counter()
        self._epochs: Counter[int] = Counter()
        self._must_end: set[int] = set()
        self._common_cause = CommonCause(self._conclude)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.fault is not None:
            return Searcher.FINISHED
        if self._awaited:
            return None
        proposal = self._again.pop(0) if self._again else None
        if proposal is None:
            with self._ends_run():
                proposal = self._proposer.propose()
        if proposal is None:
            if self._open:
                return None  # an open trial may still need a restart
            with self._ends_run():
                self._common_cause.release()
            return Searcher.FINISHED
        self._open[trial_id] = proposal
        if alone := proposal.number in self._alone:
            self._awaited.add(trial_id)
        config = SchedulerTrial.of(proposal).config
        return {**config, "alone": alone, "spec": proposal.spec.to_json()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass each epoch on once. Ray repeats the last, and a restarted trial its earlier ones."""
        self._awaited.discard(trial_id)
        if trial_id in self._open and FAILURE not in result:
            metrics = EpochMetrics(**{key: result[key] for key in EpochMetrics.__annotations__})
            number = self._open[trial_id].number
            if metrics.epoch > self._epochs[number]:
                self._epochs[number] = metrics.epoch
                with self._ends_run():
                    if self._proposer.observe(number, metrics):
                        self._must_end.add(number)

    def must_end(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Pass on an epoch; whether the proposer ends the trial here."""
        self.on_trial_result(trial_id, result)
        return trial_id in self._open and self._open[trial_id].number in self._must_end

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._awaited.discard(trial_id)
        if trial_id not in self._open:
            return
        failure = None
        if error or not result:
            proposal = self._open[trial_id]
            if self._deaths[proposal.number] < self._restarts:
                self._deaths[proposal.number] += 1
                self._again.append(self._open.pop(trial_id))
                return
            failure = death_of(error_of(self.trials.get(trial_id)))
        elif FAILURE in result:
            failure = str(result[FAILURE])
            if failure.startswith(OUT_OF_MEMORY):
                if self._starts_alone(trial_id):
                    return
                failure += ALONE
        else:
            self.on_trial_result(trial_id, result)
        with self._ends_run():
            if failure is not None and result and result.get(STOPS_RUN):
                raise StorageError(failure)
            self._common_cause.ended(self._open.pop(trial_id), failure)

    def _starts_alone(self, trial_id: str) -> bool:
        """Whether a trial whose GPU was full starts again with a GPU to itself."""
        proposal = self._open[trial_id]
        if not self._shares_gpu or proposal.number in self._alone:
            return False
        self._alone.add(proposal.number)
        self._again.append(self._open.pop(trial_id))
        self._say(f"trial {proposal.number}: {OUT_OF_MEMORY}; it starts again, alone on a GPU")
        return True

    def _conclude(self, proposal: Proposal, failure: str | None) -> None:
        take_over(self._files, proposal.number)
        if self._proposer.conclude(proposal.number, failure):
            forget(self._files, proposal.spec, self._data_name)

    @contextlib.contextmanager
    def _ends_run(self) -> Iterator[None]:
        """Store the first exception of the proposer as `fault`, which ends the run."""
        try:
            yield
        except Exception as error:
            self.fault = self.fault or error
            self._open.clear()

    def save(self, checkpoint_path: str) -> None:
        """Write a file, as Ray demands one. The state is in the Optuna study."""
        Path(checkpoint_path).write_text("the state of this search is in its Optuna study\n")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("resume with relu-search search --resume, not with Tuner.restore")

    def __getstate__(self) -> dict[str, Any]:
        """For Ray's snapshots, from which nothing is ever restored."""
        return {"fault": None}


class _Stopper(tune.Stopper):  # type: ignore[misc]
    """Ends a trial where the proposer says so, and the run once its search has a fault."""

    def __init__(self, search: _ProposerSearch) -> None:
        self._search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._search.must_end(trial_id, result)

    def stop_all(self) -> bool:
        return self._search.fault is not None
