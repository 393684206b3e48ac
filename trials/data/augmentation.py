"""Random crop and flip of whole batches, as one gather on the device of the images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trials.data.image_sets import TrainingData
from trials.data.resampling import random_boxes, resized_crops
from trials.data.uploads import upload

_BOXES = 1
"""Purpose of the random stream of an epoch for crops that are resized."""


def stream(seed: int, *purpose: int) -> torch.Generator:
    """An independent CPU random generator for (seed, purpose...)."""
    state = np.random.SeedSequence([seed, *purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


@dataclass(frozen=True)
class EpochDraws:
    """All random draws of one epoch over N images; they depend on (seed, epoch) only.

    Attributes:
        order: int64 (N,), a permutation of the images.
        top, left: int64 (N,), crop corner in the padded image, 0 to 2*pad.
        flipped: bool (N,).
        height, width: int64 (N,), size of the crop, which is resized to that of the image; None:
            the crop has the size of the image.
    """

    order: Tensor
    top: Tensor
    left: Tensor
    flipped: Tensor
    height: Tensor | None = None
    width: Tensor | None = None

    @classmethod
    def draw(cls, images: int, *, pad: int, flip: bool, seed: int, epoch: int) -> EpochDraws:
        """Draw for one epoch (1-based) of `images` images, padded by `pad` pixels."""
        generator = stream(seed, epoch)
        order = torch.randperm(images, generator=generator)
        top, left = torch.randint(0, 2 * pad + 1, (2, images), generator=generator)
        flipped = torch.rand(images, generator=generator) < (0.5 if flip else 0.0)
        return cls(order, top, left, flipped)

    @classmethod
    def of_epoch(cls, data: TrainingData, *, seed: int, epoch: int) -> EpochDraws:
        """Draw for one epoch (1-based) of a data set."""
        draws = cls.draw(len(data.train), pad=data.pad, flip=data.flip, seed=seed, epoch=epoch)
        if data.augment != "random-resized-crop":
            return draws
        boxes = random_boxes(len(data.train), *data.image_size, stream(seed, epoch, _BOXES))
        return cls(draws.order, boxes[0], boxes[1], draws.flipped, boxes[2], boxes[3])

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        both = (self.height, self.width)
        sizes = tuple(tensor for tensor in both if tensor is not None)
        return self.order, self.top, self.left, self.flipped, *sizes

    def to(self, device: torch.device) -> EpochDraws:
        """Draws of the host on a device. Does not wait for the device."""
        return EpochDraws(*(upload(tensor, device) for tensor in self.tensors))

    def batch(self, start: int, size: int) -> EpochDraws:
        """The draws of images start to start + size of this epoch."""
        return EpochDraws(*(tensor[start : start + size] for tensor in self.tensors))

    def at(self, rows: Tensor) -> EpochDraws:
        """The draws of the images at these places, int64 (B,), along the last dimension."""
        return EpochDraws(*(tensor.index_select(-1, rows) for tensor in self.tensors))


def crop_and_flip(padded: Tensor, draws: EpochDraws, height: int, width: int) -> Tensor:
    """The images `draws.order`, cropped at the drawn corners and mirrored where `flipped`.

    Equal to torchvision's RandomCrop (after padding) and RandomHorizontalFlip with equal draws, or,
    where the crops have sizes of their own, to RandomResizedCrop up to rounding.

    Args:
        padded: uint8 (N, H + 2*pad, W + 2*pad, C), contiguous.
        draws: of B images.
        height, width: of the crop.

    Returns:
        uint8 (B, height, width, C).
    """
    if draws.height is not None and draws.width is not None:
        boxes = torch.stack([draws.top, draws.left, draws.height, draws.width])
        images = padded.index_select(0, draws.order)
        return resized_crops(images, boxes, draws.flipped, height, width)
    _, padded_height, padded_width, channels = padded.shape
    across = torch.arange(width, device=padded.device)
    rows = draws.top[:, None] + torch.arange(height, device=padded.device)
    columns = draws.left[:, None] + torch.where(draws.flipped[:, None], across.flip(0), across)
    lines = draws.order[:, None] * padded_height + rows
    pixels = lines[:, :, None] * padded_width + columns[:, None, :]
    gathered = padded.view(-1, channels).index_select(0, pixels.view(-1))
    return gathered.view(-1, height, width, channels)


class Normalise:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W) in channels_last: (x - mean) / std per channel.

    Args:
        mean, std: per channel, in 0-255.
        width: image width. The arithmetic runs over whole lines, which is several times faster
            than over three channels.
    """

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
    ) -> None:
        self.line_mean = upload(torch.tensor(mean).repeat(width), device)
        self.line_scale = upload((1 / torch.tensor(std)).repeat(width), device)

    def __call__(self, images: Tensor) -> Tensor:
        batch, height, width, channels = images.shape
        lines = images.reshape(batch, height, width * channels).float()
        lines = lines.sub_(self.line_mean).mul_(self.line_scale)
        return lines.view(batch, height, width, channels).permute(0, 3, 1, 2)
