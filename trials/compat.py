"""Private parts and faults of torch that concern trials, all in this file.

`tests/trials/test_compat.py` checks each of them and says what a new version of torch has changed.
(The private parts of Ray are in `trials.on_ray.compat`, as only that package may import Ray.)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import nn

P = ParamSpec("P")
T = TypeVar("T")

TF32_ADVICE = "TensorFloat32 tensor cores for float32 matrix multiplication available"
"""Start of a warning of torch's compiler about float32 without rounding, as precision fp32 is."""


def compiled_once(function: Callable[P, T]) -> Callable[P, T]:
    """`torch.compile` of a function, for calls that must all use one graph.

    Graphs that were compiled before in this process are forgotten, as torch would count a new one
    as a recompilation. Imports torch's compiler, which takes seconds.

    Returns:
        The compiled function. It raises `torch._dynamo.exc.RecompileError` where torch would
        compile a second graph. (By default torch compiles eight and then runs eager without
        a word.)
    """
    import torch
    import torch._dynamo

    torch._dynamo.reset()
    compiled = torch.compile(function, dynamic=False, fullgraph=True)

    def call(*arguments: P.args, **options: P.kwargs) -> T:
        with warnings.catch_warnings(), torch._dynamo.config.patch(error_on_recompile=True):
            warnings.filterwarnings("ignore", message=TF32_ADVICE, category=UserWarning)
            return compiled(*arguments, **options)

    return call


SAFE_SIDE = 32
"""Pixels; up to this side of the images no case of the fault below was found."""
_VECTOR = 16  # floats


def training_format(
    model: nn.Module, image_size: tuple[int, int], device: torch.device
) -> torch.memory_format:
    """The memory format in which a model is trained: channels_last, or NCHW where that is broken.

    torch 2.14.1 writes beyond the end of a tensor in the backward pass on a CPU of `Conv2d` with a
    kernel of 1x1, a stride of at least 2, one group and fewer than 16 input channels, if its images
    are in channels_last. The process then aborts, or trains on with wrong gradients. A scan of 842
    shapes, each in a process of its own with a page without access behind each tensor, found this
    in 67 of them, all with these four properties, at sides of 46 pixels and more. Which sides fail
    depends on batch and output channels, so all above `SAFE_SIDE` are avoided. (CPU with AVX-512;
    16 floats are one of its vectors. Other versions of torch were not tried.)
    """
    import torch

    at_risk = (
        device.type == "cpu"
        and max(image_size) > SAFE_SIDE
        and any(
            isinstance(module, torch.nn.Conv2d)
            and module.kernel_size == (1, 1)
            and max(module.stride) > 1
            and module.groups == 1
            and module.in_channels < _VECTOR
            for module in model.modules()
        )
    )
    return torch.contiguous_format if at_risk else torch.channels_last
