"""A usual training loop: PIL transforms, DataLoader, fp32, `torch.optim.SGD`.

Our training is timed against the fastest of `USUAL_WAYS`. The loop shares no code with our
training, and it runs in its own process, so that our allocator settings do not change its speed.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2

_PATIENCE = 120
"""Seconds for an epoch, the start of a process included."""

Batches = Iterable[tuple[Tensor, Tensor]]
Version = Literal["v1", "v2"]
Work = Literal["train", "load"]


@dataclass(frozen=True, kw_only=True)
class UsualWay:
    """One of the usual ways to train.

    Attributes:
        transforms: which version of torchvision's transforms.
        workers: processes of the DataLoader; 0: the training process loads by itself.
        channels_last: the memory format of the network's weights.
    """

    transforms: Version = "v1"
    workers: int = 2
    channels_last: bool = False

    @property
    def loading(self) -> str:
        return f"{self.transforms} transforms, {self.workers or 'no'} workers"

    def __str__(self) -> str:
        return f"{self.loading}, {'channels_last' if self.channels_last else 'NCHW'}"


_OTHER_WORKERS = 8 if (os.cpu_count() or 1) >= 8 else 0
_LOADING: tuple[tuple[Version, int], ...] = (("v1", 2), ("v2", 2), ("v1", _OTHER_WORKERS))
USUAL_WAYS = tuple(
    UsualWay(transforms=version, workers=workers, channels_last=channels_last)
    for version, workers in _LOADING
    for channels_last in (False, True)
)
"""Both transforms with 2 workers; v1 also with 8 workers, on fewer than 8 cores with none."""


class PilImages(Dataset[tuple[Tensor, int]]):
    """uint8 (N, H, W, C) images as PIL images, decoded once, and transformed one at a time."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], pad: int, way: UsualWay
    ) -> None:
        self.images = [Image.fromarray(image.squeeze()) for image in images]
        self.labels = labels.tolist()
        size, channels = images.shape[1], images.shape[3]
        mean, std = [0.5] * channels, [0.25] * channels
        self.transform = (
            v1.Compose(
                [
                    v1.RandomCrop(size, padding=pad),
                    v1.RandomHorizontalFlip(),
                    v1.ToTensor(),
                    v1.Normalize(mean, std),
                ]
            )
            if way.transforms == "v1"
            else v2.Compose(
                [
                    v2.RandomCrop(size, padding=pad),
                    v2.RandomHorizontalFlip(),
                    v2.ToImage(),
                    v2.ToDtype(torch.float32, scale=True),
                    v2.Normalize(mean, std),
                ]
            )
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def pil_loader(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    pad: int,
    batch_size: int,
    way: UsualWay,
    device: str = "cpu",
) -> DataLoader[tuple[Tensor, int]]:
    """A shuffled loader. Workers persist and prefetch; for CUDA, memory is pinned.

    They are forked, as by default on Linux. In a process that was spawned the default is to spawn
    them, one after the other, and each imports torch again before the next one starts.
    """
    return DataLoader(
        PilImages(images, labels, pad, way),
        batch_size=batch_size,
        shuffle=True,
        num_workers=way.workers,
        pin_memory=torch.device(device).type == "cuda",
        persistent_workers=way.workers > 0,
        prefetch_factor=4 if way.workers else None,
        multiprocessing_context="fork" if way.workers else None,
    )


def usual_sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    )


def train_epoch(
    model: nn.Module, batches: Batches, optimizer: torch.optim.Optimizer, device: str = "cpu"
) -> float:
    """Train one epoch; returns the mean loss."""
    model.train()
    loss_function = nn.CrossEntropyLoss()
    total, count = torch.zeros((), device=device), 0
    for images, labels in batches:
        x, y = (part.to(device, non_blocking=True) for part in (images, labels))
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(y)
        count += len(y)
    return total.item() / count


@torch.no_grad()
def accuracy(model: nn.Module, batches: Batches) -> float:
    model.eval()
    right, count = 0, 0
    for x, y in batches:
        right += int((model(x).argmax(1) == y).sum())
        count += len(y)
    return right / count


