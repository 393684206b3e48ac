"""The code that trains the trials of a search: ordinary, compiled, captured, or packed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.data.image_sets import TrainingData
from trials.running.devices import Say
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
    from trials.fast.packing import SIZES

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
    from trials.fast.packing import measured_rates

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
