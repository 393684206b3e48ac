"""Run a list of trainings: on Ray, or one after another in this process."""

from __future__ import annotations

from collections.abc import Callable

from relu_search.settings.machines import Machines
from search_spaces import InputError
from trials.data.splits import Splits, TrainingData
from trials.running.exchange import check_exchange
from trials.running.resources import plan_resources
from trials.running.trial import TrialResult, run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList, run_in_process
from trials.training.recipe import Precision


def run_trainings(
    machines: Machines,
    trainings: TrialList,
    data: TrainingData | Splits,
    *,
    precision: Precision,
    files: TrialFiles,
    name: str,
    runner: Callable[..., TrialResult] = run_trial,
) -> None:
    """Run a list of trainings: on Ray, or one after another in this process.

    With Ray, Ctrl-C ends the list early without an error.

    Args:
        name: of the run, for its own folder in the exchange.

    Raises:
        InputError: resources or an address that Ray cannot give.
        StorageError: weights, checkpoints or tables cannot be written.
        RunStoppedError: all trainings fail the same way, or Ray itself fails.
    """
    check_machines(machines, precision)
    files.make_folders()
    if machines.in_process:
        run_in_process(trainings, data, device=local_device(), files=files, runner=runner)
        return
    from trials.on_ray.session import ray_session
    from trials.on_ray.tune_runs import run_trials

    session = ray_session(
        address=machines.address, niceness=machines.niceness, verbose=machines.verbose
    )
    with session as cluster:
        per_trial, _ = plan_resources(machines.resources, cluster)
        check_precision(precision, has_gpu=bool(per_trial["gpu"]))
        run_trials(
            trainings,
            data,
            stopping=None,
            resources=machines.resources,
            files=files.through(machines.exchange, name),
            runner=runner,
            verbose=machines.verbose,
        )


def check_machines(machines: Machines, precision: Precision) -> None:
    """Check what can be checked before anything is written and before Ray starts.

    Raises:
        InputError: bf16 in this process without a GPU, or an exchange that cannot be used.
    """
    if machines.in_process:
        if precision == "bf16" and local_device() != "cuda":
            raise InputError("precision bf16 needs a GPU, and this process has none; use fp32")
    else:
        check_exchange(machines.exchange)


def local_device() -> str:
    """`cuda` if this process sees a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_precision(precision: Precision, *, has_gpu: bool) -> None:
    """Check that bf16 has a GPU to run on.

    Raises:
        InputError: it has none.
    """
    if precision == "bf16" and not has_gpu:
        raise InputError("precision bf16 needs a GPU per trial; use fp32, or --gpus-per-trial")
