"""Many trials at once: the only file that imports Ray.

`run_trials` connects a `Proposer` to Ray Tune: Ray starts workers, each drives `run_trial`, ASHA
stops the hopeless ones, and the proposer hears of every epoch and every end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from search_spaces import InputError
from trials.addresses import require_ray, unreachable
from trials.data import Splits, TrainingData
from trials.early_stopping import EarlyStopping, ParetoHalving, PastTrial
from trials.exchange import forget, take_over, worker_files
from trials.faults import CommonCause, RunStoppedError
from trials.files import StorageError
from trials.proposals import Proposal, Proposer
from trials.resources import Resources, plan_resources
from trials.training import EpochMetrics
from trials.trial import TrialResult, TrialSpec, run_trial
from trials.trial_files import NO_FILES, TrialFiles

# Ray reads these when it is imported or when a run starts.
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial reports no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the Optuna study is the truth, not Tune's snapshots
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

FAILURE = "failure"
"""Key of a report that ends a trial as failed; its value is the reason."""
STOPS_RUN = "stops_run"  # key beside it: the run as a whole ends, and the trial stays open

Runner = Callable[..., TrialResult]


def scheduler_of(stopping: EarlyStopping, past: Sequence[PastTrial] = ()) -> TrialScheduler:
    """A fresh scheduler whose rungs already hold the values of earlier trials.

    Args:
        stopping: the rule.
        past: earlier trials; those with costs make it a rule for several objectives.
    """
    scheduler = _ProtectingASHA(
        time_attr="epoch",
        metric=stopping.metric,
        mode=stopping.mode,
        max_t=stopping.max_epochs,
        grace_period=min(stopping.grace_epochs, stopping.max_epochs),
        reduction_factor=stopping.reduction_factor,
    )
    scheduler.pareto = ParetoHalving(stopping)
    for i, earlier in enumerate(past):
        trial = SimpleNamespace(config={"number": f"past-{i}", "costs": earlier.costs})
        scheduler.on_trial_add(None, trial)
        for epoch in sorted(earlier.curve):
            if epoch < stopping.max_epochs:
                result = {"epoch": epoch, stopping.metric: earlier.curve[epoch]}
                scheduler.on_trial_result(None, trial, result)
        scheduler.on_trial_remove(None, trial)
    return scheduler


class _ProtectingASHA(ASHAScheduler):  # type: ignore[misc]
    """ASHA that records what protected trials report but lets them run to the end.

    It knows trials by our numbers, so that one which is started again stays the same at its rungs.
    Trials that have costs are judged by `ParetoHalving` instead.
    """

    pareto: ParetoHalving

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _numbered(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = super().on_trial_result(tune_controller, _numbered(trial), result)
        epoch, costs = result["epoch"], tuple(trial.config.get("costs", ()))
        if costs and epoch < self._max_t and self._metric in result:
            number, metric = str(trial.config["number"]), float(result[self._metric])
            passes = self.pareto.goes_on(number, epoch, metric, costs)
            decision = TrialScheduler.CONTINUE if passes else TrialScheduler.STOP
        if trial.config.get("protected") and result["epoch"] < self._max_t:
            return TrialScheduler.CONTINUE
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _numbered(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _numbered(trial))


def _numbered(trial: Any) -> SimpleNamespace:
    """A trial as ASHA sees it."""
    return SimpleNamespace(trial_id=str(trial.config["number"]), config=trial.config)


@contextlib.contextmanager
def ray_session(
    *,
    address: str | None = None,
    cpus: int | None = None,
    dashboard: bool = False,
    verbose: bool = False,
) -> Iterator[Mapping[str, float]]:
    """Connect to a Ray cluster, or start one on this machine, and leave it at the end.

    Yields the resources of the cluster, such as `{"CPU": 2, "GPU": 1}`.

    Args:
        address: of an existing cluster, `host:port` or `auto`; None starts a private one.
        cpus: CPU slots of a private cluster; None for all cores.
        dashboard: start Ray's dashboard beside a private cluster, for this machine alone.
        verbose: show Ray's own messages.

    Raises:
        InputError: no cluster answers at the address, or the dashboard is not installed.
    """
    level = logging.INFO if verbose else logging.CRITICAL
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(level)
    if address is not None:
        require_ray(address)
    options: dict[str, Any] = {}
    if address is None:
        options = {"num_cpus": cpus, "include_dashboard": dashboard, "dashboard_host": "127.0.0.1"}
    worker_env = {
        **_QUIET,
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
        "MALLOC_ARENA_MAX": "1",  # trials run in threads, whose own arenas give memory back
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=verbose,
            logging_level=level,
            configure_logging=verbose,
            runtime_env={"env_vars": worker_env},
            **options,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        if address is None:
            raise
        raise unreachable(address, _first_line(error)) from error
    except Exception as error:  # what Ray raises without its dashboard's packages
        if not dashboard:
            raise
        raise InputError("--dashboard needs more of Ray: pip install 'ray[default]'") from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


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
        raise RunStoppedError(f"Ray has failed: {_first_line(error)}") from error
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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]
