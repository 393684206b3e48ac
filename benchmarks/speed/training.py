"""Input pipeline, training epoch, packing and candidates per minute, each against its peer."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.colour_images import PAD, colour_images, without_padding
from benchmarks.speed.rows import Row, ratio_of_runs, seconds_of, seconds_text
from benchmarks.speed.usual_loop import (
    USUAL_WAYS,
    accuracy,
    fastest_way,
    train_epoch,
    usual_sgd,
    usual_training,
)
from relu_search.export.timing import time_side_by_side
from relu_search.run_folder.folder import RunFolder
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_config import SearchConfig
from search_spaces import Placement, build
from trials.data.augmentation import EpochDraws, Normalise, crop_and_flip
from trials.data.image_sets import TrainingData
from trials.fast.stand_in import stand_in_epochs
from trials.running.devices import SIZES, measured_rates
from trials.training.evaluation import EVALUATION_BATCH
from trials.training.loop import TrainsEpoch, train
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec, untrained_network

CONVOLUTIONS = ("convolutions, forward", "convolutions, backward")
_KINDS = {
    CONVOLUTIONS[0]: {"aten::mkldnn_convolution"},
    CONVOLUTIONS[1]: {"aten::convolution_backward"},
    "batch norm": {"aten::native_batch_norm", "aten::native_batch_norm_backward"},
    "ReLU": {"aten::clamp_min", "aten::threshold_backward"},
    "optimizer": {"aten::_fused_sgd_"},
}
"""Operation names in torch's profiler, by what they do."""
RECIPE = Recipe(epochs=1, batch_size=64)


def input_rows(rounds: int) -> Iterator[Row]:
    """An epoch of batches, crops, flips and normalisation, without a network."""
    data = colour_images(5000)
    usual = partial(
        usual_training,
        nn.Linear(1, 1),  # is not used
        without_padding(data),
        data.train.labels,
        pad=PAD,
        batch_size=64,
    )
    ways = [way for way in USUAL_WAYS if not way.channels_last]
    way = fastest_way(usual, work="load", ways=ways)
    images = torch.from_numpy(data.train.images)
    normalise = Normalise(data.mean, data.std, 32, torch.device("cpu"))

    def ours() -> None:
        draws = EpochDraws.draw(len(images), pad=PAD, flip=True, seed=0, epoch=1)
        for start in range(0, len(images), 64):
            normalise(crop_and_flip(images, draws.batch(start, 64), 32, 32))

    with usual(way=way) as peer:
        found = time_side_by_side({"ours": ours, "theirs": partial(peer.do, "load")}, rounds=rounds)
    yield Row.of_timings(
        "Input pipeline, CPU",
        "5,000 images of 32x32, batches of 64",
        f"PIL, {way.loading}",
        found["ours"],
        found["theirs"],
        13,
    )


def epoch_rows(rounds: int) -> Iterator[Row]:
    """A training epoch of one candidate; ours and the peer use all cores."""
    data = colour_images(768)
    threads = torch.get_num_threads()
    for backbone in ("plain-20", "preresnet-20"):
        spec = TrialSpec(backbone=backbone, placement="paired", recipe=RECIPE)
        compiled = stand_in_epochs(spec, compiled=True, captured=False)
        usual = partial(
            usual_training,
            untrained_network(spec, data),
            without_padding(data),
            data.train.labels,
            pad=PAD,
            batch_size=RECIPE.batch_size,
            threads=threads,
        )
        ours, gated = (untrained_network(spec, data) for _ in range(2))
        way = fastest_way(usual)
        with usual(way=way) as peer:
            peer.epoch()
            started = time.perf_counter()
            _our_epoch(gated, data, compiled)
            compile_seconds = time.perf_counter() - started
            found = time_side_by_side(
                {
                    "usual": peer.epoch,
                    "eager": partial(_our_epoch, ours, data),
                    "compiled": partial(_our_epoch, gated, data, compiled),
                },
                rounds=rounds,
            )
        for name, goal in (("eager", 1.6), ("compiled", 2.0)):
            apart = f"; compiled in {compile_seconds:.0f} s" if name == "compiled" else ""
            yield Row.of_timings(
                "Training epoch, CPU",
                f"{backbone}, width 16, 768 images, {name}, {threads} threads{apart}",
                f"the usual loop, as many threads, {way}",
                found[name],
                found["usual"],
                goal,
            )
        spent = _shares(partial(_our_epoch, ours, data))
        convolutions = found["eager"].median_ms / 1e3 * sum(spent[kind] for kind in CONVOLUTIONS)
        theirs = found["usual"].median_ms / 1e3
        yield Row(
            section="Training epoch, CPU",
            what=f"{backbone}: the convolutions of our eager epoch alone, by the profile",
            peer=f"the usual loop, as many threads, {way}",
            ours=seconds_text(convolutions),
            theirs=seconds_text(theirs),
            ratio=theirs / convolutions,
            n=1,
        )


