"""Candidates of a search: one against the usual loop, and many that share the device."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from multiprocessing.synchronize import Barrier

from benchmarks.gpu_speed.scale import Scale
from benchmarks.gpu_speed.ways import UNTIMED, Way, pack_of, warm_epoch
from benchmarks.speed.colour_images import PAD, colour_images, without_padding
from benchmarks.speed.rows import Row, seconds_of, seconds_text
from benchmarks.speed.usual_loop import UsualTraining, fastest_of, usual_training
from relu_search.export.timing import Timing, time_side_by_side
from trials.data.image_sets import TrainingData
from trials.training.recipe import Precision
from trials.training.spec import TrialSpec, untrained_network

GOALS = {"plain-20": (8.0, 30.0), "preresnet-110": (3.0, 8.0)}
"""Times the usual loop: one candidate; candidates per hour."""
LONG_EPOCHS, LONG_GOAL = 30, 750
"""A candidate of plain-20 trains for so many epochs; so many candidates per hour are the goal."""


def candidate_rows(device: str, scale: Scale) -> Iterator[Row]:
    """An epoch of one candidate, in every way, and of packs, against a usual loop."""
    for backbone, images in scale.images.items():
        data, spec = colour_images(images), _spec(backbone, "fp32")
        start = _usual(spec, data, device)
        with ExitStack() as stack:
            ways = scale.usual_ways[backbone]
            peers = {way: stack.enter_context(start(way=way)) for way in ways}
            fastest = fastest_of(peers, rounds=scale.rounds)
            peer_text = f"the usual loop: {fastest}, torch's own precision"
            for way in scale.ways[backbone]:
                ours = way.epochs(spec, data, device)
                calls: dict[str, Callable[[], object]] = {
                    "ours": partial(next, ours),
                    "usual": peers[fastest].epoch,
                }
                found = time_side_by_side(calls, rounds=scale.rounds)
                yield Row.of_timings(
                    "Training epoch of one candidate, batch 64",
                    f"{backbone}, {images:,} images, {way}",
                    peer_text,
                    found["ours"],
                    found["usual"],
                    GOALS.get(backbone, (None,))[0],
                )
        together = partial(_row, backbone, images, peer_text, found["usual"])
        for precision, members in scale.packs[backbone]:
            seconds = _pack_seconds(_spec(backbone, precision), data, device, members, scale.rounds)
            yield together(f"a pack of {members}, {precision}", seconds / members, scale.rounds)


def process_rows(device: str, scale: Scale) -> Iterator[Row]:
    """Packs in several processes that share the device, against one pack as large as all."""
    backbone, images = next(iter(scale.images.items()))
    spec, data = _spec(backbone, scale.fast_precision), colour_images(images)
    for processes, members in scale.processes:
        count = processes * members
        alone = _pack_seconds(spec, data, device, count, scale.rounds)
        shared = _shared_seconds(spec, images, device, processes, members, scale.rounds)
        yield Row(
            section="Candidate epochs per hour, in several processes",
            what=f"{backbone}, {images:,} images, {processes} processes with {members} each, "
            + scale.fast_precision,
            peer=f"one process with {count}",
            ours=f"{3600 * count / shared:,.0f}",
            theirs=f"{3600 * count / alone:,.0f}",
            ratio=alone / shared,
            n=scale.rounds,
        )


def compiled_rows(device: str, scale: Scale) -> Iterator[Row]:
    """What torch.compile adds to a recorded step: an epoch of one candidate."""
    backbone, images = next(iter(scale.images.items()))
    spec, data = _spec(backbone, scale.fast_precision), colour_images(images)
    found: dict[str, Timing] = {}
    for is_compiled in (True, False):  # one after the other: a process keeps one stand-in
        way = Way(captured=True, compiled=is_compiled, precision=scale.fast_precision)
        epoch = partial(next, way.epochs(spec, data, device))
        found |= time_side_by_side({str(way): epoch}, rounds=scale.rounds)
    (name, ours), (peer, theirs) = found.items()
    yield Row.of_timings(
        "Training epoch of one candidate with torch.compile, batch 64",
        f"{backbone}, {images:,} images, {name}",
        peer,
        ours,
        theirs,
        None,
    )


def _row(  # noqa: PLR0917
    backbone: str, images: int, peer: str, usual: Timing, what: str, ours: float, n: int
) -> Row:
    ratio = usual.median_ms / 1e3 / ours
    goal = GOALS.get(backbone, (None, None))[1]
    return Row(
        section="Candidate epochs per hour, batch 64, captured",
        what=f"{backbone}, {images:,} images, {what}",
        peer=peer,
        ours=f"{3600 / ours:,.0f}",
        theirs=f"{3.6e6 / usual.median_ms:,.0f}",
        ratio=ratio,
        low=usual.q25_ms / 1e3 / ours,
        high=usual.q75_ms / 1e3 / ours,
        n=n,
        goal="" if goal is None else f"≥ {goal:g}x",
        reached=None if goal is None else ratio >= goal,
    )


def long_rows(device: str, scale: Scale) -> Iterator[Row]:
    """Candidates per hour with many images: an epoch of a pack, with 5,000 validation images."""
    backbone = next(iter(scale.images))
    images, members = scale.long_images, scale.long_pack
    data = colour_images(images, validation=images // 9)
    spec = _spec(backbone, scale.fast_precision)
    seconds = _pack_seconds(spec, data, device, members, rounds=1, untimed=1)
    per_hour = 3600 * members / (LONG_EPOCHS * seconds)
    yield Row(
        section=f"Candidates of {LONG_EPOCHS} epochs per GPU-hour",
        what=f"{backbone}, {images:,} images, a pack of {members}, {scale.fast_precision}",
        ours=f"{per_hour:,.0f}",
        n=1,
        goal=f"≥ {LONG_GOAL}",
        reached=per_hour >= LONG_GOAL,
    )


def deterministic_rows(device: str, scale: Scale) -> Iterator[Row]:
    """What `--deterministic` costs: an epoch of a pack with it (ours) and without it."""
    backbone, images = next(iter(scale.images.items()))
    data, members = colour_images(images), min(count for _, count in scale.packs[backbone])
    for precision in dict.fromkeys(("fp32", scale.fast_precision)):
        spec = _spec(backbone, precision)
        on, off = (
            _pack_seconds(spec, data, device, members, scale.rounds, deterministic=is_on)
            for is_on in (True, False)
        )
        yield Row(
            section="Cost of --deterministic",
            what=f"{backbone}, {images:,} images, a pack of {members}, {precision}",
            peer="without it",
            ours=seconds_text(on),
            theirs=seconds_text(off),
            ratio=off / on,
            n=scale.rounds,
        )


def _spec(backbone: str, precision: Precision) -> TrialSpec:
    return TrialSpec(backbone=backbone, placement="paired", recipe=Way(precision=precision).recipe)


def _usual(
    spec: TrialSpec, data: TrainingData, device: str
) -> Callable[..., AbstractContextManager[UsualTraining]]:
    start: Callable[..., AbstractContextManager[UsualTraining]] = partial(
        usual_training,
        untrained_network(spec, data),
        without_padding(data),
        data.train.labels,
        pad=PAD,
        batch_size=spec.recipe.batch_size,
        device=device,
    )
    return start


def _pack_seconds(
    spec: TrialSpec,
    data: TrainingData,
    device: str,
    members: int,
    rounds: int,
    *,
    untimed: int = UNTIMED,
    deterministic: bool = False,
) -> float:
    """The median seconds of an epoch of a pack."""
    training = pack_of(spec, data, device, members, deterministic=deterministic)
    for _ in range(untimed):
        training.epoch()
    seconds = sorted(seconds_of(training.epoch) for _ in range(rounds))
    return seconds[rounds // 2]


def _shared_seconds(  # noqa: PLR0917
    spec: TrialSpec, images: int, device: str, processes: int, members: int, rounds: int
) -> float:
    """Seconds of an epoch when several processes train at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    arguments = (barrier, spec, images, device, members, rounds)
    workers = [
        context.Process(target=_train_beside_others, args=arguments) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    seconds = seconds_of(barrier.wait)
    for worker in workers:
        worker.join()
    return seconds / rounds


def _train_beside_others(  # noqa: PLR0917
    barrier: Barrier, spec: TrialSpec, images: int, device: str, members: int, rounds: int
) -> None:
    try:
        data = colour_images(images)
        epoch = warm_epoch(spec, data, device, members)
        barrier.wait()
        for _ in range(rounds):
            epoch()
        barrier.wait()
    except BaseException:
        barrier.abort()
        raise
