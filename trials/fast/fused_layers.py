"""Layers of packs and stand-ins on a GPU that own kernels compute, forwards and backwards.

cuDNN's grouped convolutions are slow where a group is small, and torch computes batch norm and ReLU
in separate passes over memory. These layers need tensors in channels_last. They repeat to the last
bit: all their sums are in a fixed order.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.errors import one_line
from trials.fast import triton_kernels as kernels

LEAST, _MOST = 16, 64
"""Channels of a group: tensor cores compute no smaller products, registers hold no larger ones."""
_PROGRAMS = 1024
"""About so many programs of a kernel share a GPU well."""
_TILES = {
    "convolution": {16: (128, 4, 3), 32: (128, 4, 3), 64: (64, 4, 3)},
    "gradient_of_input": {16: (128, 4, 3), 32: (128, 4, 3), 64: (64, 4, 3)},
    "gradient_of_weight": {16: (128, 4, 3), 32: (64, 4, 3), 64: (64, 8, 2)},
}
"""Kernel -> channels of a group -> pixels, warps and stages of a program: measured on an H200."""
_VALUES = 4096
"""Of a program of a batch norm, at a time."""
_MOST_VALUES = 2**31
"""Of a tensor whose places the kernels can count."""


@cache
def can_compile(device: torch.device) -> bool:
    """Whether Triton compiles kernels on this machine; warns if it does not.

    It needs a C compiler and the headers of Python.
    """
    x, values = torch.ones(LEAST, LEAST, device=device), torch.ones(LEAST, device=device)
    bits = torch.ones(1, dtype=torch.uint8, device=device)
    sizes = {"PIXELS": LEAST, "CHANNELS": LEAST}
    try:
        kernels.normalise[(1, 1)](
            x, torch.empty_like(x), *[values] * 4, bits, LEAST, LEAST, LEAST, **sizes
        )
    except Exception as error:  # of Triton, of the compiler or of the system
        warnings.warn(
            f"Triton cannot compile here ({one_line(str(error))}), so torch computes all layers, "
            "which takes longer; install a C compiler and the headers of Python",
            stacklevel=2,
        )
        return False
    return True


def can_compute(convolution: nn.Conv2d) -> bool:
    """Whether the kernels here compute this convolution."""
    kernel = convolution.kernel_size
    return (
        kernel in {(1, 1), (3, 3)}
        and convolution.stride[0] == convolution.stride[1]
        and convolution.padding == (kernel[0] // 2, kernel[1] // 2)
        and convolution.dilation == (1, 1)
        and convolution.bias is None
        and convolution.padding_mode == "zeros"
        and convolution.in_channels // convolution.groups <= _MOST
        and convolution.out_channels // convolution.groups <= _MOST
    )


class GroupedConvolution(nn.Module):
    """A convolution for which `can_compute`, with the same weight; x is (B, C, H, W)."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self._groups = convolution.groups
        self._stride = int(convolution.stride[0])

    def forward(self, x: Tensor) -> Tensor:
        kernel, outside = self.weight.shape[2], len(self.weight) // self._stride**2
        if x.numel() // x.shape[1] * max(x.shape[1], outside) >= _MOST_VALUES:
            return functional.conv2d(
                x, self.weight, stride=self._stride, padding=kernel // 2, groups=self._groups
            )
        x = _in_autocast_type(x)
        return _Convolution.apply(x, self.weight, self._groups, self._stride)


