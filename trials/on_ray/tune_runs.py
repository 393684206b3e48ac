"""Many trials at once: the only file that imports Ray.

`run_trials` connects a `Proposer` to Ray Tune: Ray starts workers, each drives `run_trial`, ASHA
stops the hopeless ones, and the proposer hears of every epoch and every end.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from trials.data.splits import Splits, TrainingData
from trials.files.durable import StorageError
from trials.on_ray.asha import scheduler_of
from trials.on_ray.session import first_line
from trials.running.early_stopping import EarlyStopping, PastTrial
from trials.running.exchange import forget, take_over, worker_files
from trials.running.faults import CommonCause, RunStoppedError
from trials.running.proposals import Proposal, Proposer
from trials.running.resources import Resources, plan_resources
from trials.running.trial import TrialResult, run_trial
from trials.running.trial_files import NO_FILES, TrialFiles
from trials.training.metrics import EpochMetrics
from trials.training.spec import TrialSpec

FAILURE = "failure"
"""Key of a report that ends a trial as failed; its value is the reason."""
STOPS_RUN = "stops_run"  # key beside it: the run as a whole ends, and the trial stays open

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
    verbose: bool = False,
) -> None:
    """Run trials until the proposer has no more, or Ctrl-C. Needs a `ray_session`.

    Args:
        proposer: decides and learns; called in this process only.
        data: shared with all workers through Ray's object store, one copy per node. Of `Splits`
            each trial takes that of its own seed.
        stopping: when to stop a trial early; None: all train to the end.
        resources: per trial.
        past: trials before an interruption, for the rungs.
        files: folders for weights and checkpoints: absolute paths that every worker can write,
            unless there is an exchange.
        runner: what trains a spec; `run_trial`, or a replay of recorded curves.

    Raises:
        InputError: the cluster can never give a trial what it asks for.
        StorageError: the run folder cannot be written.
        RunStoppedError: all trials fail the same way, or Ray itself fails.
        Exception: whatever the proposer raises.
    """
    per_trial, concurrent = plan_resources(resources, ray.cluster_resources())
    trainable = tune.with_resources(
        tune.with_parameters(_worker, data=data, runner=runner, files=files), per_trial
    )
    search = _ProposerSearch(proposer, files, data.name, restarts=resources.max_failures)
    scratch = tempfile.mkdtemp(prefix="relu-search-ray-")
    try:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler_of(stopping, past) if stopping else FIFOScheduler(),
                num_samples=-1,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=2 if verbose else 0,
                stop=_StopOnFault(search),
            ),
        ).fit()
    except (ray.exceptions.RayError, tune.TuneError, ConnectionError) as error:
        raise RunStoppedError(f"Ray has failed: {first_line(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if search.fault is not None:
        raise search.fault


def _worker(
    config: dict[str, Any], *, data: TrainingData | Splits, runner: Runner, files: TrialFiles
) -> None:
    """One trial in a Ray worker process. Failures are reported, not raised: Ray prints traces."""
    spec = TrialSpec.from_json(config["spec"])
    gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
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
                device="cuda" if gpus else "cpu",
                save_to=mine.weights,
                checkpoint=mine.checkpoint,
                on_epoch=report,
            ).failure
    except StorageError as error:
        failure, stops_run = f"on {socket.gethostname()}, {error}", True
    except Exception as error:  # any exception is this trial's end, not the search's
        failure = f"{type(error).__name__}: {error}"
    if failure is not None:
        tune.report({"epoch": finished + 1, FAILURE: failure, STOPS_RUN: stops_run})


class _ProposerSearch(Searcher):  # type: ignore[misc]
    """Ray's view of a `Proposer`: Ray's trial ids on one side, our numbers on the other.

    A trial whose worker died is handed to Ray again, as another of Ray's trials. (Ray's own
    `max_failures` leaves out workers that die while they are handed from one trial to the next.)

    Attributes:
        fault: what the run ends with. From then on the proposer hears nothing, so that trials
            which were running stay open.
    """

    def __init__(
        self, proposer: Proposer, files: TrialFiles, data_name: str, *, restarts: int
    ) -> None:
        super().__init__(metric="val_accuracy", mode="max")  # Ray's form; the proposer judges
        self.fault: Exception | None = None
        self._proposer = proposer
        self._files = files
        self._data_name = data_name
        self._restarts = restarts
        self._open: dict[str, Proposal] = {}
        self._died: list[Proposal] = []
        self._deaths: Counter[int] = Counter()
        self._epochs: Counter[int] = Counter()
        self._common_cause = CommonCause(self._conclude)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.fault is not None:
            return Searcher.FINISHED
        proposal = self._died.pop(0) if self._died else None
        if proposal is None:
            with self._ends_run():
                proposal = self._proposer.propose()
        if proposal is None:
            if self._open:
                return None  # an open one may die yet
            with self._ends_run():
                self._common_cause.release()
            return Searcher.FINISHED
        self._open[trial_id] = proposal
        return {
            "number": proposal.number,
            "spec": proposal.spec.to_json(),
            "protected": proposal.protected,
            "costs": proposal.costs,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on an epoch once; it comes again at the end of a trial, and after a restart."""
        if trial_id in self._open and FAILURE not in result:
            metrics = EpochMetrics(**{key: result[key] for key in EpochMetrics.__annotations__})
            number = self._open[trial_id].number
            if metrics.epoch > self._epochs[number]:
                self._epochs[number] = metrics.epoch
                with self._ends_run():
                    self._proposer.observe(number, metrics)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if trial_id not in self._open:
            return
        failure = None
        if error or not result:
            proposal = self._open[trial_id]
            if self._deaths[proposal.number] < self._restarts:
                self._deaths[proposal.number] += 1
                self._died.append(self._open.pop(trial_id))
                return
            failure = "the worker process died before it could say why"
        elif FAILURE in result:
            failure = str(result[FAILURE])
        else:
            self.on_trial_result(trial_id, result)
        with self._ends_run():
            if failure is not None and result and result.get(STOPS_RUN):
                raise StorageError(failure)
            self._common_cause.ended(self._open.pop(trial_id), failure)

    def _conclude(self, proposal: Proposal, failure: str | None) -> None:
        take_over(self._files, proposal.number)
        self._proposer.conclude(proposal.number, failure)
        forget(self._files, proposal.spec, self._data_name)

    @contextlib.contextmanager
    def _ends_run(self) -> Iterator[None]:
        """Keep the first exception of the proposer, which ends the run, until the end."""
        try:
            yield
        except Exception as error:
            self.fault = self.fault or error
            self._open.clear()

    def save(self, checkpoint_path: str) -> None:
        """Ray wants a file; the state itself is in the Optuna study."""
        Path(checkpoint_path).write_text("the state of this search is in its Optuna study\n")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("resume with relu-search search --resume, not with Tuner.restore")

    def __getstate__(self) -> dict[str, Any]:
        return {"_metric": self._metric, "_mode": self._mode, "fault": None}


class _StopOnFault(tune.Stopper):  # type: ignore[misc]
    """Ends a run that has a fault."""

    def __init__(self, search: _ProposerSearch) -> None:
        self._search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._search.fault is not None


def _trial_name(trial: Any) -> str:
    return f"trial-{trial.config.get('number', 0):04d}"
