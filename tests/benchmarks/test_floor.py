"""The floor of a step against a count by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu_speed.floor import Floor, floor_of
from search_spaces import build


@pytest.mark.parametrize("value_bytes", [4, 2])
def test_plain_5_by_hand(value_bytes):
    """Width 2, 8x8 images, batch 3: stem and three convolutions of 2, 4 and 8 channels."""
    model = build("plain-5", width=2)
    pixels = {"image": 3 * 8 * 8, 1: 2 * 8 * 8, 2: 4 * 4 * 4, 3: 8 * 2 * 2}
    image, first, second, third = (3 * count for count in pixels.values())
    stem = 2 * (image + first)
    convolutions = 3 * (first + first) + 3 * (first + second) + 3 * (second + third)
    norms = 8 * (first + first + second + third)
    head = 2 * third
    weights = (3 * 2 + 2 * 2 + 2 * 4 + 4 * 8) * 9 + 2 * (2 + 2 + 4 + 8) + 8 * 10 + 10
    floor = floor_of(model, 3, (8, 8), value_bytes=value_bytes)
    moved = value_bytes * (image + stem + convolutions + norms + head)
    assert floor.bytes == image + moved + 20 * weights
    assert floor.kernels == 1 + (2 + 3 * 3) + 4 * 4 + 6 + 1


@pytest.mark.parametrize("network", ["plain-20", "preresnet-110"])
def test_the_page_has_these_figures(network):
    page = (Path(__file__).parents[2] / "benchmarks" / "gpu_speed.md").read_text()
    wide, narrow = (floor_of(build(network), 64, (32, 32), value_bytes=n) for n in (4, 2))
    sizes = f"{wide.bytes / 1e6:,.0f} / {narrow.bytes / 1e6:,.0f} MB"
    assert f"| {network} | fp32 / bf16 | {sizes} | {wide.kernels} |" in page


def test_a_residual_network_has_sums():
    """preresnet-8, width 2: three blocks with 2, 4 and 8 channels, two projections."""
    model = build("preresnet-8", width=2)
    kernels = floor_of(model, 1, (8, 8)).kernels
    assert kernels == 1 + (2 + 3 * 6 + 3 * 2) + 4 * 7 + 3 + 6 + 1


def test_the_slower_of_traffic_and_starts_counts():
    floor = Floor(bytes=1000, kernels=10)
    assert floor.seconds(100.0, 0.5) == 10.0
    assert floor.seconds(1e6, 0.5) == 5.0
