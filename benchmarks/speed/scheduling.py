"""Overhead of scheduling, time of a proposal, and response time of the commands."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from benchmarks.relu_bench import load
from benchmarks.replay.simulator import Replay
from benchmarks.speed.rows import Row, ratio_of_runs, seconds_of, seconds_text
from relu_search.run_folder.study import open_study
from relu_search.search.proposer import StudyProposer
from relu_search.settings.search_config import SearchConfig
from relu_search.settings.search_options import Sampler
from trials import Recipe, TrialSpec, load_data
from trials.running.resources import Resources
from trials.running.trial import TrialResult
from trials.running.trial_list import TrialList
from trials.training.metrics import EpochMetrics
from trials.training.spec import untrained_network

EPOCHS = 5
SPEC = TrialSpec(backbone="plain-8", width=4, placement="2:1", recipe=Recipe(epochs=EPOCHS))
CONCURRENT = 2
GROWTH = (100, 1_000, 10_000)


@dataclass(frozen=True, kw_only=True)
class RayTimes:
    """Seconds of the parts of a list of trials on Ray, in order; their sum is the total.

    Attributes:
        start: of Ray.
        workers: from there until the first epoch begins: processes start and import.
        work: from there until the last trial ends.
        stop: of Ray.
    """

    start: float
    workers: float
    work: float
    stop: float

    @property
    def whole(self) -> float:
        return self.start + self.workers + self.work + self.stop


def overhead_rows(repeats: int, *, long_trials: bool) -> Iterator[Row]:
    """Trials that only wait, on Ray and in a process pool of two; with the start of Ray."""
    settings = [(1.0, 48, repeats, 1.3)]
    if long_trials:
        settings.append((60.0, 8, 1, 1.05))
    for seconds, count, runs, goal in settings:
        ours = [_on_ray(seconds, count) for _ in range(runs)]
        theirs = [_in_a_pool(seconds, count) for _ in range(runs)]
        whole = [times.whole for times in ours]
        ratio, low, high = ratio_of_runs(theirs, whole)  # ours over theirs: 1 is no overhead
        yield Row(
            section="Overhead of scheduling (1 is none)",
            what=f"{count} trials of {seconds:g} s, {CONCURRENT} at once, ray.init included",
            peer="a pool of as many threads",
            ours=seconds_text(median(whole)),
            theirs=seconds_text(median(theirs)),
            ratio=ratio,
            low=low,
            high=high,
            n=runs,
            goal=f"≤ {goal:g}",
            reached=ratio <= goal,
        )
        yield from _parts_of(ours, seconds, count)


def _parts_of(runs: list[RayTimes], seconds: float, count: int) -> Iterator[Row]:
    """The parts of the overhead of whole runs."""
    ideal = seconds * count / CONCURRENT
    parts = {
        "Ray starts": [times.start for times in runs],
        "worker processes start and import torch, Ray Tune": [times.workers for times in runs],
        "per trial: handing over, reports": [
            (times.work - ideal) * CONCURRENT / count for times in runs
        ],
        "Ray stops": [times.stop for times in runs],
    }
    for what, values in parts.items():
        yield Row(
            section=f"Where the overhead of {count} trials of {seconds:g} s comes from",
            what=what,
            ours=f"{median(values):.2f} s [{min(values):.2f}, {max(values):.2f}]",
            n=len(values),
        )


def worker_rows(workers: tuple[int, ...] = (2, 4, 8)) -> Iterator[Row]:
    """Overhead of the driver with more workers, without the start and stop of Ray."""
    for count in workers:
        times = _on_ray(1.0, 12 * count, concurrent=count)
        yield Row(
            section="Growth with workers: trials of 1 s that only wait (1 is no overhead)",
            what=f"{12 * count} trials, {count} at once, from the first epoch to the last",
            peer="no overhead at all",
            ours=seconds_text(times.work),
            theirs="12 s",
            ratio=times.work / 12,
            n=1,
        )
    table = load("plain-12")
    for count in (1, 16, 64):
        trials = 1_000
        replay = Replay(
            table=table, sampler="gp", trials=trials, seeds=range(10), workers=count, seed=0
        )
        milliseconds = 1e3 * seconds_of(replay.run) / trials
        yield Row(
            section="Growth with workers: a simulated search, proposals and early stopping",
            what=f"gp, {trials:,} trials of plain-12, {count} at once",
            ours=f"{milliseconds:.1f} ms per trial",
            n=trials,
        )


def _in_a_pool(seconds: float, count: int) -> float:
    with ThreadPoolExecutor(CONCURRENT) as pool:
        return seconds_of(lambda: list(pool.map(lambda _: time.sleep(seconds), range(count))))


def _on_ray(seconds: float, count: int, concurrent: int = CONCURRENT) -> RayTimes:
    from trials.on_ray.session import ray_session
    from trials.on_ray.tune_runs import run_trials

    batch = _TimedTrialList(count)
    data = load_data("digits", train_limit=100)
    started = time.perf_counter()
    with ray_session(cpus=concurrent):
        up = time.perf_counter()
        run_trials(
            batch,
            data,
            stopping=None,
            resources=Resources(concurrent=concurrent),
            runner=_waiting(seconds / EPOCHS),
        )
        done = time.perf_counter()
    assert batch.is_complete
    first = batch.first_report - seconds / EPOCHS
    return RayTimes(
        start=up - started,
        workers=first - up,
        work=done - first,
        stop=time.perf_counter() - done,
    )


class _TimedTrialList(TrialList):
    """Records when the first epoch was reported."""

    def __init__(self, count: int) -> None:
        super().__init__([SPEC] * count, ended=lambda number, epochs, failure: None)
        self.first_report = math.inf

    def observe(self, number: int, metrics: EpochMetrics) -> bool:
        self.first_report = min(self.first_report, time.perf_counter())
        return super().observe(number, metrics)


def _waiting(epoch_seconds: float) -> Callable[..., TrialResult]:
    """A runner that only waits. It is a closure, so that workers do not import this file."""

    def run(spec, data, *, on_epoch, **_how):  # type: ignore[no-untyped-def]
        import time

        done = []
        for epoch in range(1, spec.recipe.epochs + 1):
            time.sleep(epoch_seconds)
            metrics = EpochMetrics(
                epoch=epoch,
                train_loss=1.0,
                train_accuracy=0.5,
                val_loss=1.0,
                val_accuracy=0.5,
                seconds=epoch_seconds,
            )
            done.append(metrics)
            on_epoch(metrics)
        model = untrained_network(spec, data)
        return TrialResult(spec=spec, epochs=tuple(done), failure=None, model=model)

    return run


def proposer_rows(proposals: int) -> Iterator[Row]:
    """Milliseconds of a proposal after a number of trials of plain-38 with granularity site."""
    samplers: tuple[Sampler, ...] = ("gp", "tpe", "evolution")
    for sampler in samplers:
        for trials in GROWTH:
            times = _proposal_seconds(sampler, trials, proposals)
            low, middle, high = quantiles(times, n=4)
            has_goal = sampler == "gp" and trials == 1_000
            yield Row(
                section="A proposal, 36 choices, study in a journal file",
                what=f"{sampler}, after {trials:,} trials",
                ours=f"{1e3 * middle:.0f} ms [{1e3 * low:.0f}, {1e3 * high:.0f}]",
                n=proposals,
                goal="< 50 ms" if has_goal else "",
                reached=middle < 0.05 if has_goal else None,
            )


def _proposal_seconds(sampler: Sampler, trials: int, proposals: int) -> list[float]:
    typed = SearchConfig(granularity="site", sampler=sampler, trials=trials + proposals)
    config = typed.resolve()
    space, rng = config.search_space(), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(Path(folder) / "journal", "growth", config.directions)
        earlier = [_ended(space.sample(rng), space.choices, rng) for _ in range(trials)]
        study.add_trials(earlier)
        proposer = StudyProposer(
            study,
            space,
            references={},
            spec_of=config.trial_spec,
            metric=config.metric,
            trials=config.most_trials,
            sampler=sampler,
            seed=0,
        )
        times = []
        for _ in range(proposals):
            started = time.perf_counter()
            proposal = proposer.propose()
            times.append(time.perf_counter() - started)
            assert proposal is not None
            metrics = EpochMetrics(
                epoch=1,
                train_loss=1.0,
                train_accuracy=0.5,
                val_loss=rng.random() + 0.5,
                val_accuracy=0.5,
                seconds=0.1,
            )
            proposer.observe(proposal.number, metrics)
            proposer.conclude(proposal.number, None)
        return times


def _ended(
    params: dict[str, str],
    choices: dict[str, tuple[str, ...]],
    rng: random.Random,
) -> optuna.trial.FrozenTrial:
    """A trial with a random curve; four in ten have full length."""
    kept = sum(label.count("1") for label in params.values())
    curve = {e: (1 + 0.02 * kept) * (2 - 0.2 * e) * rng.uniform(0.9, 1.1) for e in range(1, 6)}
    is_whole = rng.random() < 0.4
    return create_trial(
        state=TrialState.COMPLETE if is_whole else TrialState.PRUNED,
        value=curve[5] if is_whole else None,
        params=params,
        distributions={name: CategoricalDistribution(c) for name, c in choices.items()},
        intermediate_values=curve if is_whole else {1: curve[1]},
    )


def command_rows(repeats: int) -> Iterator[Row]:
    """Seconds from the start of a command to its end."""
    for arguments, goal in ((("--help",), 0.4), (("show", "plain-38"), 3.0)):
        times = []
        for _ in range(repeats):
            command = [sys.executable, "-m", "relu_search.cli", *arguments]
            run = partial(subprocess.run, command, check=True, capture_output=True)
            times.append(seconds_of(run))
        middle = median(times)
        yield Row(
            section="Commands",
            what=f"relu-search {' '.join(arguments)}",
            ours=f"{middle:.2f} s [{min(times):.2f}, {max(times):.2f}]",
            n=repeats,
            goal=f"≤ {goal:g} s",
            reached=middle <= goal,
        )
