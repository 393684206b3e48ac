"""Random crops that are resized to one size: torchvision's RandomResizedCrop, a batch at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_AREAS, _RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)
"""Share of the area, and width by height, of a crop: torchvision's defaults."""
_TRIES = 10


def random_boxes(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Boxes (top, left, height, width) in images of this size, int64 (4, count).

    Drawn as torchvision's RandomResizedCrop does: area and ratio, until the box fits into the
    image, at most ten times; then the centre at the nearest ratio.
    """
    shape = (_TRIES, count)
    areas = height * width * torch.empty(shape).uniform_(*_AREAS, generator=generator)
    low, high = map(math.log, _RATIOS)
    ratios = torch.exp(torch.empty(shape).uniform_(low, high, generator=generator))
    widths = torch.round(torch.sqrt(areas * ratios)).long()
    heights = torch.round(torch.sqrt(areas / ratios)).long()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.int().argmax(0, keepdim=True)
    box_height, box_width = (sizes.gather(0, first)[0] for sizes in (heights, widths))
    ratio = min(max(width / height, _RATIOS[0]), _RATIOS[1])
    usual = (
        (height, round(height * ratio)) if width / height > ratio else (round(width / ratio), width)
    )
    fitted = fits.any(0)
    box_height = torch.where(fitted, box_height, usual[0])
    box_width = torch.where(fitted, box_width, usual[1])
    places = torch.rand((2, count), generator=generator, dtype=torch.float64)
    room = torch.stack([height - box_height, width - box_width])
    corners = torch.where(fitted, (places * (room + 1)).long(), room // 2)
    return torch.cat([corners, torch.stack([box_height, box_width])])


def resized_crops(
    images: Tensor, boxes: Tensor, flipped: Tensor, height: int, width: int
) -> Tensor:
    """The boxes of images, resized, and mirrored where `flipped`.

    Bilinear with antialiasing, as torchvision resizes: a pixel is the mean of those under a
    triangle. As two matrix products it is one call for a batch of boxes of all sizes.

    Args:
        images: uint8 (B, H, W, C).
        boxes: (top, left, height, width), int64 (4, B).
        flipped: bool (B,).
        height, width: of the result.

    Returns:
        uint8 (B, height, width, C).
    """
    batch, rows, columns, channels = images.shape
    top, left, box_height, box_width = boxes
    down = _weights(top, box_height, rows, height)
    across = _weights(left, box_width, columns, width)
    across = torch.where(flipped[:, None, None], across.flip(1), across)
    lines = torch.bmm(down, images.float().view(batch, rows, columns * channels))
    lines = lines.view(batch, height, columns, channels).transpose(1, 2)
    pixels = torch.bmm(across, lines.reshape(batch, columns, height * channels))
    pixels = pixels.view(batch, width, height, channels).transpose(1, 2)
    return pixels.round().clamp(0, 255).to(torch.uint8).contiguous()


def _weights(start: Tensor, length: Tensor, size: int, new: int) -> Tensor:
    """Weights (B, new, size) of the pixels of a line for those of its resized part.

    Args:
        start, length: of the part, (B,).
    """
    scale = (length / new)[:, None, None]
    reach = scale.clamp(min=1.0)
    middles = (torch.arange(new, device=start.device) + 0.5)[None, :, None] * scale
    places = torch.arange(size, device=start.device)[None, None, :] - start[:, None, None]
    weights = (1 - (places + 0.5 - middles).abs() / reach).clamp(min=0)
    weights = torch.where((places >= 0) & (places < length[:, None, None]), weights, 0.0)
    return weights / weights.sum(2, keepdim=True)
