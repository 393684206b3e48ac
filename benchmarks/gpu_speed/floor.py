"""A lower bound of the time of a training step: bytes that must move, kernels that must start.

It is the sum over the layers of the network, in the forward pass, the backward pass and the update:

| what | values read and written | kernels |
|---|---|---|
| image batch | pixels (one byte each), the batch | 1 |
| convolution, forward | input, output | 1 |
| convolution, backward | gradient, input for the weights; gradient, gradient of the input | 2 |
| BatchNorm, forward | input for the statistics; input, output (ReLU in the same pass) | 2 |
| BatchNorm, backward | gradient, input for the sums; gradient, input, gradient of the input | 2 |
| sum with a shortcut | two inputs, output; its second gradient, in BatchNorm's last pass | 1 |
| pooling, classifier, loss | last features, and their gradient | 6 |
| update | weights and momenta, read and written; gradients | 1 |

A step can be faster only if it fuses operations of different rows, for example the statistics of a
BatchNorm with the convolution before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.networks.build import Network

_HEAD_KERNELS = 6


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What one training step needs at least.

    Attributes:
        bytes: bytes that move between memory and processor.
        kernels: number of kernels that start.
    """

    bytes: int
    kernels: int

    def seconds(self, bytes_per_second: float, seconds_per_kernel: float) -> float:
        """The lower bound in seconds: memory traffic or kernel starts, whichever takes longer."""
        return max(self.bytes / bytes_per_second, self.kernels * seconds_per_kernel)


def floor_of(
    model: Network, batch: int, image_size: tuple[int, int], *, value_bytes: int = 4
) -> Floor:
    """The lower bound of one step.

    Args:
        model: on the CPU, weights in fp32.
        batch: images in a step.
        image_size: (height, width) in pixels.
        value_bytes: bytes of a value between layers: 4, or 2 with bf16 autocast.
    """
    values, kernels = 0, 0

    def convolution(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal values, kernels
        passes = 2 if module is model.stem[0] else 3  # images get no gradient
        values += passes * (inputs[0].numel() + output.numel())
        kernels += passes

    def norm(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        nonlocal values, kernels
        values += 8 * inputs[0].numel()  # three forward, five backward
        kernels += 4

    def block(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        nonlocal values, kernels
        for summed in output if isinstance(output, tuple) else (output,):
            values += 4 * summed.numel()
            kernels += 1

    def head(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        nonlocal values, kernels
        height, width = (-(-side // 4) for side in image_size)  # two strides of two
        values += 2 * inputs[0].numel() * height * width
        kernels += _HEAD_KERNELS

    has_sums = model.backbone.family not in ("plain", "preplain")
    hooks = [m.register_forward_hook(block) for m in model.blocks if has_sums]
    counted = {nn.Conv2d: convolution, nn.BatchNorm2d: norm, nn.Linear: head}
    for module in model.modules():
        if type(module) in counted:
            hooks.append(module.register_forward_hook(counted[type(module)]))
    images = torch.zeros(batch, model.in_channels, *image_size)
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    weights = sum(parameter.numel() for parameter in model.parameters())
    return Floor(
        bytes=images.numel() * (1 + value_bytes) + values * value_bytes + 5 * 4 * weights,
        kernels=1 + kernels + 1,
    )