def _our_epoch(
    model: nn.Module,
    data: TrainingData,
    epoch_by: TrainsEpoch | None = None,
    recipe: Recipe = RECIPE,
) -> None:
    for _ in train(model, data, recipe, seed=0, epoch_by=epoch_by):
        pass


def profile_rows() -> Iterator[Row]:
    """Share of the time of an eager epoch by kind of operation."""
    search, threads = SearchConfig().resolve(), torch.get_num_threads()
    one_epoch = replace(search.training_recipe, epochs=1)
    plain, residual = (
        TrialSpec(backbone=backbone, placement="paired", recipe=RECIPE)
        for backbone in ("plain-20", "preresnet-20")
    )
    of_search = replace(search.trial_spec(Placement("01" * 18)), recipe=one_epoch)
    for name, data, spec, used in (
        ("plain-20", colour_images(768), plain, threads),
        ("preresnet-20", colour_images(768), residual, threads),
        ("the default search's plain-38, 8x8, one thread", search.load_data(), of_search, 1),
    ):
        model = untrained_network(spec, data)
        torch.set_num_threads(used)
        _our_epoch(model, data, recipe=spec.recipe)
        shares = _shares(partial(_our_epoch, model, data, recipe=spec.recipe))
        torch.set_num_threads(threads)
        for kind, share in shares.items():
            yield Row(
                section="Where an eager training epoch spends its time, CPU",
                what=f"{name}: {kind}",
                ours=f"{100 * share:.0f} %",
                n=1,
            )


