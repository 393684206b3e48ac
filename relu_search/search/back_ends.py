"""How and where the trials of a search train: ordinary, compiled, captured, or packed; on what."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from relu_search.budget.plan import Plan, measured_plan
from relu_search.search.training_lists import check_precision
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.data.image_sets import TrainingData
from trials.running.devices import Say
from trials.running.resources import Node, Resources, plan_resources
from trials.running.trial import run_trial
from trials.training.process import deterministic_algorithms

if TYPE_CHECKING:
    from trials.training.spec import TrialSpec

WORTH_PACKING = 1.05
"""Smallest speed-up for which packs replace ordinary trials, which are the reference."""


def with_pack_chosen(
    config: ResolvedConfig, data: TrainingData, call: Callable[..., Any], say: Say
) -> ResolvedConfig:
    """The options with a number in the place of `pack = "auto"`, by a short measurement.

    Args:
        call: calls the measurement where a trial would run; see `call_in_worker`.
        say: is told the result.
    """
    if config.pack != "auto":
        return config
    from trials.running.devices import SIZES

    space, rng = config.search_space(), random.Random(config.seed)
    drawn = (space.decode(space.sample(rng)) for _ in range(max(SIZES)))
    specs = [config.trial_spec(p) for p in drawn]
    rates = call(_rates, specs, data, config.captured, config.deterministic, say=say)
    best = max(rates, key=rates.__getitem__)
    chosen = best if rates[best] >= WORTH_PACKING * rates[1] else 1
    measured = ", ".join(f"{size}: {rate:.0f}" for size, rate in rates.items())
    say(f"pack auto: {chosen} at once in a worker (trial-steps per second, by pack: {measured})")
    return replace(config, pack=chosen)


def _rates(
    specs: Sequence[TrialSpec],
    data: TrainingData,
    captured: bool,
    deterministic: bool,
    *,
    device: str,
    say: Say,
) -> dict[int, float]:
    from trials.running.devices import measured_rates

    with deterministic_algorithms(deterministic):
        return measured_rates(specs, data, device, captured=captured)


def run_search_trials(
    config: ResolvedConfig, proposer: Any, data: TrainingData, **how: Any
) -> None:
    """Run the trials by `run_trials` or `run_packed`, as the options say.

    Args:
        config: of the search; `pack` is a number.
        proposer: proposes the trials and is told their results.
        data: to train on.
        how: further arguments of `run_trials`; `verbose` shows Ray's own messages.
    """
    if config.pack == 1:
        from trials.on_ray.tune_runs import run_trials

        runner = partial(
            run_trial,
            compiled=config.compiled,
            captured=config.captured,
            deterministic=config.deterministic,
            weights=config.start,
        )
        run_trials(proposer, data, runner=runner, **how)
        return
    if config.pack == "auto":
        raise InputError("pack is auto; choose a number with with_pack_chosen first")
    from trials.on_ray.pack_runs import run_packed

    how.pop("verbose", None)
    run_packed(
        proposer,
        data,
        pack=config.pack,
        captured=config.captured,
        deterministic=config.deterministic,
        **how,
    )


def connect(
    config: ResolvedConfig, stack: contextlib.ExitStack, *, dashboard: bool, verbose: bool
) -> list[Node]:
    """Join or start Ray until the stack is closed; returns the nodes of the cluster."""
    from trials.on_ray.session import ray_session

    cluster = stack.enter_context(
        ray_session(
            address=config.address,
            niceness=config.niceness,
            dashboard=dashboard,
            verbose=verbose,
        )
    )
    per_trial, _ = plan_resources(config.resources, cluster)
    has_gpu = bool(per_trial["gpu"])
    check_precision(config.precision, has_gpu=has_gpu)
    if config.captured and not has_gpu:
        raise InputError(
            "captured needs a GPU per trial, and no trial has one; omit --captured, or set "
            "--gpus-per-trial on a machine with GPUs"
        )
    return cluster


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a search computes.

    Attributes:
        resources: of each trial.
        call: calls a function in a worker with these resources; see `call_in_worker`.
        at_once: trials at the same time.
    """

    resources: Resources
    call: Callable[..., Any]
    at_once: int

    def plan(self, config: ResolvedConfig, data: TrainingData, say: Say) -> Plan:
        """The estimate of a search here, by a measurement."""
        return measured_plan(config, data, self.call, at_once=self.at_once, say=say)


def measured_places(
    config: ResolvedConfig, data: TrainingData, cluster: list[Node], say: Say
) -> tuple[ResolvedConfig, Places]:
    """The options with a number for `pack auto`, and the places with one for `gpus-per-trial auto`.

    The workers measure, not this process. The pack comes first, as it decides how much memory is
    needed.
    """
    from trials.on_ray.one_worker import call_in_worker, with_share_measured

    per_trial, _ = plan_resources(config.resources, cluster)
    config = with_pack_chosen(config, data, partial(call_in_worker, per_trial), say)
    assert config.pack != "auto"
    paired = config.trial_spec(config.network.paired)
    resources = with_share_measured(
        config.resources,
        cluster,
        [paired] * config.pack,
        data,
        say=say,
        compiled=config.compiled,
        captured=config.captured,
        weights=config.start,
    )
    per_trial, slots = plan_resources(replace(resources, concurrent=None), cluster)
    at_once = min(slots * config.pack, resources.concurrent or slots * config.pack)
    call = partial(call_in_worker, per_trial)
    return config, Places(resources=resources, call=call, at_once=at_once)
