"""The code that trains the trials of a search: ordinary, compiled, captured, or packed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.data.splits import TrainingData
from trials.running.trial import run_trial
from trials.training.process import deterministic_algorithms

WORTH_PACKING = 1.05
"""Smallest speed-up for which packs replace ordinary trials, which are the reference."""


def with_pack_chosen(
    config: ResolvedConfig, data: TrainingData, device: str, say: Callable[[str], None]
) -> ResolvedConfig:
    """The options with a number in the place of `pack = "auto"`, by a short measurement.

    Args:
        device: of this process, which the measurement runs on.
        say: is told the result.

    Raises:
        InputError: this device cannot train with these options.
    """
    if config.pack != "auto":
        return config
    if device != "cuda" and (config.precision != "fp32" or config.captured):
        what = "captured" if config.precision == "fp32" else f"precision {config.precision}"
        raise InputError(
            f"pack auto measures in this process, which has no GPU, and {what} needs one; give a "
            f"number with --pack, or leave out {what}"
        )
    from trials.fast.packing import SIZES, measured_rates

    space, rng = config.search_space(), random.Random(config.seed)
    drawn = (space.decode(space.sample(rng)) for _ in range(max(SIZES)))
    specs = [config.trial_spec(p) for p in drawn]
    with deterministic_algorithms(config.deterministic):
        rates = measured_rates(specs, data, device, captured=config.captured)
    best = max(rates, key=rates.__getitem__)
    chosen = best if rates[best] >= WORTH_PACKING * rates[1] else 1
    measured = ", ".join(f"{size}: {rate:.0f}" for size, rate in rates.items())
    say(f"pack auto: {chosen} at once in a worker (trial-steps per second, by pack: {measured})")
    return replace(config, pack=chosen)


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
