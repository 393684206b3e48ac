"""The BatchNorm before a dropped ReLU: dropped with it or kept, and the text form of this."""

import random
from itertools import product

import pytest
import torch
from helpers.textbook import SMALL, Textbook, images, trained_looking
from torch import nn

from search_spaces import (
    Backbone,
    InputError,
    Placement,
    apply_placement,
    build,
    measure_complexity,
    module_name_of,
    module_placement,
    reference_modules,
    relu_sites,
    resolve_placement,
)
from search_spaces.networks.sites import current_placement

# The BatchNorm directly before each ReLU of a block, in forward order, with its channels in
# units of the block's width or of the block's input; None after a sum.
BEFORE = {
    "plain-9": [("norm", "out")],
    "preplain-9": [("norm", "in")],
    "resnet-12": [("norm1", "out"), None],
    "preresnet-12": [("norm1", "in"), ("norm2", "out")],
    "preresnet-bottleneck-17": [("norm1", "in"), ("norm2", "out"), ("norm3", "out")],
    "dfn-22": [("branch1.norm1", "out"), None, ("branch2.norm1", "out"), None],
}
JOINED = [("branch1.norm1", "out"), ("branch2.norm1", "out"), None]


def norms_before(name, width):
    """For every site: path and channels of its BatchNorm, or None."""
    expansion = 4 if "bottleneck" in name else 1
    channels, result, block = width, [], 0
    total = sum(SMALL[name])
    for stage, count in enumerate(SMALL[name]):
        for _ in range(count):
            joins = name.startswith("dfn") and block == total - 1
            for norm in JOINED if joins else BEFORE[name]:
                here = {"in": channels, "out": width * 2**stage}
                result.append(norm and (f"blocks.{block}.{norm[0]}", here[norm[1]]))
            channels = width * 2**stage * expansion
            block += 1
    return result


def some_bits(name, count=1):
    sites = len(norms_before(name, 1))
    rng = random.Random(f"norms {name}")
    drawn = ["".join(rng.choices("01", k=sites)) for _ in range(count)]
    return ["0" * sites, *drawn]


