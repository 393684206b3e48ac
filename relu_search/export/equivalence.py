"""Checks an exported form: its outputs are compared with those of the network in eager mode.

Every form gets the same images, random ones and, if available, real ones, in batches of 1 and of
32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import InputError

BATCHES = (1, 32)
ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-5
"""Of the largest logit, where that is above 10: float32 has about seven digits."""

Forward = Callable[[Tensor], Tensor]
"""A forward pass of some form: images of one batch -> logits, both on the CPU."""


@dataclass(frozen=True)
class ProofImages:
    """The images of a check, by name: `random`, or `validation`.

    Attributes:
        pixels: name -> uint8 (32, H, W, C), 0-255; empty if the normalisation is not known.
        inputs: name -> float32 (32, C, H, W), the input of the network.
    """

    pixels: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]

    @classmethod
    def make(
        cls,
        *,
        channels: int,
        size: tuple[int, int],
        normalise: nn.Module | None,
        real: Tensor | None = None,
    ) -> ProofImages:
        """Random images from a fixed seed, and real images if given.

        Args:
            normalise: uint8 (N, H, W, C) -> input of the network; None: not known, so that random
                inputs are standard normal and there are no pixels.
            real: uint8 (N, H, W, C); the first 32 are used.
        """
        n, generator = max(BATCHES), torch.Generator().manual_seed(0)
        if normalise is None:
            return cls({}, {"random": torch.randn(n, channels, *size, generator=generator)})
        shape = (n, *size, channels)
        pixels = {"random": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)}
        if real is not None and len(real):
            pixels["validation"] = real[torch.arange(n) % len(real)]
        return cls(pixels, {name: normalise(images) for name, images in pixels.items()})


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How much a form differs from the original, over all images and batch sizes.

    Attributes:
        largest_difference: largest absolute difference of a logit.
        largest_logit: largest absolute logit of the original.
        tolerance: upper limit of the largest difference.
        argmax_agreement: share of images with the same predicted class, 0 to 1.
        images: name -> number of images.
        batches: batch sizes.
    """

    largest_difference: float
    largest_logit: float
    tolerance: float
    argmax_agreement: float
    images: Mapping[str, int]
    batches: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "batches": list(self.batches)}


@torch.no_grad()
def reference_logits(model: nn.Module, images: ProofImages) -> dict[str, Tensor]:
    """Logits of the original in eager mode: name of the images -> (32, num_classes).

    Raises:
        InputError: an output is not finite, so that no form can be compared with it.
    """
    logits = {name: model(batch) for name, batch in images.inputs.items()}
    if not all(bool(values.isfinite().all()) for values in logits.values()):
        raise InputError(
            "the network's outputs are not all finite numbers, so no exported form can be checked; "
            "train it, or export other weights"
        )
    return logits


def prove(
    name: str, run: Forward, inputs: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Proof:
    """Compare the logits of a form with those of the original.

    Args:
        name: of the form, for the message.
        run: the form.
        inputs: name of the images -> input of the form.
        wanted: name of the images -> logits of the original.

    Raises:
        InputError: the form differs by more than the tolerance.
    """
    largest, scale, same, total = 0.0, 0.0, 0, 0
    for kind, images in inputs.items():
        for size in BATCHES:
            found, expected = run(images[:size]), wanted[kind][:size]
            difference = (found - expected).abs().max().item()
            largest = max(largest, float("inf") if math.isnan(difference) else difference)
            scale = max(scale, expected.abs().max().item())
            same += int((found.argmax(1) == expected.argmax(1)).sum())
            total += size
    tolerance = max(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * scale)
    proof = Proof(
        largest_difference=largest,
        largest_logit=scale,
        tolerance=tolerance,
        argmax_agreement=same / total,
        images={kind: len(images) for kind, images in inputs.items()},
        batches=BATCHES,
    )
    if not largest <= tolerance:
        raise InputError(
            f"the {name} form is not the network: its logits differ by up to {largest:.1e}, the "
            f"tolerance is {tolerance:.1e} for logits up to {scale:.1e}; nothing was written, so "
            "leave this format out and report the fault"
        )
    return proof
