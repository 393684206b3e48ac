"""Built networks against functional forward passes; parameters and initial weights."""

import math
import random
from functools import partial

import pytest
import torch
from helpers.textbook import SMALL, Textbook, images, trained_looking
from torch import nn

from search_spaces import FAMILIES, Backbone, InputError, Placement, build

SITES = {
    "plain-9": 7,
    "preplain-9": 7,
    "resnet-12": 10,
    "preresnet-12": 10,
    "preresnet-bottleneck-17": 15,
    "dfn-22": 19,
}
RESIDUAL_PRE = ("preresnet-12", "preresnet-bottleneck-17")


def random_bits(name, seed):
    return "".join(random.Random(f"{name} {seed}").choices("01", k=SITES[name]))


def placements(name):
    texts = ["1" * SITES[name], "0" * SITES[name], *(random_bits(name, s) for s in range(2))]
    ends = [f"{text}@end-norm" for text in texts[2:4]] if name in RESIDUAL_PRE else []
    return texts + ends


@pytest.mark.parametrize(
    ("name", "placement", "training"),
    [(name, text, i % 2 == 0) for name in SMALL for i, text in enumerate(placements(name))],
)
def test_network_is_the_textbook_network(name, placement, training):
    model = trained_looking(name, placement).train(training)
    with torch.no_grad():
        expected = Textbook(model.state_dict(), placement, training).network(images(), name)
        torch.testing.assert_close(model(images()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_the_textbooks(name):
    placement = random_bits(name, "gradient")
    model = trained_looking(name, placement)
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    outputs = model(images()), Textbook(state, placement, True).network(images(), name)
    got, expected = (
        torch.autograd.grad(output.square().sum(), list(model.parameters())) for output in outputs
    )
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)


def without_outer_relus(model):
    """The paper keeps the stem's and the final ReLU: take them out to see the blocks alone."""
    for part in (model.stem, model.final):
        for i, module in enumerate(part):
            if isinstance(module, nn.ReLU):
                part[i] = nn.Identity()
    return model


def affine_error(model):
    x, y = torch.randn(2, 4, 3, 12, 12, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        mixed, apart = model(3 * x - 2 * y), 3 * model(x) - 2 * model(y)
    return ((mixed - apart).abs().max() / apart.abs().max()).item()


@pytest.mark.parametrize("name", [*SMALL, *(f"{name}@end-norm" for name in RESIDUAL_PRE)])
def test_all_dropped_is_affine_in_eval_mode(name):
    name, _, end = name.partition("@")
    placement = Placement("0" * SITES[name], "end" if end else "none")
    model = without_outer_relus(trained_looking(name, placement).eval())
    assert affine_error(model) < 1e-10


@pytest.mark.parametrize("name", SMALL)
def test_a_single_relu_at_any_site_breaks_affinity(name):
    for site in range(SITES[name]):
        bits = "0" * site + "1" + "0" * (SITES[name] - site - 1)
        assert affine_error(without_outer_relus(trained_looking(name, bits).eval())) > 1e-4


PARAMETERS = {  # backbone: CIFAR-10, CIFAR-100
    "plain-38": (561_370, 567_220),
    "plain-84": (1_327_482, 1_333_332),
    "resnet-110": (1_730_714, 1_736_564),
    "resnet-164": (2_605_658, 2_611_508),
    "preresnet-110": (1_730_522, 1_736_372),
    "preresnet-164": (2_605_466, 2_611_316),
    "preresnet-bottleneck-110": (1_146_842, 1_169_972),
    "preresnet-bottleneck-164": (1_703_258, 1_726_388),
    "dfn-26": (349_402, 355_252),
    "dfn-110": (1_710_426, 1_716_276),
}


@pytest.mark.parametrize(("name", "counts"), PARAMETERS.items())
def test_parameters_are_exactly_those_worked_out_from_the_definitions(name, counts):
    for num_classes, expected in zip((10, 100), counts, strict=True):
        with torch.device("meta"):
            model = build(name, num_classes=num_classes)
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


@pytest.mark.parametrize("name", SMALL)
def test_batch_norms_follow_the_recipe(name):
    suffix = "@end-norm" if name in RESIDUAL_PRE else ""
    model = build(name, "1" * SITES[name] + suffix, width=2)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum, norm.affine) for norm in norms} == {(2e-5, 0.1, True)}
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


