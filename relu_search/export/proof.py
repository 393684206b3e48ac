"""Proof that an exported form is the network: its outputs against those of the eager original.

Every form gets the same images, random ones and real ones where there are any, alone (batch 1) and
together (batch 32).
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
"""Logits above 10 may differ by so much of the largest one: float32 has seven digits."""

Run = Callable[[Tensor], Tensor]
"""Images of one batch to logits, both on the CPU."""


@dataclass(frozen=True)
class ProofImages:
    """Images to compare on, by where they come from.

    Attributes:
        pixels: name -> uint8 (32, H, W, C), 0-255; empty where the normalisation is not known.
        inputs: name -> float32 (32, C, H, W), what the network gets.
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
        """Seeded random images, and real ones.

        Args:
            normalise: uint8 (N, H, W, C) -> what the network gets; None: not known, so that random
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
    """How far a form is from the original, over all images and batch sizes.

    Attributes:
        largest_difference: of any logit.
        largest_logit: magnitude, of the original.
        tolerance: what the difference had to stay below.
        argmax_agreement: share of images with the same class, 0 to 1.
        images: where they come from -> how many.
        batches: sizes they were run in.
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
    """What the eager original says, per kind of images: (32, num_classes).

    Raises:
        InputError: outputs that are not finite, which no form can be compared with.
    """
    logits = {name: model(batch) for name, batch in images.inputs.items()}
    if not all(bool(values.isfinite().all()) for values in logits.values()):
        raise InputError(
            "the network's outputs are not all finite numbers, so no exported form can be checked; "
            "train it, or export other weights"
        )
    return logits


def prove(name: str, run: Run, inputs: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Proof:
    """Compare a form with the original's logits.

    Args:
        name: of the form, for the message.
        inputs: what the form gets, per kind of images.
        wanted: the original's logits, by the same names.

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
            f"the {name} form is not the network: its outputs differ by up to {largest:.1e} at "
            f"logits up to {scale:.1e}, and the tolerance is {tolerance:.1e}; nothing was written"
        )
    return proof
