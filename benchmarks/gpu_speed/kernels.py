"""A captured step against its lower bound, and its time by kind of kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_speed.floor import floor_of
from benchmarks.gpu_speed.scale import Scale
from benchmarks.gpu_speed.ways import Way, warm_epoch
from benchmarks.speed.colour_images import colour_images
from benchmarks.speed.rows import Row, seconds_of
from search_spaces.networks.build import Network
from trials.fast.cuda_graphs import WARM_UP, Replay
from trials.training.spec import TrialSpec, untrained_network

_KINDS = {
    "batch norm": ("batch_norm", "batchnorm", "bn_fw", "bn_bw", "normalise", "sums_of", "statist"),
    "changes of layout": ("tensortransform", "nchwtonhwc", "nhwctonchw", "converttensor", "slicec"),
    "convolutions": (
        *("conv", "cudnn", "gemm", "winograd", "xmma", "cutlass", "wgrad", "dgrad"),
        *("gradient_of_input", "gradient_of_weight"),
    ),
    "update": ("sgd", "multi_tensor"),
    "gather and copies": ("index", "gather", "copy", "memcpy", "memset", "cat", "fill"),
    "element by element": ("elementwise", "triton", "reduce"),
}
"""Kind -> parts of the names of CUDA kernels; the first kind that matches counts."""


def floor_rows(device: str, scale: Scale) -> Iterator[Row]:
    """The time of a captured step against its lower bound: of one candidate, and of a pack."""
    bandwidth, start = _bandwidth(device), _kernel_start(device)
    for backbone, images in scale.images.items():
        data = colour_images(images)
        way = Way(captured=True, precision=scale.fast_precision)
        spec = TrialSpec(backbone=backbone, placement="paired", recipe=way.recipe)
        steps = math.ceil(images / spec.recipe.batch_size)
        network = untrained_network(spec, data)
        assert isinstance(network, Network)
        floor = floor_of(
            network,
            spec.recipe.batch_size,
            data.image_size,
            value_bytes=2 if way.precision == "bf16" else 4,
        )
        largest = max(members for _, members in scale.packs[backbone])
        for members in (1, largest):
            run = warm_epoch(spec, data, device, members)
            seconds = sorted(seconds_of(run) / steps for _ in range(5))
            least = max(members * floor.bytes / bandwidth, floor.kernels * start)
            what = f"{backbone}, {way}" + (f", a pack of {members}" if members > 1 else "")
            yield Row(
                section="A step against its floor (1 is the floor)",
                what=what,
                peer=f"{members * floor.bytes / 1e6:,.0f} MB at {bandwidth / 1e12:.2f} TB/s, "
                f"{floor.kernels} kernels at {1e6 * start:.2f} us",
                ours=f"{1e6 * seconds[2]:,.0f} us",
                theirs=f"{1e6 * least:,.0f} us",
                ratio=seconds[2] / least,
                low=seconds[0] / least,
                high=seconds[-1] / least,
                n=len(seconds),
                goal="≤ 2x",
                reached=seconds[2] <= 2 * least,
            )
            yield from _account(what, run, steps, seconds[2])


def _account(
    what: str, run: Callable[[], object], steps: int, step_seconds: float
) -> Iterator[Row]:
    """Time of a step by kind of kernel."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
    spent, started = dict.fromkeys((*_KINDS, "all else"), 0.0), 0
    for event in profiler.events():
        if event.device_type.name == "CUDA":
            spent[kind_of(event.name)] += event.self_device_time_total / steps
            started += 1
    spent["between kernels"] = 1e6 * step_seconds - sum(spent.values())
    for kind, microseconds in spent.items():
        yield Row(
            section="Where a captured step spends its time",
            what=f"{what}: {kind}",
            peer=f"{started / steps:,.0f} kernels a step",
            ours=f"{microseconds:,.0f} us",
            n=1,
        )


def kind_of(kernel: str) -> str:
    """The kind of a CUDA kernel, by its name."""
    name = kernel.lower()
    kinds = (kind for kind, words in _KINDS.items() if any(word in name for word in words))
    return next(kinds, "all else")


def _bandwidth(device: str) -> float:
    """Bytes per second that a copy of 1 GB reads and writes."""
    source = torch.ones(2**28, device=device)
    target = torch.empty_like(source)
    copies = 20

    def copy() -> None:
        for _ in range(copies):
            target.copy_(source)
        target[0].item()

    copy()
    return 2 * copies * source.numel() * 4 / seconds_of(copy)


def _kernel_start(device: str) -> float:
    """Seconds that a replay needs for a kernel that does almost nothing."""
    number, count = torch.zeros((), device=device), 1000

    def start_many() -> None:
        for _ in range(count):
            number.add_(1)

    replay = Replay(start_many, captured=device == "cuda")
    for _ in range(WARM_UP + 1):
        replay()
    number.item()

    def replays() -> None:
        for _ in range(10):
            replay()
        number.item()

    return seconds_of(replays) / (10 * count)
