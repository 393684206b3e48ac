"""A usual training loop: PIL transforms, DataLoader, NCHW, fp32, `torch.optim.SGD`.

Our training is timed against it. It shares no code with our training, and it runs in its own
process, so that our allocator settings do not change its speed.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

Batches = Iterable[tuple[Tensor, Tensor]]


class PilImages(Dataset[tuple[Tensor, int]]):
    """uint8 (N, H, W, C) images as torchvision's data sets return them: one PIL image at a time."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], pad: int) -> None:
        self.images, self.labels = images, labels
        channels = images.shape[3]
        self.transform = v2.Compose(
            [
                v2.RandomCrop(images.shape[1], padding=pad),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5] * channels, [0.25] * channels),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].squeeze())
        return self.transform(image), int(self.labels[index])


def pil_loader(
    images: NDArray[np.uint8], labels: NDArray[np.int64], *, pad: int, batch_size: int
) -> DataLoader[tuple[Tensor, int]]:
    """A shuffled loader with two persistent workers."""
    return DataLoader(
        PilImages(images, labels, pad),
        batch_size=batch_size,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
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
    total, count = 0.0, 0
    for images, labels in batches:
        x, y = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
        count += len(y)
    return total / count


@torch.no_grad()
def accuracy(model: nn.Module, batches: Batches) -> float:
    model.eval()
    right, count = 0, 0
    for x, y in batches:
        right += int((model(x).argmax(1) == y).sum())
        count += len(y)
    return right / count


class UsualTraining:
    """A network that the usual loop trains in a separate process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def epoch(self) -> None:
        """Train one epoch and wait until it is finished."""
        self._pipe.send(True)
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
) -> Iterator[UsualTraining]:
    """Start the process; it ends with the context. Images are uint8 (N, H, W, C), not padded."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, model, images, labels, pad, batch_size, threads, device)
    process = context.Process(target=_serve, args=arguments)
    process.start()
    theirs.close()  # so that we hear of its death
    try:
        ours.recv()
        yield UsualTraining(ours)
    finally:
        if process.is_alive():
            ours.send(False)
        process.join()


def _serve(  # noqa: PLR0917
    pipe: Connection,
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    pad: int,
    batch_size: int,
    threads: int,
    device: str,
) -> None:
    torch.set_num_threads(threads)
    model = model.to(device)
    loader = pil_loader(images, labels, pad=pad, batch_size=batch_size)
    optimizer = usual_sgd(model)
    pipe.send(None)
    while pipe.recv():
        train_epoch(model, loader, optimizer, device)
        pipe.send(None)