def _shares(call: Callable[[], object]) -> dict[str, float]:
    """Share of the time of a call by kind of operation, from torch's profiler; the sum is 1."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        call()
    spent = dict.fromkeys((*_KINDS, "all else"), 0.0)
    for event in profiler.key_averages():
        kind = next((k for k, words in _KINDS.items() if event.key in words), "all else")
        spent[kind] += event.self_cpu_time_total
    whole = sum(spent.values())
    return {kind: time / whole for kind, time in spent.items()}


def packing_rows() -> Iterator[Row]:
    """Training steps of all trials per second, by the size of a pack, on one thread."""
    config = SearchConfig().resolve()
    digits = config.load_data()
    placements = [Placement(f"{i + 1:036b}") for i in range(max(SIZES))]
    colour = TrialSpec(backbone="plain-20", placement="paired", recipe=RECIPE)
    for name, specs, data in (
        ("digits 8x8, plain-38, width 8", [config.trial_spec(p) for p in placements], digits),
        ("32x32, plain-20, width 16", [colour] * max(SIZES), colour_images(256)),
    ):
        runs = [measured_rates(specs, data) for _ in range(3)]
        for size in sorted(set.intersection(*(set(run) for run in runs)) - {1}):
            ratios = [run[size] / run[1] for run in runs]
            yield Row(
                section="Packed trials against one after another, CPU",
                what=f"{name}, {size} in a pack",
                peer="ordinary trials (channels_last)",
                ours=f"{median(run[size] for run in runs):.0f} steps/s",
                theirs=f"{median(run[1] for run in runs):.0f} steps/s",
                ratio=median(ratios),
                low=min(ratios),
                high=max(ratios),
                n=len(runs),
            )


def candidate_rows(repeats: int) -> Iterator[Row]:
    """Candidates per minute of whole searches, from the command to the report."""
    config = SearchConfig().resolve()
    peer, theirs = _one_after_another(config)
    for what, options, goal in (
        ("default search", (), 2.5),
        ("--pack auto", ("--pack", "auto"), None),
    ):
        found = [_search_seconds(options) for _ in range(repeats)]
        ours = [whole / config.most_trials for whole, _ in found]
        ratio, low, high = ratio_of_runs(ours, theirs)
        yield Row(
            section="Candidates per minute, digits, plain-38, width 8, CPU",
            what=f"{what}, start-up and report included",
            peer=f"{peer}, batches ready in memory",
            ours=f"{60 / median(ours):.1f}",
            theirs=f"{60 / median(theirs):.1f}",
            ratio=ratio,
            low=low,
            high=high,
            n=repeats,
            goal="" if goal is None else f"≥ {goal:g}x",
            reached=None if goal is None else ratio >= goal,
        )
        whole, training = (median(run[i] for run in found) for i in (0, 1))
        yield Row(
            section="Candidates per minute, digits, plain-38, width 8, CPU",
            what=f"{what}: of which its {torch.get_num_threads()} workers train",
            peer="the whole search",
            ours=f"{training:.0f} s",
            theirs=f"{whole:.0f} s",
            n=repeats,
        )


def _search_seconds(options: tuple[str, ...]) -> tuple[float, float]:
    """Seconds of a whole search, and of its trainings divided by the number of workers."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "relu_search.cli", "search", "--out", str(run)]
        whole = seconds_of(
            partial(subprocess.run, [*command, *options], check=True, capture_output=True)
        )
        training = RunFolder.open(run).read_trials()["seconds"].sum() / torch.get_num_threads()
    return whole, training


def _one_after_another(config: ResolvedConfig) -> tuple[str, list[float]]:
    """The fastest of the usual ways without a loader, and its seconds of a candidate."""
    ways = list(product((False, True), {1, torch.get_num_threads()}))
    seconds: dict[tuple[bool, int], list[float]] = {way: [] for way in ways}
    with multiprocessing.get_context("spawn").Pool(1) as process:
        for _ in range(3):
            for way in ways:
                seconds[way].append(process.apply(_candidate_seconds, (config, *way)))
    channels_last, threads = best = min(ways, key=lambda way: median(seconds[way]))
    layout = "channels_last" if channels_last else "NCHW"
    return f"one after another, eager {layout}, {threads} threads", seconds[best]


def _candidate_seconds(config: ResolvedConfig, channels_last: bool, threads: int) -> float:
    """Seconds of a candidate in the usual loop, validation included; batches are in memory."""
    data, recipe = config.load_data(), config.training_recipe
    images = torch.from_numpy(data.train.images).permute(0, 3, 1, 2).float().contiguous()
    pad = data.pad
    images = images[:, :, pad:-pad, pad:-pad].contiguous() if pad else images
    labels = torch.from_numpy(data.train.labels)
    held = torch.from_numpy(data.validation.images).permute(0, 3, 1, 2).float().contiguous()
    parts = (torch.split(t, recipe.batch_size) for t in (images, labels))
    train_batches = list(zip(*parts, strict=True))
    right = torch.split(torch.from_numpy(data.validation.labels), EVALUATION_BATCH)
    test_batches = list(zip(torch.split(held, EVALUATION_BATCH), right, strict=True))
    torch.set_num_threads(threads)
    model = build(config.network, "2:1", in_channels=data.in_channels)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = usual_sgd(model)
    started = time.perf_counter()
    for _ in range(recipe.epochs):
        train_epoch(model, train_batches, optimizer)
        accuracy(model, test_batches)
    return time.perf_counter() - started
