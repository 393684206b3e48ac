"""Activations at the kept sites: what they compute and what they cost."""

import random

import pytest
import torch
import torch.nn.functional as F
from helpers.textbook import FITTING, SMALL, Textbook, images, look_trained, trained_looking
from torch import nn

from search_spaces import (
    Backbone,
    InputError,
    Placement,
    apply_placement,
    build,
    check_activation,
    measure_complexity,
    relu_sites,
)
from search_spaces.networks.sites import current_activation

OTHERS = ["leaky_relu", "prelu", "rrelu", "elu"]
NAMES = ["relu", *OTHERS, "crelu"]
SITES = {name: len(Backbone.parse(name).sites) for name in SMALL}


def rectifiers(state):
    """What each activation computes in eval mode, by the functions of torch."""
    return {
        "relu": lambda x, _: F.relu(x),
        "leaky_relu": lambda x, _: F.leaky_relu(x, 0.01),
        "prelu": lambda x, path: F.prelu(x, state[f"{path}.weight"]),
        "rrelu": lambda x, _: F.leaky_relu(x, (1 / 8 + 1 / 3) / 2),
        "elu": lambda x, _: F.elu(x, 1.0),
        "crelu": lambda x, _: torch.cat([F.relu(x), F.relu(-x)], dim=1),
    }


def some_texts(name, activation):
    if activation == "crelu":
        return FITTING[name]
    rng = random.Random(f"{name} {activation}")
    return ["1" * SITES[name], *("".join(rng.choices("01", k=SITES[name])) for _ in range(2))]


# Every pair of family and activation; the dropped norms alternate over the pairs.
CASES = [
    (name, activation, some_texts(name, activation)[1], ("", "@drop-norm")[(i + j) % 2])
    for i, name in enumerate(SMALL)
    for j, activation in enumerate(NAMES)
]
# Every family twice, every activation twice.
FEW = [CASES[6 * i + j] for i in range(6) for j in (i, (i + 3) % 6)]
ONCE = FEW[::2]
CRELU = [
    (name, "crelu", bits, norm)
    for name in SMALL
    for bits, norm in zip(FITTING[name], ("", "@drop-norm", ""), strict=False)
]


@pytest.mark.parametrize(
    ("name", "activation", "bits", "norm"),
    list(dict.fromkeys([*(case for case in CASES if case[1] != "relu"), *CRELU])),
)
def test_network_is_the_textbook_network(name, activation, bits, norm):
    model = trained_looking(name, bits + norm, activation=activation).eval()
    state = model.state_dict()
    with torch.no_grad():
        textbook = Textbook(state, bits + norm, False, rectifiers(state)[activation])
        expected = textbook.network(images(), name)
        torch.testing.assert_close(model(images()), expected, rtol=1e-9, atol=1e-9)
    assert model.activation == current_activation(model) == activation


@pytest.mark.parametrize(
    ("name", "activation", "bits"), [case[:3] for case in FEW if case[1] != "rrelu"]
)
def test_network_in_training_is_the_textbook_network(name, activation, bits):
    model = trained_looking(name, bits, activation=activation).train()
    state = model.state_dict()
    with torch.no_grad():
        textbook = Textbook(state, bits, True, rectifiers(state)[activation])
        expected = textbook.network(images(), name)
        torch.testing.assert_close(model(images()), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("name", "activation", "bits"), [case[:3] for case in FEW])
def test_every_kept_site_computes_its_activation_and_the_outer_ones_a_relu(name, activation, bits):
    model = trained_looking(name, bits, activation=activation).eval()
    rectify = rectifiers(model.state_dict())[activation]
    seen = []

    def watch(path, expected):
        def hook(_, inputs, output):
            torch.testing.assert_close(output, expected(inputs[0], path))
            seen.append(path)

        model.get_submodule(path).register_forward_hook(hook)

    for site, bit in zip(relu_sites(model), bits, strict=True):
        watch(site, rectify if bit == "1" else lambda x, _: x)
    outer = "final.1" if name.startswith("pre") else "stem.2"
    watch(outer, lambda x, _: F.relu(x))
    model(images())
    assert sorted(seen) == sorted([*relu_sites(model), outer])
    assert type(model.get_submodule(outer)) is nn.ReLU


@pytest.mark.parametrize("name", ["plain-9", "preresnet-bottleneck-17"])
def test_rrelu_draws_its_slopes_in_training_only(name):
    model = build(name, width=2, activation="rrelu")
    slopes = []

    def hook(module, inputs, output):
        negative = inputs[0] < 0
        slopes.append((output[negative] / inputs[0][negative]).detach())
        assert torch.equal(output[~negative], inputs[0][~negative])

    model.get_submodule(relu_sites(model)[0]).register_forward_hook(hook)
    model(images().float())
    model.eval()(images().float())
    training, evaluation = slopes
    assert training.min() >= 1 / 8 - 1e-4
    assert training.max() <= 1 / 3 + 1e-4
    assert training.std() > 0.04
    torch.testing.assert_close(evaluation, torch.full_like(evaluation, 11 / 48))


# --- weights ----------------------------------------------------------------------------------


def seeded(name, **options):
    generator = torch.Generator().manual_seed(9)
    return build(name, width=4, generator=generator, **options).state_dict()


