"""Own kernels compute what torch does: in Triton's interpreter, and on a GPU if there is one."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from torch import nn

from search_spaces import Backbone
from trials import Recipe, TrialSpec, load_data
from trials.fast import fusion, stand_in
from trials.fast.fusion import fuse_convolutions, fuse_norms, fuse_on_gpu
from trials.fast.packed_network import Member, PackedNetwork
from trials.fast.packing import PackedTraining
from trials.training.loop import train
from trials.training.optimizer import NesterovSGD
from trials.training.process import in_precision
from trials.training.spec import untrained_network

pytest.importorskip("triton")
from trials.fast import fused_layers as layers

RECIPE = Recipe(epochs=1, batch_size=12, schedule="one-cycle")
CONVOLUTIONS = [  # groups, channels in and out, kernel, stride, image
    (3, 16, 16, 3, 1, (7, 5)),
    (2, 16, 32, 3, 2, (8, 8)),
    (2, 16, 32, 3, 2, (7, 9)),
    (2, 16, 32, 3, 2, (1, 3)),
    (2, 3, 16, 3, 1, (6, 6)),
    (1, 24, 40, 3, 1, (6, 6)),
    (2, 16, 32, 1, 2, (7, 8)),
    (2, 16, 64, 1, 2, (1, 1)),
]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    if request.param == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton's kernels run on a CPU in its interpreter only: set TRITON_INTERPRET=1")
    return request.param


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=24)


def distance(found, wanted):
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-6))


def with_gradients(layer, x, slopes):
    """Output, and the gradients of the input and of the parameters."""
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(slopes)
    return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("kind", ["GroupedConvolution", "PaddedConvolution"])
def test_convolutions_equal_those_of_torch(device, case, kind):
    groups, inside, outside, kernel, stride, size = case
    if kind == "PaddedConvolution" and inside >= layers.LEAST:
        pytest.skip("it has channels enough")
    torch.manual_seed(0)
    theirs = nn.Conv2d(
        groups * inside, groups * outside, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    assert layers.can_compute(theirs)
    x = torch.randn(3, groups * inside, *size)
    slopes = torch.randn_like(theirs(x))
    wanted = with_gradients(theirs.double(), x.double(), slopes.double())
    ours = getattr(layers, kind)(theirs.float().to(device))
    checks = [(torch.float32, 1e-6)] * (device == "cpu" or case == CONVOLUTIONS[0])
    checks += [(torch.bfloat16, 1e-2)] * (device == "cuda")  # each check compiles three kernels
    for dtype, most in checks:
        with in_precision(RECIPE), torch.autocast(device, dtype, enabled=dtype != torch.float32):
            found = with_gradients(ours, x.to(device), slopes.to(device, dtype))
        assert max(map(distance, (t.cpu() for t in found), wanted)) < most


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Conv2d(16, 16, 3, bias=False),
        nn.Conv2d(16, 16, 5, padding=2, bias=False),
        nn.Conv2d(16, 16, (3, 1), padding=(1, 0), bias=False),
        nn.Conv2d(16, 16, 3, padding=1, dilation=2, bias=False),
        nn.Conv2d(16, 128, 3, padding=1, bias=False),
        nn.Conv2d(128, 16, 3, padding=1, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular", bias=False),
    ],
    ids=["bias", "padding", "5x5", "3x1", "dilation", "wide out", "wide in", "circular"],
)
def test_other_convolutions_are_left_to_torch(convolution):
    assert not layers.can_compute(convolution)


@pytest.mark.parametrize("shape", [(3, 48, 5, 7), (4, 132, 6, 6), (2, 512, 8, 8)], ids=str)
def test_norms_with_relu_equal_those_of_torch(device, shape):
    """With a mean that is far from zero, where a sum of squares alone would lose the variance."""
    torch.manual_seed(0)
    channels = shape[1]
    theirs = nn.BatchNorm2d(channels, eps=2e-5)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    bits = torch.tensor([1, 0, 1], dtype=torch.uint8) if channels % 3 == 0 else torch.ones(2)
    bits = bits.to(torch.uint8)
    ours = layers.NormAndReLU(nn.BatchNorm2d(channels, eps=2e-5).to(device), bits.to(device))
    ours.load_state_dict(theirs.state_dict())
    x, slopes = 2 * torch.randn(shape) + 30, torch.randn(shape)
    are_relus = bits.bool().repeat_interleave(channels // len(bits)).view(-1, 1, 1)
    theirs.double()
    theirs.register_forward_hook(lambda _m, _i, y: torch.where(are_relus, y.relu(), y))
    wanted = with_gradients(theirs, x.double(), slopes.double())
    found = with_gradients(ours, x.to(device), slopes.to(device))
    assert max(map(distance, (t.cpu() for t in found), wanted)) < 1e-5
    for name, value in ours.state_dict().items():
        assert distance(value.cpu(), theirs.state_dict()[name]) < 1e-6
    for norm in (ours, theirs):
        norm.eval()
    assert distance(ours(x.to(device)).cpu(), theirs(x.double())) < 1e-5


def test_a_loss_of_one_member_that_is_not_finite_stays_so(device):
    """A ReLU of a NaN is a NaN, so that the training fails and does not go on with zeros."""
    norm = layers.NormAndReLU(
        nn.BatchNorm2d(4).to(device), torch.ones(1, dtype=torch.uint8, device=device)
    )
    x = torch.randn(2, 4, 3, 3, device=device)
    x[0, 1, 0, 0] = torch.nan
    for mode in (True, False):
        y = norm.train(mode)(x)
        assert y[0, 1, 0, 0].isnan()
        assert y[:, [0, 2, 3]].isfinite().all()


@pytest.mark.parametrize(
    ("backbone", "activation"),
    [("plain-5", "relu"), ("plain-5", "elu"), ("resnet-8", "relu"), ("preresnet-8", "relu")],
)
def test_steps_of_a_fused_pack_equal_those_of_the_pack(device, data, backbone, activation):
    sites = len(Backbone.parse(backbone, 4).sites)
    base = TrialSpec(
        backbone=backbone, width=4, placement="paired", recipe=RECIPE, activation=activation
    )
    torch.manual_seed(0)
    x, y = torch.randn(4, 3, 8, 8, device=device), torch.randint(10, (3, 4), device=device)
    states, losses = [], []
    for is_fused in (False, True):
        members = []
        for seed, bits in enumerate(("1" * sites, ("10" * sites)[:sites], "0" * sites)):
            spec = replace(base, placement=bits, seed=seed)
            model = untrained_network(spec, data).to(device).train()
            members.append(Member(spec, model, NesterovSGD(model, RECIPE), None, None))
        pack = PackedNetwork(members, (8, 8))
        if is_fused:
            names = list(pack.model.state_dict())
            fuse_norms(pack.model)
            fuse_convolutions(pack.model)
            assert list(pack.model.state_dict()) == names
            assert not any(type(m) is nn.BatchNorm2d for m in pack.model.modules())
            assert any(isinstance(m, layers.GroupedConvolution) for m in pack.model.modules())
        with in_precision(RECIPE):
            for _ in range(2):
                pack.step(pack.losses(x, y)[0], torch.tensor([0.05, 0.1, 0.02], device=device))
            pack.model.eval()
            losses.append(pack.losses(x, y)[0])
        states.append(pack.model.state_dict())
    assert distance(*losses) < 1e-5
    assert max(distance(states[1][name], states[0][name]) for name in states[0]) < 1e-4


def test_a_fused_stand_in_trains_as_the_reference(device, data, monkeypatch):
    def fuse(network, recipe):
        fuse_norms(network)
        fuse_convolutions(network)
        assert not any(type(m) is nn.BatchNorm2d for m in network.modules())

    monkeypatch.setattr(stand_in, "fuse_on_gpu", fuse)
    stand_in.drop_stand_in()
    spec = TrialSpec(backbone="preresnet-8", width=4, placement="101100", recipe=RECIPE, seed=1)
    ended = []
    for epoch_by in (None, stand_in.stand_in_epochs(spec, compiled=False, captured=True)):
        model = untrained_network(spec, data)
        *_, last = train(model, data, RECIPE, seed=0, device=device, epoch_by=epoch_by)
        ended.append(torch.tensor([last.train_loss, last.val_loss]))
    stand_in.drop_stand_in()
    assert distance(*ended) < 1e-5


def test_nothing_changes_on_a_cpu(data):
    network = untrained_network(
        TrialSpec(backbone="plain-5", placement="paired", recipe=RECIPE), data
    )
    before = [type(m) for m in network.modules()]
    fuse_on_gpu(network, RECIPE)
    assert [type(m) for m in network.modules()] == before


@pytest.mark.parametrize(
    ("device", "capability", "hip", "triton", "wanted"),
    [
        ("cuda", (9, 0), None, True, True),
        ("cuda", (8, 0), None, True, True),
        ("cuda", (7, 5), None, True, False),
        ("cuda", (9, 0), "6.4", True, False),
        ("cuda", (9, 0), None, False, False),
        ("cpu", (9, 0), None, True, False),
    ],
)
def test_where_the_kernels_are_used(monkeypatch, device, capability, hip, triton, wanted):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(fusion, "find_spec", lambda name: name if triton else None)
    monkeypatch.setattr(layers, "can_compile", lambda _device: True)
    assert fusion.has_kernels(torch.device(device)) is wanted


def test_kernels_that_compile_are_used(device):
    layers.can_compile.cache_clear()
    assert layers.can_compile(torch.device(device))


def test_without_a_c_compiler_torch_computes_all_layers(monkeypatch):
    class NoCompiler:
        def __getitem__(self, _grid):
            raise RuntimeError("Failed to find C compiler.")

    layers.can_compile.cache_clear()
    monkeypatch.setattr(layers.kernels, "normalise", NoCompiler())
    with pytest.warns(UserWarning, match=r"cannot compile here \(.*Failed to find C compiler"):
        assert not layers.can_compile(torch.device("cpu"))
    layers.can_compile.cache_clear()


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_fused_pack_learns_as_well_as_one_that_is_not(data, precision, monkeypatch):
    """Both see the same images; after three epochs they differ by rounding only."""
    data = load_data("digits", train_limit=600)
    recipe = replace(RECIPE, epochs=3, batch_size=30, precision=precision)
    losses = []
    for is_fused in (True, False):
        if not is_fused:
            monkeypatch.setattr("trials.fast.packed_network.fuse_on_gpu", lambda *_: None)
        training = PackedTraining(data, "cuda", captured=True)
        for seed in range(16):
            spec = TrialSpec(backbone="plain-8", placement="paired", recipe=recipe, seed=seed)
            training.join(seed, spec)
        for _ in range(3):
            ended = training.epoch()
        losses.append([metrics.train_loss for metrics in ended.values()])
    ours, theirs = torch.tensor(losses)
    assert abs(ours.mean() - theirs.mean()) < 0.1 * theirs.mean()
