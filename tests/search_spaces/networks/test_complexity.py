"""Costs against hand formulas: parameters, multiply-accumulates, ReLU layers and elements."""

import math
import random

import pytest
import torch

from search_spaces import (
    Backbone,
    InputError,
    Placement,
    build,
    measure_complexity,
    module_placement,
)

NAMES = [
    "plain-9",
    "preplain-9",
    "resnet-12",
    "preresnet-12",
    "preresnet-bottleneck-17",
    "dfn-22",
]
PRE_RESIDUAL = [name for name in NAMES if name.startswith("preresnet")]
CASES = [((32, 32), 3, 10), ((28, 28), 1, 10), ((9, 15), 3, 100)]


def blocks(backbone, size):
    """(channels in, width, pixels in, pixels out, widens) of every block, by hand."""
    expansion = 4 if backbone.family == "preresnet-bottleneck" else 1
    channels = backbone.width
    for stage, count in enumerate(backbone.blocks_per_stage):
        width = backbone.width * 2**stage
        for i in range(count):
            halves = int(stage > 0 and i == 0)
            before, after = (
                math.prod(math.ceil(side / 2**level) for side in size)
                for level in (stage - halves, stage)
            )
            yield channels, width, before, after, channels != width * expansion
            channels = width * expansion


def macs_by_hand(backbone, size, in_channels, num_classes):
    family, w = backbone.family, backbone.width
    total = 9 * in_channels * w * size[0] * size[1]
    for c, n, _, pixels, widens in blocks(backbone, size):
        if family in ("plain", "preplain"):
            weights = 9 * c * n
        elif family == "preresnet-bottleneck":
            weights = c * n + 9 * n * n + n * 4 * n + widens * c * 4 * n
        else:
            weights = 9 * c * n + 9 * n * n + widens * c * n
            weights *= 2 if family == "dfn" else 1
        total += weights * pixels
    return total + 4 * w * (4 if "bottleneck" in family else 1) * num_classes


def site_elements_by_hand(backbone, size):
    elements = []
    for c, n, before, after, _ in blocks(backbone, size):
        elements += {
            "plain": [n * after],
            "preplain": [c * before],
            "resnet": [n * after] * 2,
            "preresnet": [c * before, n * after],
            "preresnet-bottleneck": [c * before, n * after, n * after],
            "dfn": [n * after] * 4,
        }[backbone.family]
    return tuple(elements[:-1] if backbone.family == "dfn" else elements)


def outer_elements_by_hand(backbone, size):
    """The stem's ReLU, or the final one of pre-activation nets."""
    if not backbone.family.startswith("pre"):
        return backbone.width * size[0] * size[1]
    expansion = 4 if "bottleneck" in backbone.family else 1
    return 4 * backbone.width * expansion * math.prod(math.ceil(side / 4) for side in size)


def random_placement(backbone, seed):
    rng = random.Random(f"{backbone.name} {seed}")
    return Placement("".join(rng.choices("01", k=len(backbone.sites))))


@pytest.mark.parametrize(
    ("name", "size", "in_channels", "num_classes"),
    [
        *((name, *CASES[(i + j) % 3]) for i, name in enumerate(NAMES) for j in range(2)),
        ("preresnet-110", *CASES[0]),
        ("dfn-110", *CASES[2]),
    ],
)
def test_costs_are_those_worked_out_by_hand(name, size, in_channels, num_classes):
    backbone = Backbone.parse(name, width=8)
    placement = random_placement(backbone, 0)
    measured = measure_complexity(
        backbone, placement, num_classes=num_classes, in_channels=in_channels, image_size=size
    )
    sites = site_elements_by_hand(backbone, size)
    kept = sum(n for n, bit in zip(sites, placement.bits, strict=True) if bit == "1")
    assert measured.macs == macs_by_hand(backbone, size, in_channels, num_classes)
    assert measured.site_elements == sites
    assert measured.relu_elements == kept + outer_elements_by_hand(backbone, size)
    assert measured.relu_layers == placement.bits.count("1") + 1


@pytest.mark.parametrize("name", NAMES)
def test_no_placement_changes_parameters_or_macs(name):
    backbone = Backbone.parse(name)
    costs = [measure_complexity(backbone, random_placement(backbone, seed)) for seed in range(3)]
    costs += [
        measure_complexity(backbone, module_placement(backbone, m)) for m in ("paired", "linear")
    ]
    assert len({(cost.params, cost.macs, cost.site_elements) for cost in costs}) == 1
    assert costs[-1].relu_layers == 1


@pytest.mark.parametrize("name", PRE_RESIDUAL)
def test_pyramidnet_adds_exactly_its_norms_affine_parameters(name):
    backbone = Backbone.parse(name)
    expansion = 4 if "bottleneck" in name else 1
    paired, pyramid = (
        measure_complexity(backbone, module_placement(backbone, m))
        for m in ("paired", "pyramidnet")
    )
    norms = sum(2 * 16 * 2**s * expansion * n for s, n in enumerate(backbone.blocks_per_stage))
    assert pyramid.params == paired.params + norms
    assert pyramid.macs == paired.macs


@pytest.mark.parametrize("name", ["plain-9", "preresnet-bottleneck-17", "dfn-22"])
def test_parameters_are_those_of_the_built_network(name):
    backbone = Backbone.parse(name, width=2)
    placement = random_placement(backbone, 1)
    model = build(backbone, placement)
    assert measure_complexity(backbone, placement).params == sum(
        p.numel() for p in model.parameters()
    )


def test_plain_38_relu_elements_halve_under_2_to_1():
    backbone = Backbone.parse("plain-38")
    paired, halved = (
        measure_complexity(backbone, module_placement(backbone, m)) for m in ("paired", "2:1")
    )
    blocks_paired = 12 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8)
    assert paired.relu_elements == 16 * 32 * 32 + blocks_paired
    assert halved.relu_elements == 16 * 32 * 32 + blocks_paired // 2


def test_measuring_leaves_the_random_state_alone():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    measure_complexity(Backbone("resnet", 14, 3), Placement("1" * 12))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [(7, 32), (32, 7), (0, 0)])
def test_too_small_images_are_refused(size):
    backbone = Backbone.parse("plain-5")
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} pixels.*at least 8x8"):
        measure_complexity(backbone, Placement("111"), image_size=size)


def test_a_placement_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="has 2 sites but plain-5 has 3"):
        measure_complexity(Backbone.parse("plain-5"), Placement("11"))


@pytest.mark.timeout(40)
def test_a_very_wide_network_is_counted_without_its_weights():
    """torch would copy 3 GB of weights, layer by layer."""
    wide = Backbone.parse("preresnet-302", 1024)
    cost = measure_complexity(wide, Placement("1" * 300), image_size=(4096, 4096))
    assert cost.params == sum(p.numel() for p in _meta(wide).parameters())


def _meta(backbone):
    with torch.device("meta"):
        return build(backbone)
