"""An image as a viewer shows it: its orientation, transparency, colours and size."""

from __future__ import annotations

import io
import math
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

BACKGROUND = (255, 255, 255)
"""What transparent pixels are shown on: white, as in most viewers."""
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB")
_USUAL_GAMMA, _TOLERANCE = 1 / 2.2, 0.05
_MOST_PIXELS = 4096**2  # of a resized image


def as_shown(image: PillowImage) -> PillowImage:
    """The first frame of an image in mode L or RGB.

    It is turned as its EXIF orientation says. Colours with an ICC profile, or a PNG gamma, are
    converted to sRGB. Transparent pixels show `BACKGROUND`. 16-bit grey is divided by 257.

    Raises:
        ValueError: more than 8 bits per channel, but for 16-bit grey.
        OSError: the image is damaged.
    """
    from PIL import ImageOps

    image = _with_8_bits(ImageOps.exif_transpose(image))
    is_grey = image.mode in _GREY
    is_clear = image.has_transparency_data
    if is_clear:
        image = _converted(image, "RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = _converted(image, "L" if is_grey else "RGB")
    image = _in_srgb(image)
    if is_clear:
        image = _on_background(image)
    return image.convert("L" if is_grey else "RGB")


def fitted(image: PillowImage, size: int) -> PillowImage:
    """The image with its shorter side resized to `size`, then its centre, size x size pixels.

    Equal to torchvision's `Resize(size)` and `CenterCrop(size)` of a Pillow image.

    Raises:
        ValueError: the image is so long and narrow that it would become too large.
    """
    from PIL.Image import Resampling

    width, height = image.size
    short, long = sorted((width, height))
    other = int(size * long / short)
    if size * other > _MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels are too long and narrow for size {size}")
    width, height = (size, other) if width <= height else (other, size)
    if (width, height) != image.size:
        image = image.resize((width, height), Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _with_8_bits(image: PillowImage) -> PillowImage:
    import numpy as np
    from PIL import Image

    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _DEEP_GREY)
    if is_16_bit:
        values = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(np.round(values).clip(0, 255).astype(np.uint8))
    if image.mode not in _GREY + _COLOUR:
        raise ValueError(f"mode {image.mode!r}; convert it to 8 bits per channel")
    return image


_DEEP_GREY = ("PNG", "PPM")
"""Formats whose 32-bit mode in Pillow holds 16 bits."""


def _converted(image: PillowImage, mode: str) -> PillowImage:
    converted = image.convert(mode)
    converted.info = dict(image.info)
    return converted


def _in_srgb(image: PillowImage) -> PillowImage:
    """The image with the colours of its profile; as it is where it has none or a broken one."""
    from PIL import ImageCms

    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if not profile:
        if not isinstance(gamma, float) or gamma <= 0 or "srgb" in image.info:
            return image
        return _with_gamma(image, gamma / _USUAL_GAMMA)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        shown: Any = ImageCms.profileToProfile(image, source, _srgb(), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image
    return shown


@cache
def _srgb() -> Any:
    from PIL import ImageCms

    return ImageCms.createProfile("sRGB")


def _with_gamma(image: PillowImage, ratio: float) -> PillowImage:
    """The image with every channel but alpha raised to the power 1 / ratio."""
    if abs(ratio - 1) <= _TOLERANCE or not math.isfinite(ratio):
        return image
    curve = [round(255 * (value / 255) ** (1 / ratio)) for value in range(256)]
    tables = {"L": curve, "RGB": curve * 3, "RGBA": curve * 3 + list(range(256))}
    return image.point(tables[image.mode]) if image.mode in tables else image


def _on_background(image: PillowImage) -> PillowImage:
    from PIL import Image

    ground = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    ground.alpha_composite(image)
    return ground
