"""Calls one function in a worker process, with the resources of a trial.

What must be tried on the machines of the trials runs here, so that the driver uses no GPU and Ray
counts what is used.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import ray

from trials.data.image_sets import TrainingData
from trials.data.splits import Splits
from trials.fine_tuning.weights import StartingWeights
from trials.on_ray.session import first_line
from trials.running.devices import Say, measured_memory, share_for
from trials.running.faults import RunStoppedError
from trials.running.resources import Node, Resources, plan_resources
from trials.training.spec import TrialSpec


def device_of_worker() -> str:
    """`cuda` if Ray gave a GPU to this worker, else `cpu`. For use in a worker only."""
    return "cuda" if ray.get_runtime_context().get_accelerator_ids()["GPU"] else "cpu"


def call_in_worker(
    resources: Mapping[str, float], function: Callable[..., Any], *arguments: Any, say: Say
) -> Any:
    """`function(*arguments, device=..., say=...)` in a new worker process. Needs a `ray_session`.

    The process ends after the call, and with it all that it holds on a GPU.

    Args:
        resources: of the worker in Ray's terms, as `plan_resources` gives them.
        say: gets in this process what the function gives to its own `say`, in the same order.

    Returns:
        What the function returns.

    Raises:
        RunStoppedError: the worker died, or Ray itself fails.
        Exception: raised by the function.
    """
    worker = _in_worker.options(num_cpus=resources["cpu"], num_gpus=resources["gpu"])
    events = worker.remote(function, arguments)
    try:
        for event in events:
            is_result, value = ray.get(event)
            if not is_result:
                say(value)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise RunStoppedError(f"Ray has failed: {first_line(error)}") from error
    return value


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Iterator[tuple[bool, Any]]:
    """(False, something said) any number of times, then (True, the result)."""
    said: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    call = partial(function, *arguments, device=device_of_worker(), say=lambda it: said.put((it,)))
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(call)
        result.add_done_callback(lambda _: said.put(()))
        while event := said.get():
            yield False, event[0]
        yield True, result.result()


_in_worker: Any = ray.remote(max_calls=1, max_retries=0)(_call)  # Ray has no types for it


def with_share_measured(
    resources: Resources,
    nodes: Sequence[Node],
    specs: Sequence[TrialSpec],
    data: TrainingData | Splits,
    *,
    say: Say,
    compiled: bool = False,
    captured: bool = False,
    weights: StartingWeights | None = None,
) -> Resources:
    """The resources with a number in the place of `gpus_per_trial = "auto"`. See `share_for`.

    Args:
        nodes: of the cluster; without a GPU on any node nothing is measured.
        specs: one trial, or the members of one pack.
        say: is told the result.
        compiled, captured, weights: as the trials will be trained.

    Raises:
        InputError: one training needs more memory than a GPU has.
        RunStoppedError: Ray has failed.
    """
    if resources.gpus_per_trial != "auto":
        return resources
    whole, _ = plan_resources(resources, nodes)
    if not whole["gpu"]:
        return replace(resources, gpus_per_trial=0)
    split = data.of(specs[0].seed) if isinstance(data, Splits) else data
    needed, total = call_in_worker(
        whole, measured_memory, specs, split, compiled, captured, weights, say=say
    )
    share = share_for(needed, total)
    say(
        f"gpus-per-trial auto: {share:g} (one {'trial' if len(specs) == 1 else 'pack'} needs "
        f"{needed / 2**30:.1f} of {total / 2**30:.1f} GiB)"
    )
    return replace(resources, gpus_per_trial=share)
