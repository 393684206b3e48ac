"""A captured step against its lower bound, and its time by kind of kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_speed.floor import floor_of
from benchmarks.gpu_speed.ways import WAYS, Way
from benchmarks.speed.colour_images import PAD, colour_images
from benchmarks.speed.rows import Row, seconds_of
from trials.data.augmentation import EpochDraws
from trials.fast.cuda_graphs import WARM_UP, Replay
from trials.training.loop import DeviceData
from trials.training.optimizer import NesterovSGD
from trials.training.process import in_precision
from trials.training.spec import TrialSpec, untrained_network

_KINDS = {
    "convolutions": ("conv", "cudnn", "gemm", "winograd", "xmma", "cutlass", "nchw", "nhwc"),
    "batch norm": ("batch_norm", "bn_fw", "bn_bw"),
    "update": ("sgd", "multi_tensor"),
    "gather and copies": ("index", "gather", "copy", "memcpy", "memset", "cat", "fill"),
    "element by element": ("elementwise", "triton", "reduce"),
}
"""Kind -> parts of the names of CUDA kernels; the first kind that matches counts."""


def floor_rows(
    device: str = "cuda",
    *,
    images: int = 50_000,
    backbones: tuple[str, ...] = ("plain-20", "preresnet-110"),
    ways: tuple[Way, ...] = WAYS[1:],
) -> Iterator[Row]:
    """The time of a captured step against its lower bound."""
    bandwidth, start = _bandwidth(device), _kernel_start(device)
    for backbone in backbones:
        for way in ways:
            steps = _Steps(backbone, way, images, device)
            steps.run()
            seconds = sorted(seconds_of(steps.run) / steps.count for _ in range(5))
            floor = floor_of(
                untrained_network(steps.spec, steps.data),
                steps.spec.recipe.batch_size,
                steps.data.image_size,
                value_bytes=2 if way.precision == "bf16" else 4,
            )
            least = floor.seconds(bandwidth, start)
            yield Row(
                section="A step against its floor (1 is the floor)",
                what=f"{backbone}, {way}",
                peer=f"{floor.bytes / 1e6:,.0f} MB at {bandwidth / 1e12:.2f} TB/s, "
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
            yield from steps.account(seconds[2])


class _Steps:
    """The training steps of an epoch, with the data on the device and no validation."""

    def __init__(self, backbone: str, way: Way, images: int, device: str) -> None:
        self.spec = TrialSpec(backbone=backbone, placement="paired", recipe=way.recipe)
        self.data = colour_images(images)
        self.count = -(-images // self.spec.recipe.batch_size)
        self._way, self._device = way, torch.device(device)
        self._model = untrained_network(self.spec, self.data).to(self._device)
        self._model = self._model.to(memory_format=torch.channels_last)
        self._optimizer = NesterovSGD(self._model, self.spec.recipe)
        self._there = DeviceData.of(self.data, self._device)
        drawn = EpochDraws.draw(images, pad=PAD, flip=True, seed=0, epoch=1)
        self._draws = drawn.to(self._device)

    def run(self) -> None:
        """Run the steps and wait until they are finished."""
        epoch_by = self._way.epoch_by(self.spec)
        assert epoch_by is not None
        with in_precision(self.spec.recipe):
            epoch_by(self._model, self._optimizer, self._there, self._draws, 1)

    def account(self, step_seconds: float) -> Iterator[Row]:
        """Time of a step by kind of kernel."""
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            self.run()
        spent, started = dict.fromkeys((*_KINDS, "all else"), 0.0), 0
        for event in profiler.events():
            if event.device_type.name == "CUDA":
                name = event.name.lower()
                kinds = (k for k, words in _KINDS.items() if any(word in name for word in words))
                spent[next(kinds, "all else")] += event.self_device_time_total / self.count
                started += 1
        spent["between kernels"] = 1e6 * step_seconds - sum(spent.values())
        for kind, microseconds in spent.items():
            yield Row(
                section="Where a captured step spends its time",
                what=f"{self.spec.backbone.name}, {self._way}: {kind}",
                peer=f"{started / self.count:,.0f} kernels a step",
                ours=f"{microseconds:,.0f} us",
                n=1,
            )


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
