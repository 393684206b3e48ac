"""One graph for all placements. torch's tracing is real; only slow tests compile C++."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters

from search_spaces import InputError
from search_spaces.networks.gates import insert_gates
from trials import Recipe, TrialSpec, load_data, run_trial
from trials.data.augmentation import EpochDraws
from trials.fast import stand_in
from trials.fast.stand_in import stand_in_epochs, train_by_stand_in
from trials.training.loop import DeviceData, train
from trials.training.optimizer import NesterovSGD
from trials.training.process import one_thread
from trials.training.spec import untrained_network

RECIPE = Recipe(epochs=2, batch_size=32, schedule="one-cycle")


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=100)


@pytest.fixture(autouse=True)
def _fresh():
    yield
    stand_in._stand_in.cache_clear()


def spec(placement, seed=0, backbone="plain-8", **changes):
    return TrialSpec(
        backbone=backbone, width=4, placement=placement, recipe=RECIPE, seed=seed, **changes
    )


def trained(one, data, *, gated=False, device="cpu", **how):
    """Metrics without times, and the network."""
    model = untrained_network(one, data)
    if gated:
        insert_gates(model)
    epoch_by = None
    if how:  # also where neither is asked for, as then the reference would train
        as_in = {"placement": one.placement, "activation": one.activation, **how}
        epoch_by = partial(train_by_stand_in, **as_in)
    with one_thread():
        epochs = list(
            train(model, data, one.recipe, seed=one.seed, device=device, epoch_by=epoch_by)
        )
    return [{**metrics.to_json(), "seconds": 0} for metrics in epochs], model.state_dict()


@pytest.mark.parametrize(
    ("backbone", "captured"),
    [("plain-8", False), ("plain-8", True), ("preresnet-8", True), ("dfn-14", False)],
)
def test_it_trains_as_the_ordinary_loop_to_the_bit(data, backbone, captured):
    """One training after another with other seeds, placements and activations."""
    sites = len(untrained_network(spec("paired", backbone=backbone), data).placement)
    for seed, bits in enumerate(("1" * sites, "0" * sites, ("01" * sites)[:sites])):
        for activation in ("relu", "elu"):
            one = spec(bits, seed, backbone, activation=activation)
            expected, weights = trained(one, data, gated=True)
            found, ours = trained(one, data, compiled=False, captured=captured)
            assert found == expected
            assert ours.keys() == weights.keys()
            assert all(torch.equal(ours[name], weights[name]) for name in weights)


def test_it_writes_into_no_data(data):
    before = data.train.images.copy()
    other = load_data("digits", train_limit=100, seed=1)
    for one in (data, other, data):
        trained(spec("2:1"), one, compiled=False, captured=True)
    assert (data.train.images == before).all()


def test_trials_on_the_same_data_share_a_record_and_hold_no_copy(data, records, monkeypatch):
    """Other data need another record, as a record reads from fixed addresses."""
    other = load_data("digits", train_limit=100, seed=1)
    cpu = torch.device("cpu")
    shared = {id(one): DeviceData.of(one, cpu) for one in (data, other)}  # as they are on a GPU
    monkeypatch.setattr(DeviceData, "of", lambda one, _device: shared[id(one)])
    used, find = [], stand_in._stand_in
    monkeypatch.setattr(stand_in, "_stand_in", lambda kind: used.append(find(kind)) or used[-1])
    made = []
    for seed, one in enumerate((data, data, other, other)):
        this = spec(("2:1", "paired")[seed % 2], seed)
        expected, _ = trained(this, one, gated=True)
        found, _ = trained(this, one, compiled=False, captured=True)
        assert found == expected
        assert used[-1]._data.images.data_ptr() == one.train.images.ctypes.data
        made.append(records.count("record"))
    assert made == [2, 2, 4, 4]  # for whole batches and for the short one
    assert len(set(map(id, used))) == 1


@pytest.fixture(params=["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def backend(request, monkeypatch):
    """torch.compile with this back end, and nothing compiled yet."""
    torch._dynamo.reset()
    counters.clear()
    whole = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **how: whole(function, **how, backend=request.param)
    )
    yield request.param
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")
def test_ten_placements_share_one_graph(backend, data):
    """More than the eight recompilations behind which torch would fall back to eager."""
    for seed in range(10):
        one = spec(format(seed + 1, "06b"), seed)
        result = run_trial(one, data, compiled=True)
        assert result.failure is None
        assert result.model.placement == one.placement
        expected, _ = trained(one, data, gated=True)
        exactly = 0 if backend == "eager" else 0.1
        first = result.epochs[0]
        assert first.train_loss == pytest.approx(expected[0]["train_loss"], rel=exactly)
        assert first.val_accuracy == pytest.approx(expected[0]["val_accuracy"], abs=exactly)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("ignore")
def test_another_backbone_is_another_graph(backend, data):
    for backbone in ("plain-8", "preresnet-8"):
        assert run_trial(spec("2:1", backbone=backbone), data, compiled=True).failure is None


def test_neither_compiled_nor_captured_is_the_reference():
    assert stand_in_epochs(spec("2:1"), compiled=False, captured=False) is None


def test_what_it_cannot_do_is_refused(data):
    with pytest.raises(InputError, match="need a CUDA device"):
        run_trial(spec("2:1"), data, captured=True)
    with pytest.raises(InputError, match="eager back end"):
        run_trial(spec("2:1@drop-norm"), data, compiled=True)


@pytest.mark.parametrize("told", ["pyramidnet", "2:1"], ids=["refused by name", "by its tensors"])
def test_a_pyramidnet_is_refused_and_its_weights_stay_untouched(data, told):
    """Also where the stand-in is told another placement: the network has norms of its own."""
    one, other = spec("pyramidnet", backbone="preresnet-8"), spec(told, backbone="preresnet-8")
    model = untrained_network(one, data)
    optimizer = NesterovSGD(model, RECIPE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    draws = EpochDraws.draw(len(data.train), pad=0, flip=False, seed=0, epoch=1)
    on_cpu = DeviceData.of(data, torch.device("cpu"))
    with pytest.raises(InputError, match="eager back end"):
        train_by_stand_in(
            model,
            optimizer,
            on_cpu,
            draws,
            1,
            placement=other.placement,
            activation="relu",
            compiled=False,
            captured=True,
        )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(momentum.any() for momentum in optimizer.state.values())


@pytest.mark.cuda
@pytest.mark.parametrize("compiled", [False, True])
def test_captured_steps_equal_eager_ones(data, monkeypatch, compiled):
    """Three trials by one record; deterministic kernels make eager and replay equal."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(stand_in, "fuse_on_gpu", lambda *_: None)  # it rounds in other places
    for seed, bits in enumerate(("111111", "000000", "010101")):
        expected, _ = trained(spec(bits, seed), data, gated=True, device="cuda")
        found, _ = trained(spec(bits, seed), data, device="cuda", compiled=compiled, captured=True)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours == pytest.approx(theirs, rel=0.1 if compiled else 1e-5)