class UsualTraining:
    """A network that the usual loop trains in a separate process.

    Args:
        pipe: to the process.
        first: is sent to it before anything else, once it listens.
    """

    def __init__(self, pipe: Connection, first: tuple[object, ...]) -> None:
        self._pipe = pipe
        self._first: tuple[object, ...] | None = first

    def epoch(self) -> None:
        """Train one epoch and wait until it is finished; the first one also waits for the start."""
        self.do("train")

    def do(self, work: Work) -> None:
        """An epoch of this work: train, or only load the batches."""
        self.begin(work)
        self.wait()

    def begin(self, work: Work) -> None:
        """Start an epoch."""
        if self._first is not None:
            self._pipe.send(self._first)
            self._first = None
        self._pipe.send(work)

    def wait(self) -> None:
        """Wait until the epoch is finished.

        Raises:
            TimeoutError: it takes so long that something must be wrong; the process has printed
                where it is.
        """
        if not self._pipe.poll(_PATIENCE):
            raise TimeoutError(f"no end of an epoch of the usual loop within {_PATIENCE} s")
        self._pipe.recv()


@contextmanager
def usual_training(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    pad: int,
    batch_size: int,
    threads: int = 1,
    device: str = "cpu",
    way: UsualWay = USUAL_WAYS[0],
) -> Iterator[UsualTraining]:
    """Start the process; it ends with the context. Images are uint8 (N, H, W, C), not padded.

    It gets network and images with its first epoch, so that several can start at the same time.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, pad, batch_size, threads, device, way)
    process = context.Process(target=_serve, args=arguments)
    process.start()
    theirs.close()  # so that we hear of its death
    try:
        yield UsualTraining(ours, (model, images, labels))
    finally:
        ours.close()
        process.join()


def fastest_way(
    start: Callable[..., AbstractContextManager[UsualTraining]],
    *,
    work: Work = "train",
    ways: Sequence[UsualWay] = USUAL_WAYS,
    rounds: int = 3,
) -> UsualWay:
    """The way with the lowest median time of an epoch; each way has a process of its own.

    Args:
        start: `usual_training` with all its arguments except `way`.
        work, rounds: as for `fastest_of`.
        ways: to choose from.
    """
    with ExitStack() as stack:
        peers = {way: stack.enter_context(start(way=way)) for way in ways}
        return fastest_of(peers, work=work, rounds=rounds)


def fastest_of(
    peers: Mapping[UsualWay, UsualTraining], *, work: Work = "train", rounds: int = 3
) -> UsualWay:
    """The way with the lowest median time of an epoch. Prints the times.

    Args:
        peers: are timed in alternation, after one epoch of all at once that is not timed.
        work: what is timed.
        rounds: timed epochs of each way.
    """
    seconds: dict[UsualWay, list[float]] = {way: [] for way in peers}
    for peer in peers.values():
        peer.begin(work)
    for peer in peers.values():
        peer.wait()
    for _ in range(rounds):
        for way, peer in peers.items():
            started = time.perf_counter()
            peer.do(work)
            seconds[way].append(time.perf_counter() - started)
    for way, of_way in seconds.items():
        print(f"usual loop, {way}: {median(of_way):.3g} s", file=sys.stderr, flush=True)
    return min(peers, key=lambda way: median(seconds[way]))


def _serve(  # noqa: PLR0917
    pipe: Connection, pad: int, batch_size: int, threads: int, device: str, way: UsualWay
) -> None:
    torch.set_num_threads(threads)
    try:
        model, images, labels = pipe.recv()
        model = deepcopy(model).to(device)  # the weights are shared with the other process
        if way.channels_last:
            model = model.to(memory_format=torch.channels_last)
        loader = pil_loader(images, labels, pad=pad, batch_size=batch_size, way=way, device=device)
        optimizer = usual_sgd(model)
        while True:
            work = pipe.recv()
            faulthandler.dump_traceback_later(_PATIENCE - 10)
            if work == "train":
                train_epoch(model, loader, optimizer, device)
            else:
                for _ in loader:
                    pass
            faulthandler.cancel_dump_traceback_later()
            pipe.send(None)
    except EOFError:  # the context has ended
        return
