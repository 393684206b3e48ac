"""CReLU: its parameters, the channels that it doubles, and where it fits."""

import pytest
import torch
from helpers.textbook import FITTING, SMALL, images

from search_spaces import Backbone, InputError, Placement, build, measure_complexity, relu_sites


def doubled(bit):
    return 2 if bit == "1" else 1


def crelu_parameters(family, stages, bits, width, classes):
    """Parameters by the definitions: the layer after a kept CReLU has twice the inputs."""
    bits = iter(bits)
    size, at = 9 * 3 * width, width  # the stem's convolution; `at`: channels that arrive
    if not family.startswith("pre"):
        size += 2 * width
    base = width  # channels where the widths are compared
    for stage, count in enumerate(stages):
        w = width * 2**stage
        for i in range(count):
            if family == "plain":
                size += 9 * at * w + 2 * w
                at = w * doubled(next(bits))
            elif family == "preplain":
                size += 2 * at + 9 * at * doubled(next(bits)) * w
                at = w
            elif family == "resnet":
                size += 9 * at * w + 2 * w + 9 * w * doubled(next(bits)) * w + 2 * w
                size += at * w + 2 * w if base != w else 0
                at, base = w * doubled(next(bits)), w
            elif family == "preresnet":
                inner = at * doubled(next(bits))
                size += 2 * at + 9 * inner * w + 2 * w + 9 * w * doubled(next(bits)) * w
                size += inner * w if at != w else 0
                at = w
            else:
                inner = at * doubled(next(bits))
                size += 2 * at + inner * w + 2 * w + 9 * w * doubled(next(bits)) * w
                size += 2 * w + w * doubled(next(bits)) * 4 * w
                size += inner * 4 * w if at != 4 * w else 0
                at = 4 * w
            assert i < count
    if family.startswith("pre"):
        size += 2 * at
    return size + at * classes + classes


@pytest.mark.parametrize(
    ("name", "bits", "width"),
    [
        (name, bits, width)
        for name in FITTING
        if name != "dfn-22"
        for bits, width in zip(FITTING[name], (4, 2, 16), strict=False)
    ],
)
def test_parameters_of_crelu_are_those_worked_out_by_hand(name, bits, width):
    family = name.rpartition("-")[0]
    model = build(name, bits, width=width, num_classes=7, activation="crelu")
    expected = crelu_parameters(family, SMALL[name], bits, width, 7)
    assert sum(p.numel() for p in model.parameters()) == expected
    backbone = Backbone.parse(name, width)
    cost = measure_complexity(backbone, Placement(bits), num_classes=7, activation="crelu")
    assert cost.params == expected


def test_crelu_of_a_paired_plain_net_doubles_every_input_but_the_first():
    """plain-38 has 36 convolutions of 3x3; all but the first read doubled channels."""
    relu, crelu = (
        measure_complexity(Backbone.parse("plain-38"), Placement("1" * 36), activation=a).params
        for a in ("relu", "crelu")
    )
    convs = 9 * (12 * 16 * 16 + 16 * 32 + 11 * 32 * 32 + 32 * 64 + 11 * 64 * 64)
    assert relu == 561_370
    assert crelu == relu + convs - 9 * 16 * 16 + 64 * 10


@pytest.mark.parametrize(("name", "bits"), [(name, texts[1]) for name, texts in FITTING.items()])
def test_channels_double_after_kept_sites_only(name, bits):
    model = build(name, bits, width=2, activation="crelu")
    widths = {}

    def hook(path):
        return lambda _, inputs, output: widths.update({path: output.shape[1] / inputs[0].shape[1]})

    for site in relu_sites(model):
        model.get_submodule(site).register_forward_hook(hook(site))
    model(images().float())
    assert [widths[site] for site in relu_sites(model)] == [doubled(bit) for bit in bits]


@pytest.mark.parametrize(
    ("name", "placement"),
    [
        ("resnet-20", "paired"),
        ("resnet-20", "2:1/first"),
        ("resnet-12", "1011000000"),
        ("dfn-26", "4:3/type1"),
    ],
)
def test_crelu_before_an_identity_shortcut_is_refused(name, placement):
    with pytest.raises(InputError, match="crelu doubles the channels") as caught:
        build(name, placement, width=4, activation="crelu")
    assert "\n" not in str(caught.value)
    backbone = Backbone.parse(name, 4)
    with pytest.raises(InputError, match="crelu doubles the channels"):
        measure_complexity(backbone, build(name, placement).placement, activation="crelu")


@pytest.mark.parametrize(
    ("name", "placement"),
    [
        ("resnet-20", "2:1/second"),
        ("resnet-12", "1110110000"),  # they feed projections: blocks 1 and 3 end a stage
        ("dfn-26", "linear"),
        ("preresnet-20", "paired"),
        ("preresnet-bottleneck-29", "pyramidnet"),
    ],
)
def test_crelu_fits_where_no_shortcut_is_in_the_way(name, placement):
    model = build(name, placement, width=2, activation="crelu")
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", ["plain-9", "preresnet-12"])
def test_crelu_needs_a_width_of_two(name):
    with pytest.raises(InputError, match="needs a width of at least 2"):
        build(name, FITTING[name][0], width=1, activation="crelu")