class PaddedConvolution(nn.Module):
    """A grouped convolution of few channels by cuDNN, with channels of zeros up to 16.

    cuDNN computes each group by itself otherwise.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self._groups = convolution.groups
        self._stride, self._padding = convolution.stride, convolution.padding

    def forward(self, x: Tensor) -> Tensor:
        x = _in_autocast_type(x)
        more = LEAST - self.weight.shape[1]
        batch, _, height, width = x.shape
        groups = x.permute(0, 2, 3, 1).reshape(batch, height, width, self._groups, -1)
        x = functional.pad(groups, (0, more)).flatten(3).permute(0, 3, 1, 2)
        weight = _channels_last(functional.pad(self.weight, (0, 0, 0, 0, 0, more)))
        return functional.conv2d(x, weight, None, self._stride, self._padding, groups=self._groups)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int, stride: int) -> Tensor:
        x = _channels_last(x)
        batch, _, height, width = x.shape
        y = torch.empty(
            (batch, len(weight), -(-height // stride), -(-width // stride)),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        ctx.save_for_backward(x, weight)
        ctx.groups, ctx.stride = groups, stride
        pixels, tile = _pixels(y), _tile("convolution", weight, groups)
        kernels.convolution[(groups, triton.cdiv(pixels, tile["PIXELS"]))](
            x,
            _channels_last(weight),
            y,
            pixels,
            *x.shape[2:],
            *y.shape[2:],
            groups,
            **_sizes(x, weight, groups, stride),
            **tile,
        )
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        gradient = _channels_last(gradient)
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = torch.empty_like(x)
            stride, tile = ctx.stride, _tile("gradient_of_input", weight, ctx.groups)
            pixels = len(x) * triton.cdiv(x.shape[2], stride) * triton.cdiv(x.shape[3], stride)
            grid = (ctx.groups, triton.cdiv(pixels, tile["PIXELS"]), stride**2)
            kernels.gradient_of_input[grid](
                gradient,
                _channels_last(weight),
                x_gradient,
                len(x),
                *x.shape[2:],
                *gradient.shape[2:],
                ctx.groups,
                **_sizes(x, weight, ctx.groups, ctx.stride),
                **tile,
            )
        of_weight = _gradient_of_weight(x, gradient, weight, ctx.groups, ctx.stride)
        return x_gradient, of_weight, None, None


def _gradient_of_weight(
    x: Tensor, gradient: Tensor, weight: Tensor, groups: int, stride: int
) -> Tensor:
    pixels, kernel = _pixels(gradient), weight.shape[2]
    parts = max(1, min(pixels // 1024, _PROGRAMS // (groups * kernel)))
    tile = _tile("gradient_of_weight", weight, groups)
    of_part = _rounded_up(triton.cdiv(pixels, parts), tile["PIXELS"])
    parts = triton.cdiv(pixels, of_part)
    of_parts = weight.new_empty((parts, len(weight), kernel, kernel, weight.shape[1]))
    kernels.gradient_of_weight[(groups, parts, kernel)](
        x,
        gradient,
        of_parts,
        pixels,
        of_part,
        *x.shape[2:],
        *gradient.shape[2:],
        groups,
        **_sizes(x, weight, groups, stride),
        KERNEL_TILE=triton.next_power_of_2(kernel),
        **tile,
    )
    return of_parts.sum(0).permute(0, 3, 1, 2)


def _tile(kernel: str, weight: Tensor, groups: int) -> dict[str, int]:
    channels = max(LEAST, triton.next_power_of_2(max(weight.shape[1], len(weight) // groups)))
    return dict(zip(("PIXELS", "num_warps", "num_stages"), _TILES[kernel][channels], strict=True))


def _sizes(x: Tensor, weight: Tensor, groups: int, stride: int) -> dict[str, Any]:
    inside, outside = weight.shape[1], len(weight) // groups
    return {
        "IN": inside,
        "OUT": outside,
        "IN_TILE": max(LEAST, triton.next_power_of_2(inside)),
        "OUT_TILE": max(LEAST, triton.next_power_of_2(outside)),
        "KERNEL": weight.shape[2],
        "STRIDE": stride,
        "PRECISION": "tf32" if torch.backends.cudnn.allow_tf32 else "ieee",
    }


class NormAndReLU(nn.BatchNorm2d):
    """A batch norm, and ReLU for some groups of its channels.

    Args:
        norm: its parameters and statistics are taken over.
        bits: uint8 (groups,), of adjacent channels; 1: with ReLU.
    """

    bits: Tensor

    def __init__(self, norm: nn.BatchNorm2d, bits: Tensor) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, device="meta")
        self._parameters, self._buffers = norm._parameters, norm._buffers  # the same tensors
        self.register_buffer("bits", bits, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            y = super().forward(x)
            are_relus = self.bits.bool().repeat_interleave(x.shape[1] // len(self.bits))
            return torch.where(are_relus.view(-1, 1, 1) & (y <= 0), 0.0, y)
        if _pixels(x) == 1:
            return super().forward(x)  # raises torch's error
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return _NormAndReLU.apply(
            x,
            self.weight,
            self.bias,
            self.bits,
            self.running_mean,
            self.running_var,
            self.momentum,
            self.eps,
        )


class _NormAndReLU(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        bits: Tensor,
        running_mean: Tensor,
        running_variance: Tensor,
        momentum: float,
        epsilon: float,
    ) -> Tensor:
        x = _channels_last(x)
        pixels, channels = _pixels(x), x.shape[1]
        of_bit = channels // len(bits)
        sums, of_part, tile = _parts(x)
        columns = triton.cdiv(channels, tile["CHANNELS"])
        kernels.sums_of_channels[(columns, len(sums))](x, sums, pixels, of_part, channels, **tile)
        mean, inverse_std = (weight.new_empty(channels) for _ in range(2))
        kernels.statistics[(triton.cdiv(channels, 16),)](
            x,
            sums,
            mean,
            inverse_std,
            running_mean,
            running_variance,
            pixels,
            channels,
            momentum,
            epsilon,
            PARTS=len(sums),
            CHANNELS=16,
        )
        y = torch.empty_like(x)
        kernels.normalise[(columns, triton.cdiv(pixels, tile["PIXELS"]))](
            x, y, mean, inverse_std, weight, bias, bits, of_bit, pixels, channels, **tile
        )
        ctx.save_for_backward(x, mean, inverse_std, weight, bias, bits)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *others = ctx.saved_tensors
        of_bit = x.shape[1] // len(others[-1])
        gradient = _channels_last(gradient)
        pixels, channels = _pixels(x), x.shape[1]
        of_parts, of_part, tile = _parts(x)
        columns = triton.cdiv(channels, tile["CHANNELS"])
        kernels.sums_of_gradients[(columns, len(of_parts))](
            x, gradient, of_parts, *others, of_bit, pixels, of_part, channels, **tile
        )
        sums = of_parts.sum(0)
        x_gradient = torch.empty_like(x)
        kernels.gradient_of_normalised[(columns, triton.cdiv(pixels, tile["PIXELS"]))](
            x, gradient, sums, x_gradient, *others, of_bit, pixels, channels, **tile
        )
        return x_gradient, sums[0], sums[1], None, None, None, None, None


def _parts(x: Tensor) -> tuple[Tensor, int, dict[str, int]]:
    """Room for the sums of the parts (a power of two), pixels of a part, and size of a tile."""
    pixels, channels = _pixels(x), x.shape[1]
    across = min(128, triton.next_power_of_2(channels))
    tile = {"PIXELS": _VALUES // across, "CHANNELS": across}
    most = triton.cdiv(pixels, 4 * tile["PIXELS"])
    wanted = triton.cdiv(4 * _PROGRAMS, triton.cdiv(channels, across))
    parts = triton.next_power_of_2(max(1, min(most, wanted)))
    of_part = _rounded_up(triton.cdiv(pixels, parts), tile["PIXELS"])
    sums = torch.empty((parts, 2, channels), dtype=torch.float32, device=x.device)
    return sums, of_part, tile


def _in_autocast_type(x: Tensor) -> Tensor:
    """As autocast does for torch's convolutions."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def _pixels(x: Tensor) -> int:
    """Of all images."""
    return x.numel() // x.shape[1]


def _rounded_up(value: int, unit: int) -> int:
    return triton.cdiv(value, unit) * unit


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
