"""One graph for all placements. torch's tracing is real; the default suite leaves out the C++."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo
from torch._dynamo.exc import RecompileError
from torch._dynamo.utils import counters

from search_spaces import build
from search_spaces.gates import insert_gates
from trials import Recipe, TrialSpec, load_data, run_trial
from trials import compiled as compiling
from trials.training import loss_and_logits

RECIPE = Recipe(epochs=1, batch_size=32)


@pytest.fixture(params=["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def backend(request, monkeypatch):
    """torch.compile with this back end, and nothing compiled yet."""
    torch._dynamo.reset()
    counters.clear()
    whole = torch.compile

    def compile_with(function, *, mode, **options):
        assert mode == "default"  # no CUDA graphs on a CPU
        return whole(function, **options, backend=request.param)

    monkeypatch.setattr(torch, "compile", compile_with)
    compiling._compiled.cache_clear()
    yield request.param
    compiling._compiled.cache_clear()
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_limit=100)


def spec(placement, seed=0):
    return TrialSpec(backbone="plain-8", width=4, placement=placement, recipe=RECIPE, seed=seed)


@pytest.mark.filterwarnings("ignore")
def test_ten_placements_share_one_graph(backend, data):
    """More than the eight recompilations behind which torch would fall back to eager."""
    for seed in range(10):
        placement = format(seed + 1, "06b")
        result = run_trial(spec(placement, seed), data, compiled=True)
        reference = run_trial(spec(placement, seed), data)
        assert result.failure is None
        assert result.model.placement.bits == placement
        ours, theirs = result.epochs[0], reference.epochs[0]
        exactly = 0 if backend == "eager" else 0.1
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=exactly)
        assert ours.val_accuracy == pytest.approx(theirs.val_accuracy, abs=exactly)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("ignore")
def test_a_second_graph_is_an_error_not_a_fallback(backend):
    x, y = torch.randn(32, 1, 8, 8), torch.zeros(32, dtype=torch.long)
    loss_of = compiling.compiled_loss(RECIPE)
    gated = build("plain-8", "paired", width=4, in_channels=1)
    insert_gates(gated)
    expected = loss_and_logits(gated, x, y)[0].item()
    assert loss_of(gated, x, y)[0].item() == pytest.approx(expected, rel=1e-5)
    structural = build("plain-8", "2:1", width=4, in_channels=1)
    with pytest.raises(RecompileError):
        loss_of(structural, x, y)


@pytest.mark.filterwarnings("ignore")
def test_another_backbone_is_another_graph(backend, data):
    for backbone in ("plain-8", "preresnet-8"):
        one = TrialSpec(backbone=backbone, width=4, placement="2:1", recipe=RECIPE)
        assert run_trial(one, data, compiled=True).failure is None