@pytest.mark.parametrize("family", FAMILIES)
def test_initial_weights_have_the_recipes_distribution(family):
    model = build(f"{family}-38", generator=torch.Generator().manual_seed(0))
    scaled = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach()
            z = weight / math.sqrt(2 / weight[0].numel())
            assert abs(z.mean()) < 5 / math.sqrt(z.numel())
            assert abs(z.var() - 1) < 5 * math.sqrt(2 / z.numel())
            scaled.append(z.flatten())
    z = torch.cat(scaled)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / z.numel()), "a normal has kurtosis 3"
    classifier = model.classifier
    u = classifier.weight.detach() * math.sqrt(classifier.in_features)
    assert 0.95 < u.abs().max() <= 1
    assert abs(u.mean()) < 5 * math.sqrt(1 / 3 / u.numel())
    assert abs((u**2).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / u.numel())
    assert (classifier.bias == 0).all()


@pytest.mark.parametrize("name", SMALL)
def test_equal_seeds_give_equal_weights_under_every_placement(name):
    def state(placement, seed):
        return build(
            name, placement, width=4, generator=torch.Generator().manual_seed(seed)
        ).state_dict()

    first = state(None, 3)
    for placement in placements(name):
        same = state(placement, 3)
        assert all(torch.equal(same[key], value) for key, value in first.items())
        assert {key for key in same if "end_norm" not in key} == set(first)
    assert not torch.equal(state(None, 4)["stem.0.weight"], first["stem.0.weight"])


IMAGES = [((28, 28), 1), ((9, 15), 3), ((8, 8), 1)]


@pytest.mark.parametrize(
    ("name", "size", "in_channels"), [(name, *IMAGES[i % 3]) for i, name in enumerate(SMALL)]
)
def test_grey_colour_and_odd_images_fit(name, size, in_channels):
    model = build(name, width=2, num_classes=7, in_channels=in_channels)
    features = []
    model.blocks.register_forward_hook(lambda _, __, output: features.append(output.shape))
    assert model(torch.zeros(2, in_channels, *size)).shape == (2, 7)
    channels = 32 if "bottleneck" in name else 8
    assert features == [(2, channels, math.ceil(size[0] / 4), math.ceil(size[1] / 4))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1"),
        ({"in_channels": 2}, "in_channels is 2"),
        ({"width": 0}, "width 0 is out of range"),
        ({"placement": "01"}, "has 2 sites but plain-5 has 3"),
    ],
)
def test_impossible_networks_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        build("plain-5", **options)


def test_a_backbone_brings_its_own_width():
    model = build(Backbone("plain", 5, width=3))
    assert (model.backbone.width, model.classifier.in_features) == (3, 12)


def exchanged(placement):
    """A dfn placement with branches 1 and 2 exchanged in all blocks."""
    blocks = [placement[i : i + 4] for i in range(0, len(placement), 4)]
    *inner, (a, b, joint) = blocks
    return "".join(block[2:] + block[:2] for block in inner) + b + a + joint


def exchange_names(key):
    for name in ("branch", "shortcut"):
        swapped = {f"{name}1.": f"{name}2.", f"{name}2.": f"{name}1."}
        for old, new in swapped.items():
            if old in key:
                return key.replace(old, new)
    return key


@pytest.mark.parametrize(("seed", "training"), [(0, True), (1, False), (2, True)])
def test_canonical_placement_of_dfn_is_the_same_function(seed, training):
    placement = random_bits("dfn-22", seed)
    canonical = Backbone.parse("dfn-22").canonical(Placement(placement)).bits
    mirrored = exchanged(placement)
    assert mirrored != placement
    assert canonical == min(placement, mirrored)
    one = trained_looking("dfn-22", placement).train(training)
    other = trained_looking("dfn-22", mirrored).train(training)
    images = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(seed)).double()
    compare = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        assert not torch.allclose(one(images), other(images))
    other.load_state_dict({exchange_names(k): v for k, v in one.state_dict().items()})
    with torch.no_grad():
        compare(one(images), other(images))