CASES = [(name, bits) for name in SMALL for bits in some_bits(name)]
"""All dropped, and one drawn placement, for every family."""
ALTERNATING = [(name, bits, i % 2 == i // 6) for i, (name, bits) in enumerate(CASES)]
"""The same with True or False; both occur with all dropped and with drawn placements."""


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_exactly_the_norms_before_dropped_relus_vanish(name, bits):
    paired, model = build(name, width=3), build(name, f"{bits}@drop-norm", width=3)
    gone = [n for n, bit in zip(norms_before(name, 3), bits, strict=True) if n and bit == "0"]
    keys = [
        f"{path}.{key}"
        for path, _ in gone
        for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    assert set(paired.state_dict()) - set(model.state_dict()) == set(keys)
    assert set(model.state_dict()) <= set(paired.state_dict())
    size = sum(p.numel() for p in paired.parameters())
    less = sum(2 * channels for _, channels in gone)
    assert sum(p.numel() for p in model.parameters()) == size - less
    assert measure_complexity(model.backbone, model.placement).params == size - less


@pytest.mark.parametrize("name", SMALL)
def test_sites_know_whether_they_follow_a_sum(name):
    sites = Backbone.parse(name).sites
    assert [s.after_sum for s in sites] == [norm is None for norm in norms_before(name, 1)]


@pytest.mark.parametrize(("name", "bits", "training"), ALTERNATING)
def test_network_without_norms_is_the_textbook_network(name, bits, training):
    model = trained_looking(name, f"{bits}@drop-norm").train(training)
    with torch.no_grad():
        textbook = Textbook(model.state_dict(), f"{bits}@drop-norm", training)
        expected = textbook.network(images(), name)
        torch.testing.assert_close(model(images()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["preresnet-12", "preresnet-bottleneck-17"])
def test_both_norm_suffixes_together_are_the_textbook_network(name):
    for bits in some_bits(name, 3):
        text = f"{bits}@drop-norm@end-norm"
        model = trained_looking(name, text)
        with torch.no_grad():
            expected = Textbook(model.state_dict(), text, True).network(images(), name)
            torch.testing.assert_close(model(images()), expected, rtol=1e-10, atol=1e-10)


def affine_errors(function, shape):
    """How far f is from f(ax + by) = af(x) + bf(y), and from the same plus a constant."""
    x, y = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        zero, fx, fy = function(torch.zeros_like(x)), function(x), function(y)
        mixed = function(3 * x - 5 * y)
    scale = mixed.abs().max()
    linear = (mixed - (3 * fx - 5 * fy)).abs().max() / scale
    affine = (mixed - zero - 3 * (fx - zero) + 5 * (fy - zero)).abs().max() / scale
    return linear.item(), affine.item()


@pytest.mark.parametrize("name", ["plain-9", "preplain-9", "preresnet-12"])
def test_blocks_without_relus_and_norms_are_linear_even_in_training(name):
    model = trained_looking(name, f"{'0' * len(norms_before(name, 1))}@drop-norm").train()
    assert affine_errors(model.blocks, (2, 4, 12, 12))[0] < 1e-10


@pytest.mark.parametrize("name", ["plain-9", "preplain-9", "preresnet-12"])
def test_the_norms_that_stay_make_training_nonlinear(name):
    model = trained_looking(name, "0" * len(norms_before(name, 1))).train()
    assert affine_errors(model.blocks, (2, 4, 12, 12))[1] > 1e-3


def test_two_convs_without_relu_and_norm_are_one_conv_of_a_larger_field():
    """Section II-B: conv-conv is one linear map of 5x5 pixels, with all norms still in between."""
    model = trained_looking("plain-5", "011@drop-norm").train()
    first, second = model.blocks[0].conv.weight, model.blocks[1].conv.weight
    with torch.no_grad():
        flipped = first.flip(2, 3).transpose(0, 1)  # a convolution of the two kernels
        kernel = nn.functional.conv2d(second, flipped, padding=2)
        x = torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(3)).double()
        merged = nn.functional.conv2d(x, kernel, stride=2, padding=2)
        both = model.blocks[1].conv(model.blocks[0](x))
    inside = (..., slice(1, -1), slice(1, -1))  # at the border the first conv's zeros differ
    torch.testing.assert_close(merged[inside], both[inside], rtol=1e-10, atol=1e-10)


def test_equal_seeds_give_equal_weights_with_and_without_the_norms():
    for name, bits in CASES:
        keep, drop = (
            build(name, text, width=2, generator=torch.Generator().manual_seed(4)).state_dict()
            for text in (bits, f"{bits}@drop-norm")
        )
        assert all(torch.equal(keep[key], tensor) for key, tensor in drop.items())


# --- the model --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "bits", "mode"), ALTERNATING)
def test_norms_go_and_come_back_in_place(name, bits, mode):
    model = build(name, bits, width=2).train(mode).double()
    keys = list(model.state_dict())
    kept = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    dropped = Backbone.parse(name).effective(Placement(bits, dropped_norm="drop"))
    for placement in (dropped, dropped, Placement(bits)):
        apply_placement(model, placement)
        assert current_placement(model) == model.placement == placement
        assert {module.training for module in model.modules()} == {mode}
        assert {p.dtype for p in model.parameters()} == {torch.float64}
        assert relu_sites(model) == tuple(site.name for site in model.backbone.sites)
    assert list(model.state_dict()) == keys
    assert all(torch.equal(t, kept[key]) for key, t in model.state_dict().items())
    assert {p.requires_grad for p in model.parameters()} == {True}


def test_norms_that_stay_keep_what_they_learnt():
    model = trained_looking("preresnet-12", "1" * 10)
    before = dict(model.state_dict())
    apply_placement(model, Placement("01" * 5, dropped_norm="drop"))
    after = model.state_dict()
    assert set(before) - set(after)
    assert all(tensor is not None and torch.equal(tensor, before[k]) for k, tensor in after.items())
    assert all(after[k].data_ptr() == before[k].data_ptr() for k in after)


@pytest.mark.parametrize("name", ["preplain-9", "dfn-22"])
def test_paired_has_no_norm_to_drop(name):
    backbone = Backbone.parse(name, width=2)
    placement = resolve_placement(backbone, "paired@drop-norm")
    assert placement == resolve_placement(backbone, "paired") == resolve_placement(backbone, None)
    assert placement == resolve_placement(backbone, "paired", "drop")
    assert list(build(name, "paired@drop-norm", width=2).state_dict()) == list(
        build(name, width=2).state_dict()
    )


# --- identity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "placement"),
    [
        ("01*27@drop-norm", Placement("01" * 27, dropped_norm="drop")),
        ("01*27@end-norm", Placement("01" * 27, "end")),
        ("01*27@end-norm@drop-norm", Placement("01" * 27, "end", "drop")),
        (" 01*27@drop-norm@end-norm ", Placement("01" * 27, "end", "drop")),
    ],
)
def test_suffixes_are_read_in_any_order(text, placement):
    assert Placement.parse(text) == placement


def test_text_is_read_back_with_every_pair_of_norms():
    texts = set()
    for bits in ("".join(b) for n in range(1, 7) for b in product("01", repeat=n)):
        for end, drop in product(("none", "end"), ("keep", "drop")):
            placement = Placement(bits, end, drop)
            assert Placement.parse(placement.text) == placement
            assert Placement.from_json(placement.to_json()) == placement
            assert placement.text.endswith("@drop-norm") == (drop == "drop")
            assert ("@end-norm" in placement.text) == (end == "end")
            texts.add(placement.text)
    assert len(texts) == 4 * (2**7 - 2)
    assert Placement("01" * 27, "end", "drop").text == "01*27@end-norm@drop-norm"


@pytest.mark.parametrize(
    "text",
    [
        "01*3@",
        "01*3@DROP-NORM",
        "01*3@drop-norm@drop-norm",
        "01*3@@drop-norm",
        "01*3 drop-norm",
        "@drop-norm 01*3",
        "01@drop-norm+0101",
        "2:1/first@end-norm@end-norm",
        "2:1@keep-norm",
    ],
)
def test_bad_suffixes_are_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        resolve_placement(Backbone.parse("preresnet-8"), text)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        Placement.parse(text)


@pytest.mark.parametrize("norm", ["", "DROP", None])
def test_unknown_fate_of_norms_is_refused(norm):
    with pytest.raises(InputError, match=r"dropped norm .* is unknown"):
        Placement("01", dropped_norm=norm)


@pytest.mark.parametrize(
    ("name", "text", "placement"),
    [
        ("preresnet-8", "2:1/second @drop-norm", Placement("101010", dropped_norm="drop")),
        ("preresnet-8", "pyramidnet@drop-norm", Placement("010101", "end", "drop")),
        ("preresnet-8", "2:1@end-norm@drop-norm", Placement("010101", "end", "drop")),
        ("preresnet-8", "01*3@drop-norm", Placement("010101", dropped_norm="drop")),
        ("plain-8", "3:2@drop-norm", Placement("011011", dropped_norm="drop")),
        ("resnet-8", "2:1/first@drop-norm", Placement("010101", dropped_norm="drop")),
        ("resnet-8", "2:1/second@drop-norm", Placement("101010")),
        ("dfn-14", "4:3/type1@drop-norm", Placement("1011" * 2 + "111")),
        ("dfn-14", "4:3/type2@drop-norm", Placement("0111" * 2 + "011", dropped_norm="drop")),
        ("plain-8", "eraserelu:1@drop-norm", Placement("101010", dropped_norm="drop")),
    ],
)
def test_modules_take_the_suffix(name, text, placement):
    backbone = Backbone.parse(name)
    assert resolve_placement(backbone, text) == placement
    without = text.replace("@drop-norm", "")
    assert resolve_placement(backbone, without, "drop") == placement
    assert resolve_placement(backbone, resolve_placement(backbone, without), "drop") == placement


@pytest.mark.parametrize("name", SMALL)
def test_modules_are_recognised_with_their_suffix(name):
    backbone = Backbone.parse(name)
    for module in reference_modules(backbone):
        placement = resolve_placement(backbone, module, "drop")
        dropped = [
            norm
            for norm, bit in zip(norms_before(name, 1), placement.bits, strict=True)
            if norm and bit == "0"
        ]
        assert module_name_of(backbone, placement) == module + ("@drop-norm" if dropped else "")
        without_check = Placement(placement.bits, dropped_norm="drop")
        assert module_name_of(backbone, without_check) == module_name_of(backbone, placement)
        assert module_name_of(backbone, module_placement(backbone, module)) == module


@pytest.mark.parametrize("name", ["plain-9", "resnet-12", "dfn-22"])
def test_references_with_dropped_norms_are_the_modules_with_the_suffix(name):
    backbone = Backbone.parse(name)
    references = reference_modules(backbone, "drop")
    assert references["paired"].dropped_norm == "keep"
    assert "linear@drop-norm" in references
    assert len(references) == len(reference_modules(backbone))
    for module, placement in references.items():
        assert resolve_placement(backbone, module) == placement


@pytest.mark.parametrize("name", SMALL)
def test_canonical_form_knows_a_drop_without_effect(name):
    backbone = Backbone.parse(name)
    norms = norms_before(name, 1)
    rng = random.Random(f"canonical {name}")
    draws = ["".join(rng.choices("011", k=len(norms))) for _ in range(30)]
    draws += ["".join("1" if norm else "0" for norm in norms), "1" * len(norms)]
    for bits in draws:
        effect = any(norm and bit == "0" for norm, bit in zip(norms, bits, strict=True))
        keep, drop = (backbone.canonical(Placement(bits, dropped_norm=n)) for n in ("keep", "drop"))
        assert (keep != drop) == effect
        assert drop.dropped_norm == ("drop" if effect else "keep")
        assert keep.bits == drop.bits
        assert backbone.canonical(drop) == drop