@pytest.mark.parametrize(
    ("name", "activation"), [case[:2] for case in FEW if case[1] in OTHERS] + [("dfn-22", "prelu")]
)
def test_equal_seeds_give_equal_weights_with_every_activation(name, activation):
    relu, other = seeded(name), seeded(name, activation=activation)
    slopes = {f"{path}.weight" for path in relu_sites(build(name, width=4))}
    assert set(other) - set(relu) == (slopes if activation == "prelu" else set())
    assert all(torch.equal(other[key], tensor) for key, tensor in relu.items())
    assert all(other[key].tolist() == [0.25] for key in set(other) - set(relu))


@pytest.mark.parametrize("name", ["preplain-9", "resnet-12"])
def test_equal_seeds_give_equal_weights_with_crelu(name):
    bits = FITTING[name][0]
    one, other = (seeded(name, placement=bits, activation="crelu") for _ in range(2))
    assert all(torch.equal(other[key], tensor) for key, tensor in one.items())


@pytest.mark.parametrize(
    ("name", "activation"), [case[:2] for case in ONCE] + [("plain-9", "crelu")]
)
def test_a_new_activation_keeps_the_weights_that_fit(name, activation):
    bits = FITTING[name][0]
    model = trained_looking(name, bits).train()
    before = dict(model.state_dict())
    apply_placement(model, Placement(bits), activation)
    assert {module.training for module in model.modules()} == {True}
    assert current_activation(model) == activation
    after = model.state_dict()
    same = [key for key, tensor in before.items() if after[key].shape == tensor.shape]
    assert all(torch.equal(after[key], before[key]) for key in same)
    assert activation == "crelu" or len(same) == len(before)
    apply_placement(model, Placement(bits))
    assert current_activation(model) == activation, "None keeps the model's own"
    apply_placement(model, Placement(bits), "relu")
    back = model.state_dict()
    assert {k: t.shape for k, t in back.items()} == {k: t.shape for k, t in before.items()}
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_a_new_placement_fits_the_channels_of_crelu_again():
    model = build("plain-8", "111111", width=2, activation="crelu").double()
    for bits in ("010101", "000001", "111110", "101010"):
        apply_placement(model, Placement(bits))
        fresh = build("plain-8", bits, width=2, activation="crelu")
        assert {k: t.shape for k, t in model.state_dict().items()} == {
            k: t.shape for k, t in fresh.state_dict().items()
        }
        model(images())
    apply_placement(model, Placement("000000"))
    assert current_activation(model) == "relu"


@pytest.mark.parametrize("name", ["", "ReLU", "x" * 500])
def test_unknown_activations_are_refused_with_the_known_ones(name):
    for call in (check_activation, lambda n: build("plain-5", activation=n)):
        with pytest.raises(InputError, match="use one of relu, leaky_relu, prelu") as caught:
            call(name)
        assert len(str(caught.value)) < 200
        assert "\n" not in str(caught.value)


# --- cost -------------------------------------------------------------------------------------


def multiplications(model, size):
    """Multiply-accumulates of one image, from the shapes that pass each layer."""
    total = 0

    def hook(layer, inputs, output):
        nonlocal total
        each = inputs[0].shape[1] if isinstance(layer, nn.Linear) else layer.weight[0].numel()
        total += each * output.numel()

    handles = [
        layer.register_forward_hook(hook)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, *size))
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize(("name", "activation", "bits", "norm"), ONCE)
def test_costs_are_those_of_the_built_network(name, activation, bits, norm):
    backbone = Backbone.parse(name, width=3)
    placement = backbone.effective(Placement(bits, dropped_norm="drop" if norm else "keep"))
    cost = measure_complexity(backbone, placement, image_size=(9, 14), activation=activation)
    model = build(backbone, placement, activation=activation)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.macs == multiplications(model, (9, 14))
    assert cost.relu_layers == bits.count("1") + 1


@pytest.mark.parametrize("name", ["plain-9", "resnet-12", "preresnet-bottleneck-17", "dfn-22"])
def test_crelu_gives_out_twice_the_elements_of_relu(name):
    backbone = Backbone.parse(name, width=4)
    for bits in FITTING[name]:
        relu, elu, crelu = (
            measure_complexity(backbone, Placement(bits), activation=a)
            for a in ("relu", "elu", "crelu")
        )
        outer = relu.relu_elements - sum(
            n for n, bit in zip(relu.site_elements, bits, strict=True) if bit == "1"
        )
        expansion = 4 if "bottleneck" in name else 1
        outer_by_hand = 16 * 8 * 8 * expansion if name.startswith("pre") else 4 * 32 * 32
        assert outer == outer_by_hand
        assert elu == relu
        if not name.startswith(("resnet", "dfn")) or "1" not in bits[1::2]:
            assert crelu.site_elements == relu.site_elements
        assert crelu.relu_elements == 2 * relu.relu_elements - outer


def test_look_trained_moves_the_slopes_of_prelu():
    model = look_trained(
        build("plain-5", width=2, activation="prelu"), torch.Generator().manual_seed(0)
    )
    assert len({model.get_submodule(site).weight.item() for site in relu_sites(model)}) == 3


def test_a_refused_activation_leaves_the_model_as_it_was():
    model = build("resnet-20", "2:1/second", width=4).eval()
    before = model(torch.ones(2, 3, 16, 16))
    with pytest.raises(InputError, match="crelu"):
        apply_placement(model, Placement("1" * 18), "crelu")
    assert model.placement.text == "10*9"
    assert torch.equal(model(torch.ones(2, 3, 16, 16)), before)
