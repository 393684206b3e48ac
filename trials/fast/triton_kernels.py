"""Triton kernels for packs: grouped convolution, and batch norm with ReLU, in channels_last.

A tensor (B, C, H, W) in channels_last is in memory a matrix: a row for each pixel of each image, a
column for each channel. The channels of a group lie side by side. `fused_layers` calls these
kernels and has the checks; here are the sums only. Sums are in float32 and in a fixed order, so
that equal inputs give equal results.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def convolution(
    x,
    weight,
    y,
    pixels,  # of y, in all images
    height,
    width,
    height_out,
    width_out,
    groups,
    IN: tl.constexpr,  # channels of a group
    OUT: tl.constexpr,
    IN_TILE: tl.constexpr,  # powers of two, at least 16
    OUT_TILE: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    PIXELS: tl.constexpr,  # of a program
):
    """y = x * weight for some pixels of a group; weight is (groups * OUT, KERNEL, KERNEL, IN)."""
    group = tl.program_id(0)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    image = pixel // (height_out * width_out)
    row = pixel // width_out % height_out * STRIDE - KERNEL // 2
    column = pixel % width_out * STRIDE - KERNEL // 2
    is_pixel = pixel < pixels
    channel_in, channel_out = tl.arange(0, IN_TILE), tl.arange(0, OUT_TILE)
    start = weight + group * OUT * KERNEL * KERNEL * IN
    total = tl.zeros((PIXELS, OUT_TILE), tl.float32)
    for place in range(KERNEL * KERNEL):
        r, c = row + place // KERNEL, column + place % KERNEL
        is_inside = is_pixel & (r >= 0) & (r < height) & (c >= 0) & (c < width)
        at = ((image * height + r) * width + c) * (groups * IN) + group * IN
        values = tl.load(
            x + at[:, None] + channel_in[None, :],
            mask=is_inside[:, None] & (channel_in < IN)[None, :],
            other=0.0,
        )
        factors = tl.load(
            start + (channel_out[None, :] * (KERNEL * KERNEL) + place) * IN + channel_in[:, None],
            mask=(channel_in < IN)[:, None] & (channel_out < OUT)[None, :],
            other=0.0,
        )
        total = tl.dot(values, factors.to(values.dtype), total, input_precision=PRECISION)
    tl.store(
        y + pixel[:, None] * (groups * OUT) + group * OUT + channel_out[None, :],
        total.to(y.dtype.element_ty),
        mask=is_pixel[:, None] & (channel_out < OUT)[None, :],
    )


@triton.jit
def gradient_of_input(
    gradient,  # of y
    weight,
    x_gradient,
    images,
    height,
    width,
    height_out,
    width_out,
    groups,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    IN_TILE: tl.constexpr,
    OUT_TILE: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """The gradient of x from that of y, for some pixels of a group.

    With a stride, pixels whose rows and columns have equal remainders have the same places of the
    kernel in common. They are done by the same programs.
    """
    group = tl.program_id(0)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    first_row, first_column = tl.program_id(2) // STRIDE, tl.program_id(2) % STRIDE
    rows = tl.maximum((height - first_row + STRIDE - 1) // STRIDE, 1)
    columns = tl.maximum((width - first_column + STRIDE - 1) // STRIDE, 1)
    image = pixel // (rows * columns)
    row = pixel // columns % rows * STRIDE + first_row
    column = pixel % columns * STRIDE + first_column
    is_pixel = (image < images) & (row < height) & (column < width)
    channel_in, channel_out = tl.arange(0, IN_TILE), tl.arange(0, OUT_TILE)
    start = weight + group * OUT * KERNEL * KERNEL * IN
    kernel_row, kernel_column = (
        (first_row + KERNEL // 2) % STRIDE,
        (first_column + KERNEL // 2) % STRIDE,
    )
    kernel_columns = (KERNEL - kernel_column + STRIDE - 1) // STRIDE
    places = (KERNEL - kernel_row + STRIDE - 1) // STRIDE * kernel_columns
    total = tl.zeros((PIXELS, IN_TILE), tl.float32)
    for number in range(places):
        down = kernel_row + number // kernel_columns * STRIDE
        across = kernel_column + number % kernel_columns * STRIDE
        r, c = row + KERNEL // 2 - down, column + KERNEL // 2 - across
        is_inside = is_pixel & (r >= 0) & (c >= 0)
        r, c = r // STRIDE, c // STRIDE
        is_inside = is_inside & (r < height_out) & (c < width_out)
        place = down * KERNEL + across
        at = ((image * height_out + r) * width_out + c) * (groups * OUT) + group * OUT
        values = tl.load(
            gradient + at[:, None] + channel_out[None, :],
            mask=is_inside[:, None] & (channel_out < OUT)[None, :],
            other=0.0,
        )
        factors = tl.load(
            start + (channel_out[:, None] * (KERNEL * KERNEL) + place) * IN + channel_in[None, :],
            mask=(channel_in < IN)[None, :] & (channel_out < OUT)[:, None],
            other=0.0,
        )
        total = tl.dot(values, factors.to(values.dtype), total, input_precision=PRECISION)
    at = ((image * height + row) * width + column) * (groups * IN) + group * IN
    tl.store(
        x_gradient + at[:, None] + channel_in[None, :],
        total.to(x_gradient.dtype.element_ty),
        mask=is_pixel[:, None] & (channel_in < IN)[None, :],
    )


@triton.jit
def gradient_of_weight(
    x,
    gradient,  # of y
    parts,  # (parts, groups * OUT, KERNEL, KERNEL, IN); their sum is the gradient
    pixels,  # of y, in all images
    pixels_of_part,
    height,
    width,
    height_out,
    width_out,
    groups,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    IN_TILE: tl.constexpr,
    OUT_TILE: tl.constexpr,
    KERNEL: tl.constexpr,
    KERNEL_TILE: tl.constexpr,  # a power of two
    STRIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """One row of the kernels of a group, summed over the pixels of a part."""
    group, part, kernel_row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    column_of_kernel = tl.arange(0, KERNEL_TILE * IN_TILE) // IN_TILE
    channel_in = tl.arange(0, KERNEL_TILE * IN_TILE) % IN_TILE
    channel_out = tl.arange(0, OUT_TILE)
    is_weight = (column_of_kernel < KERNEL) & (channel_in < IN)
    total = tl.zeros((OUT_TILE, KERNEL_TILE * IN_TILE), tl.float32)
    first = part * pixels_of_part
    for start in range(first, first + pixels_of_part, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        is_pixel = pixel < pixels
        image = pixel // (height_out * width_out)
        r = pixel // width_out % height_out * STRIDE - KERNEL // 2 + kernel_row
        c = (pixel % width_out * STRIDE - KERNEL // 2)[:, None] + column_of_kernel[None, :]
        is_inside = (is_pixel & (r >= 0) & (r < height))[:, None] & (c >= 0) & (c < width)
        at = ((image * height + r) * width)[:, None] + c
        values = tl.load(
            x + at * (groups * IN) + group * IN + channel_in[None, :],
            mask=is_inside & is_weight[None, :],
            other=0.0,
        )
        gradients = tl.load(
            gradient + pixel[:, None] * (groups * OUT) + group * OUT + channel_out[None, :],
            mask=is_pixel[:, None] & (channel_out < OUT)[None, :],
            other=0.0,
        )
        total = tl.dot(tl.trans(gradients), values, total, input_precision=PRECISION)
    at_kernel = (part * groups + group) * OUT + channel_out
    place = (kernel_row * KERNEL + column_of_kernel) * IN + channel_in
    tl.store(
        parts + at_kernel[:, None] * (KERNEL * KERNEL * IN) + place[None, :],
        total,
        mask=(channel_out < OUT)[:, None] & is_weight[None, :],
    )


@triton.jit
def _of_channels(values, channel, is_channel):
    """The values of some channels; 0 for what is none."""
    return tl.load(values + channel, mask=is_channel, other=0)


@triton.jit
def _value_and_slope(x, gradient, at, mask, centre, inverse, factor, shift, is_relu):
    """Normalised values, and the gradients before the ReLU, whose output is zero for some."""
    value = (tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - centre) * inverse
    slope = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
    return value, tl.where(is_relu & (value * factor + shift <= 0), 0.0, slope)


@triton.jit
def sums_of_channels(
    x,
    parts,  # (parts, 2, channels)
    pixels,
    pixels_of_part,
    channels,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sums of the values and of their squares, minus the channel's first value, over a part.

    Without this difference the variance of values far from zero would be lost in rounding.
    """
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    pivot = _of_channels(x, channel, is_channel).to(tl.float32)
    values = tl.zeros((PIXELS, CHANNELS), tl.float32)
    squares = tl.zeros((PIXELS, CHANNELS), tl.float32)
    first = tl.program_id(1) * pixels_of_part
    for start in range(first, first + pixels_of_part, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        mask = (pixel < pixels)[:, None] & is_channel[None, :]
        at = pixel[:, None] * channels + channel[None, :]
        value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - pivot[None, :]
        value = tl.where(mask, value, 0.0)
        values += value
        squares += value * value
    into = parts + tl.program_id(1) * 2 * channels + channel
    tl.store(into, tl.sum(values, 0), mask=is_channel)
    tl.store(into + channels, tl.sum(squares, 0), mask=is_channel)


@triton.jit
def statistics(
    x,
    parts,
    mean,
    inverse_std,
    running_mean,
    running_variance,
    pixels,
    channels,
    momentum,
    epsilon,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Mean and 1 / std of each channel, and its running averages."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    at = tl.arange(0, PARTS)[:, None] * (2 * channels) + channel[None, :]
    pivot = _of_channels(x, channel, is_channel).to(tl.float32)
    value = tl.sum(tl.load(parts + at, mask=is_channel[None, :], other=0.0), 0) / pixels
    square = tl.sum(tl.load(parts + at + channels, mask=is_channel[None, :], other=0.0), 0) / pixels
    variance = tl.maximum(square - value * value, 0.0)
    tl.store(mean + channel, pivot + value, mask=is_channel)
    tl.store(inverse_std + channel, 1 / tl.sqrt(variance + epsilon), mask=is_channel)
    old_mean = _of_channels(running_mean, channel, is_channel)
    old_variance = _of_channels(running_variance, channel, is_channel)
    unbiased = variance * (pixels / (pixels - 1.0))
    new_mean = old_mean + momentum * (pivot + value - old_mean)
    tl.store(running_mean + channel, new_mean, mask=is_channel)
    new_variance = old_variance + momentum * (unbiased - old_variance)
    tl.store(running_variance + channel, new_variance, mask=is_channel)


@triton.jit
def normalise(
    x,
    y,
    mean,
    inverse_std,
    weight,
    bias,
    bits,  # for each of_bit channels: is it a ReLU?
    of_bit,
    pixels,
    channels,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """y = (x - mean) / std * weight + bias, with ReLU where the bit is set."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    is_channel = channel < channels
    mask = (pixel < pixels)[:, None] & is_channel[None, :]
    at = pixel[:, None] * channels + channel[None, :]
    scale = _of_channels(inverse_std, channel, is_channel)
    scale *= _of_channels(weight, channel, is_channel)
    shift = _of_channels(bias, channel, is_channel)
    centre = _of_channels(mean, channel, is_channel)
    is_relu = _of_channels(bits, channel // of_bit, is_channel) != 0
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    value = (value - centre[None, :]) * scale[None, :] + shift[None, :]
    value = tl.where(is_relu[None, :] & (value <= 0), 0.0, value)
    tl.store(y + at, value.to(y.dtype.element_ty), mask=mask)


@triton.jit
def sums_of_gradients(
    x,
    gradient,  # of y
    parts,  # (parts, 2, channels)
    mean,
    inverse_std,
    weight,
    bias,
    bits,  # for each of_bit channels: is it a ReLU?
    of_bit,
    pixels,
    pixels_of_part,
    channels,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Over a part: sums of the gradients times the normalised values, and of the gradients.

    A gradient does not count where ReLU made its value zero.
    """
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    centre = _of_channels(mean, channel, is_channel)[None, :]
    inverse = _of_channels(inverse_std, channel, is_channel)[None, :]
    factor = _of_channels(weight, channel, is_channel)[None, :]
    shift = _of_channels(bias, channel, is_channel)[None, :]
    is_relu = _of_channels(bits, channel // of_bit, is_channel)[None, :] != 0
    products = tl.zeros((PIXELS, CHANNELS), tl.float32)
    gradients = tl.zeros((PIXELS, CHANNELS), tl.float32)
    first = tl.program_id(1) * pixels_of_part
    for start in range(first, first + pixels_of_part, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        mask = (pixel < pixels)[:, None] & is_channel[None, :]
        at = pixel[:, None] * channels + channel[None, :]
        value, slope = _value_and_slope(
            x, gradient, at, mask, centre, inverse, factor, shift, is_relu
        )
        products += slope * value
        gradients += slope
    into = parts + tl.program_id(1) * 2 * channels + channel
    tl.store(into, tl.sum(products, 0), mask=is_channel)
    tl.store(into + channels, tl.sum(gradients, 0), mask=is_channel)


@triton.jit
def gradient_of_normalised(
    x,
    gradient,  # of y
    sums,  # (2, channels): of the products and of the gradients
    x_gradient,
    mean,
    inverse_std,
    weight,
    bias,
    bits,  # for each of_bit channels: is it a ReLU?
    of_bit,
    pixels,
    channels,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The gradient of x, through mean and variance too."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    is_channel = channel < channels
    mask = (pixel < pixels)[:, None] & is_channel[None, :]
    at = pixel[:, None] * channels + channel[None, :]
    centre = _of_channels(mean, channel, is_channel)[None, :]
    inverse = _of_channels(inverse_std, channel, is_channel)[None, :]
    factor = _of_channels(weight, channel, is_channel)[None, :]
    shift = _of_channels(bias, channel, is_channel)[None, :]
    is_relu = _of_channels(bits, channel // of_bit, is_channel)[None, :] != 0
    product = _of_channels(sums, channel, is_channel)[None, :] / pixels
    average = _of_channels(sums + channels, channel, is_channel)[None, :] / pixels
    value, slope = _value_and_slope(x, gradient, at, mask, centre, inverse, factor, shift, is_relu)
    result = (slope - average - value * product) * (inverse * factor)
    tl.store(x_gradient + at, result.to(x_gradient.dtype.element_ty), mask=mask)
