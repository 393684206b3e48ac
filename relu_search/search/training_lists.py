"""Run a list of trainings, or a single call: on Ray, or in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from relu_search.budget.plan import estimate_text, needs_at_once
from relu_search.settings.machines import Machines
from search_spaces import InputError
from trials.data.image_sets import TrainingData
from trials.data.splits import Splits
from trials.fine_tuning.weights import StartingWeights
from trials.running.devices import Say, free_device_memory, local_device
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
    say: Say,
    runner: Callable[..., TrialResult] = run_trial,
    weights: StartingWeights | None = None,
) -> None:
    """Run a list of trainings: on Ray, or one after another in this process.

    With Ray, Ctrl-C ends the list early without an error. If the list has a time budget, an
    estimate is measured and told first.

    Args:
        name: of the run, for its own folder in the exchange.
        say: is told what a measurement of memory finds, and of trials that start again.
        weights: from which the trainings start.

    Raises:
        InputError: resources or an address that Ray cannot give.
        StorageError: weights, checkpoints or tables cannot be written.
        RunStoppedError: all trainings fail the same way, or Ray itself fails.
    """
    check_machines(machines, precision)
    files.make_folders()
    if weights is not None:
        runner = partial(runner, weights=weights)
    if machines.in_process:
        device = device_here(machines)
        call = partial(_call_here, device)
        _expect(trainings, data, call, at_once=1, weights=weights, say=say)
        run_in_process(trainings, data, device=device, files=files, runner=runner)
        return
    from trials.on_ray.one_worker import call_in_worker, with_share_measured
    from trials.on_ray.session import ray_session
    from trials.on_ray.tune_runs import run_trials

    session = ray_session(
        address=machines.address, niceness=machines.niceness, verbose=machines.verbose
    )
    with session as cluster:
        per_trial, _ = plan_resources(machines.resources, cluster)
        check_precision(precision, has_gpu=bool(per_trial["gpu"]))
        resources = with_share_measured(
            machines.resources, cluster, [trainings.largest], data, say=say, weights=weights
        )
        per_trial, at_once = plan_resources(resources, cluster)
        call = partial(call_in_worker, per_trial)
        _expect(trainings, data, call, at_once=at_once, weights=weights, say=say)
        run_trials(
            trainings,
            data,
            stopping=None,
            resources=resources,
            files=files.through(machines.exchange, name),
            runner=runner,
            say=say,
            verbose=machines.verbose,
        )


def _call_here(device: str, function: Callable[..., Any], *arguments: Any, say: Say) -> Any:
    return function(*arguments, device=device, say=say)


def _expect(
    trainings: TrialList,
    data: TrainingData | Splits,
    call: Callable[..., Any],
    *,
    at_once: int,
    weights: StartingWeights | None,
    say: Say,
) -> None:
    """Tell the time budget of a list, if it has a limit, what its largest training takes.

    Args:
        call: calls the measurement where a training would run.
        say: is told how many trainings fit.
    """
    budget, spec = trainings.budget, trainings.largest
    if not budget.is_limited or budget.left <= 0:
        return
    split = data.of(spec.seed) if isinstance(data, Splits) else data
    how = [spec], split, False, False, False
    needs = needs_at_once(call, at_once, *how, weights=weights, say=say)
    seconds = needs.seconds(spec.recipe.epochs)
    budget.expect(spec, seconds)
    left = max(0.0, budget.left)
    in_time = max(0.0, left - needs.start_seconds)
    fit = min(len(trainings), at_once * int(in_time / seconds))
    say(estimate_text(f"{fit} of {len(trainings)} trainings", left, seconds, at_once))


def check_machines(machines: Machines, precision: Precision) -> None:
    """Check what can be checked before anything is written and before Ray starts.

    Raises:
        InputError: tf32 or bf16 in this process without a GPU, or an exchange that cannot be
            used.
    """
    if machines.in_process:
        if precision != "fp32" and device_here(machines) != "cuda":
            raise InputError(
                f"precision {precision} needs a GPU, and trainings in this process have none; use "
                "fp32"
            )
    else:
        check_exchange(machines.exchange)


def device_here(machines: Machines) -> str:
    """The device of a training in this process: `cuda` if it has a GPU and may use it."""
    return local_device(machines.resources.gpus_per_trial)


@contextmanager
def calls_on(machines: Machines) -> Iterator[Callable[..., Any]]:
    """How to call `function(*arguments, device=..., say=...)` on these machines.

    With an address, in a worker of that cluster with the resources of a training, as others may use
    the cluster too. Otherwise in this process: no training runs meanwhile.

    Yields:
        `call(function, *arguments, say=...)`, which returns what the function returns.

    Raises:
        InputError: an address or resources that Ray cannot give.
        RunStoppedError: raised by the call: its worker died, or Ray itself fails.
    """
    if machines.in_process or machines.address is None:
        try:
            yield partial(_call_here, device_here(machines))
        finally:
            free_device_memory()
        return
    from trials.on_ray.one_worker import call_in_worker
    from trials.on_ray.session import ray_session

    with ray_session(address=machines.address, verbose=machines.verbose) as cluster:
        per_trial, _ = plan_resources(machines.resources, cluster)
        yield partial(call_in_worker, per_trial)


def check_precision(precision: Precision, *, has_gpu: bool) -> None:
    """Check that tf32 and bf16 have a GPU to run on.

    Raises:
        InputError: they have none.
    """
    if precision != "fp32" and not has_gpu:
        raise InputError(
            f"precision {precision} needs a GPU per trial; use fp32, or --gpus-per-trial"
        )
