"""Folding: the folded network computes the same as the network, also at image borders."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import nn

from search_spaces import Backbone, Placement, build
from search_spaces.networks.folding import FoldedPair, find_pairs, fold_norms, fold_pair

SMALLEST = ("plain-8", "preplain-8", "resnet-8", "preresnet-8", "preresnet-bottleneck-11", "dfn-14")


def trained(backbone, placement, **options):
    """A network whose BatchNorms have statistics and affine values of their own."""
    generator = torch.Generator().manual_seed(5)
    spec = Backbone.parse(backbone, 4)
    model = build(spec, placement, generator=generator, **options).train()
    for _ in range(3):
        model(torch.randn(8, 3, 16, 16, generator=generator) * 2 + 1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    return model.eval()


def images(height=16, width=16):
    return torch.randn(4, 3, height, width, generator=torch.Generator().manual_seed(6))


def folded_whole(model):
    network = fold_norms(model)
    pairs = find_pairs(network)
    for pair in pairs:
        fold_pair(network, pair)
    return network, pairs


# Heights 1 to 9 with either parity: the last line reaches beyond the border or it does not.
@pytest.mark.parametrize(
    ("kernels", "strides", "bias"),
    [
        (kernels, strides, sum(kernels) // 2 % 2 == sum(strides) % 2)
        for kernels in itertools.product((1, 3), repeat=2)
        for strides in itertools.product((1, 2), repeat=2)
    ],
    ids=str,
)
@torch.no_grad()
def test_two_convolutions_are_one_on_whole_images_of_any_size(kernels, strides, bias):
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, kernels[0], strides[0], kernels[0] // 2, bias=bias)
    second = nn.Conv2d(4, 5, kernels[1], strides[1], kernels[1] // 2, bias=bias)
    folded = FoldedPair(first, second)
    for height, width in itertools.product((1, 2, 3, 8, 9), (2, 5)):
        x = torch.randn(2, 3, height, width)
        torch.testing.assert_close(folded(x), second(first(x)), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_border_needs_its_correction():
    torch.manual_seed(0)
    first, second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
    folded, x = FoldedPair(first, second), torch.randn(1, 4, 8, 8)
    plain = nn.functional.conv2d(x, folded.weight, folded.bias, padding=2)
    wrong = (plain - second(first(x))).abs().amax((0, 1)) > 1e-4
    inner = torch.zeros(8, 8, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    assert torch.equal(wrong, ~inner)


@torch.no_grad()
def test_padding_in_front_of_the_pair_needs_no_correction():
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3, padding=2), nn.Conv2d(4, 5, 3)
    folded, x = FoldedPair(first, second), torch.randn(2, 3, 8, 8)
    assert folded.border == "front-padded"
    assert [name for name, _ in folded.named_buffers()] == ["weight", "bias"]
    torch.testing.assert_close(folded(x), second(first(x)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 2},
        {"dilation": 2},
        {"padding_mode": "reflect"},
        {"padding": 2},
        {"padding": "same"},
        {"kernel_size": 5},
        {"stride": 3},
        {"kernel_size": (3, 1), "padding": (1, 0)},
    ],
    ids=str,
)
def test_what_cannot_be_folded_exactly_is_refused(options):
    first = nn.Conv2d(4, 4, 3, padding=1)
    second = nn.Conv2d(in_channels=4, out_channels=4, kernel_size=3, padding=1)
    odd = nn.Conv2d(
        **{"in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1, **options}
    )
    for pair in ((first, odd), (odd, second)):
        with pytest.raises(ValueError, match="cannot be folded exactly"):
            FoldedPair(*pair)
    assert find_pairs(fold_norms(nn.Sequential(first, odd))) == ()


@pytest.mark.parametrize("backbone", SMALLEST)
@torch.no_grad()
def test_random_placements_of_every_family_fold_exactly(backbone):
    sites, draw = len(Backbone.parse(backbone).sites), random.Random(backbone)
    ended = ("none", "end") if backbone.startswith("preresnet") else ("none",)
    for bits in ["0" * sites] + ["".join(draw.choices("01", k=sites)) for _ in range(5)]:
        placement = Placement(bits, draw.choice(ended))
        model = trained(backbone, placement)
        folded, _ = folded_whole(model)
        for x in (images(), images(9, 12)):
            expected = model(x)
            scale = max(1.0, expected.abs().max().item())
            assert (folded(x) - expected).abs().max().item() < 1e-5 * scale, placement


@pytest.mark.parametrize(
    ("backbone", "placement", "pairs"),
    [
        ("plain-8", "paired", 0),
        ("plain-8", "2:1", 3),
        ("plain-8", "linear", 3),
        ("preplain-8", "linear", 3),  # and the stem takes part: s1 | 23 | 45 | 6
        ("resnet-8", "2:1/first", 3),
        ("resnet-8", "2:1/second", 0),  # a sum lies between
        ("preresnet-8", "2:1/first", 0),  # before the block's first convolution is a sum
        ("preresnet-8", "2:1/second", 3),
        ("preresnet-bottleneck-11", "3:2/type1", 0),
        ("preresnet-bottleneck-11", "3:2/type2", 3),
        ("preresnet-bottleneck-11", "3:2/type3", 3),
        ("dfn-14", "4:3/type1", 0),
        ("dfn-14", "4:3/type2", 3),
    ],
)
def test_pairs_are_where_nothing_is_left_between(backbone, placement, pairs):
    _, found = folded_whole(trained(backbone, placement))
    assert len(found) == pairs


@torch.no_grad()
def test_a_norm_folds_into_a_convolution_with_a_bias():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    model = nn.Sequential(conv, norm).eval()
    folded = fold_norms(model)
    assert [type(module) for module in folded.children()] == [nn.Conv2d]
    torch.testing.assert_close(folded(images()), model(images()), atol=1e-5, rtol=0)


class Shared(nn.Module):
    """A convolution that a BatchNorm and a sum read."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


@torch.no_grad()
def test_a_norm_stays_if_something_else_reads_its_convolution():
    torch.manual_seed(0)
    model = Shared().eval()
    nn.init.constant_(model.norm.running_mean, 2.0)
    torch.testing.assert_close(fold_norms(model)(images()), model(images()))


@torch.no_grad()
def test_rrelu_becomes_the_leaky_relu_of_eval_mode():
    model = trained("plain-8", "110101", activation="rrelu")
    folded, _ = folded_whole(model)
    slopes = {m.negative_slope for m in folded.modules() if isinstance(m, nn.LeakyReLU)}
    assert list(slopes) == [pytest.approx((1 / 8 + 1 / 3) / 2)]
    expected = model(images())
    assert (folded(images()) - expected).abs().max() < 1e-5 * expected.abs().max().clamp_min(1)


def test_folding_removes_every_norm_behind_a_convolution_and_leaves_the_model_alone():
    model = trained("resnet-8", "2:1/first")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded, pairs = folded_whole(model)
    kinds = [type(module) for module in folded.modules()]
    assert nn.BatchNorm2d not in kinds
    assert nn.Identity not in kinds
    assert kinds.count(FoldedPair) == len(pairs) == 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
