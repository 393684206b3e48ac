"""Learned gates: exact at both ends, right gradients, and fronts that follow a planted case."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.relu_bench import load
from benchmarks.replay.replays import seed_order
from benchmarks.search.gates import searches, training
from benchmarks.search.gates.front import Ranking
from benchmarks.search.gates.page import search_rows
from benchmarks.search.gates.searches import Course, Setting, searched
from benchmarks.search.gates.training import (
    GROWING,
    NONE,
    Penalty,
    insert_soft_relus,
    tied_sites,
    trained_gates,
)
from benchmarks.search.gates.truth import Truth
from search_spaces import Backbone, Placement, SearchSpace, build
from trials import Recipe, TrialSpec, load_data
from trials.data.image_sets import ImageSet

SATURATED = 200.0
"""A logit whose sigmoid is 1 in float32; that of its negative is 0."""


def gated(backbone, logits, **options):
    """A network of seed 0 with one gate at each site."""
    sites = len(Backbone.parse(backbone, 4).sites)
    model = network(backbone, "1" * sites, **options)
    insert_soft_relus(model, [(site,) for site in range(sites)], logits)
    return model


def network(backbone, bits):
    generator = torch.Generator().manual_seed(0)
    return build(backbone, Placement(bits), width=4, in_channels=1, generator=generator)


@pytest.mark.parametrize("backbone", ["plain-8", "resnet-8", "preresnet-8", "dfn-14"])
def test_at_1_and_0_the_network_is_the_all_kept_and_the_all_linear_one(backbone):
    sites = len(Backbone.parse(backbone, 4).sites)
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for logit, bit in ((SATURATED, "1"), (-SATURATED, "0")):
        soft, built = gated(backbone, torch.full((sites,), logit)), network(backbone, bit * sites)
        outputs = [model.train()(images) for model in (soft, built)]
        assert torch.equal(*outputs)
        for output in outputs:
            output.square().sum().backward()
        for a, b in zip(soft.parameters(), built.parameters(), strict=True):
            assert torch.equal(a.grad, b.grad)


def test_the_gradient_of_the_gates_is_that_of_finite_differences():
    logits = torch.tensor([-1.0, 0.3, 0.8, -0.2, 2.0, 0.1], dtype=torch.double, requires_grad=True)
    model = gated("plain-8", logits).double().eval()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 1, 8, 8, dtype=torch.double, generator=generator)

    def loss():
        return functional.cross_entropy(model(images), torch.arange(5))

    loss().backward()
    for gate, gradient in enumerate(logits.grad.tolist()):
        with torch.no_grad():
            logits[gate] += 1e-5
            above = loss().item()
            logits[gate] -= 2e-5
            below = loss().item()
            logits[gate] += 1e-5
        assert gradient == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("backbone", "granularity"),
    [("plain-8", "site"), ("plain-20", "stage"), ("preresnet-8", "block"), ("dfn-14", "network")],
)
def test_sites_share_a_gate_if_no_placement_tells_them_apart(backbone, granularity):
    space = SearchSpace(backbone, granularity, min_relus=0)
    placements = list(space.enumerate())
    gate_of = {site: gate for gate, group in enumerate(tied_sites(space)) for site in group}
    assert sorted(gate_of) == list(range(len(space.backbone.sites)))
    for a, b in combinations(gate_of, 2):
        alike = all(placement.bits[a] == placement.bits[b] for placement in placements)
        assert (gate_of[a] == gate_of[b]) is alike


def test_the_step_at_which_a_gate_closes_is_the_last_one_at_which_it_was_open():
    path = np.array(
        [[0.9, 0.9, 0.4, 0.9], [0.4, 0.9, 0.3, 0.2], [0.6, 0.9, 0.2, 0.1], [0.1, 0.7, 0.1, 0.3]]
    )
    ranking = Ranking(path, GROWING, [(0, 1), (2, 3), (4, 5), (6, 7)])
    assert ranking.closed_at.tolist() == [3, 4, 0, 1]
    assert ranking.penalty_at_closing == pytest.approx([10**-0.75, np.inf, 1e-3, 10**-2.25])
    texts = ["00110000", "11110000", "11110011", "11111111"]
    assert [placement.bits for placement in ranking.front] == texts
    assert [p.bits for p in replace(ranking, penalty=NONE).front][1:3] == ["00110011", "11110011"]


class Planted(nn.Module):
    """Two classes by c (a(u) + b(v)) of two pixels u and v; c is the only weight."""

    def __init__(self):
        super().__init__()
        self.sites = {"a": None, "b": None}
        self.a, self.b, self.c = nn.ReLU(), nn.ReLU(), nn.Parameter(torch.tensor([[1.0]]))

    def forward(self, x):
        score = self.a(x[:, :1, 3, 3]) + self.b(x[:, :1, 4, 4])
        return torch.cat((torch.zeros_like(score), score @ self.c), dim=1)


@pytest.mark.parametrize("needed", ["10", "01"])
@pytest.mark.parametrize("penalty", [GROWING, NONE])
def test_the_one_relu_that_the_labels_need_is_dropped_last(monkeypatch, penalty, needed):
    data = load_data("digits", train_limit=400, validation_images=100)
    pixels = np.random.default_rng(0).integers(155, size=data.train.images.shape, dtype=np.uint8)
    scaled = (pixels - data.mean[0]) / data.std[0]
    u, v = scaled[:, 3, 3, 0], scaled[:, 4, 4, 0]
    u, v = (np.maximum(x, 0) if bit == "1" else x for x, bit in zip((u, v), needed, strict=True))
    labels = (u + v > 0).astype(np.int64)
    validation = replace(data.validation, labels=data.validation.labels % 2)
    data = replace(data, train=ImageSet(images=pixels, labels=labels), validation=validation)
    monkeypatch.setattr(training, "untrained_network", lambda *_: Planted())
    spec = TrialSpec(backbone="plain-8", placement="paired", recipe=Recipe(epochs=8, batch_size=20))
    path = trained_gates(spec, data, [(0,), (1,)], penalty)
    assert path.shape == (8 * 20, 2)
    assert [placement.bits for placement in Ranking(path, penalty, [(0,), (1,)]).front] == [
        needed,
        "11",
    ]


@pytest.mark.parametrize("penalty", [GROWING, NONE])
def test_a_front_is_nested_with_one_placement_for_each_number_of_relus(penalty):
    spec = load("preresnet-8").spec
    data = load_data("digits", train_limit=200, validation_images=100)
    groups = tied_sites(spec.space)
    path = trained_gates(spec.trial(spec.space.backbone.paired, 0), data, groups, penalty)
    front = Ranking(path, penalty, groups).front
    assert [placement.kept for placement in front] == list(range(1, len(groups) + 1))
    for small, large in pairwise(front):
        assert all(a <= b for a, b in zip(small.bits, large.bits, strict=True))


def test_a_penalty_closes_gates_that_the_loss_alone_leaves_open():
    spec = load("preresnet-8").spec
    data = load_data("digits", train_limit=200, validation_images=100)
    groups = tied_sites(spec.space)
    trial = spec.trial(spec.space.backbone.paired, 0)
    free, strong = (
        trained_gates(trial, data, groups, Penalty(first=nats, last=nats, start=1.0))
        for nats in (0.0, 2.0)
    )
    assert (strong[-1] < 0.5).all()
    assert (free[-1] > 0.5).sum() >= 3


def test_effects_and_regrets_are_those_of_the_table():
    table = load("preresnet-8")
    truth = Truth(table, tied_sites(table.spec.space))
    means = {
        placement.bits: np.mean(
            [table.query(placement, 4, seed)["test_loss"] for seed in range(20)]
        )
        for placement in table.spec.placements
    }
    linear = means.pop("000000")
    best = min(means, key=means.get)
    for site, effect in enumerate(truth.effects_at_the_best):
        flipped = best[:site] + "10"[int(best[site])] + best[site + 1 :]
        gain = np.log(means.get(flipped, linear) / means[best])
        assert effect == pytest.approx(gain if best[site] == "1" else -gain)
    chosen = [Placement("111111"), Placement("000001"), Placement("000011"), Placement(best)]
    regrets, ranks = truth.best_of_first(chosen)
    least = [min(means[p.bits] for p in chosen[:count]) for count in range(1, 5)]
    assert regrets == pytest.approx([loss - means[best] for loss in least])
    assert ranks == [1 + sum(loss < one for loss in means.values()) for one in least]
    shares = []
    for one in chosen[1:3]:
        rivals = [loss for bits, loss in means.items() if bits.count("1") == one.kept]
        shares.append(sum(loss < means[one.bits] for loss in rivals) / (len(rivals) - 1))
    assert truth.better_of_equal_count(chosen[:3]) == pytest.approx(np.mean(shares))


def test_main_effects_are_the_weights_of_an_additive_table():
    table = load("preresnet-8")
    weights = np.array([0.3, -0.1, 0.0, 0.2, -0.4, 0.1])
    bits = np.array([[int(bit) for bit in placement.bits] for placement in table.spec.placements])
    losses = np.exp(1 - bits @ weights)
    losses[0] = 100.0  # all-linear, which a search does not propose
    shape = table.metrics["test_loss"].shape
    planted = replace(
        table, metrics={"test_loss": np.broadcast_to(losses[:, None, None], shape).copy()}
    )
    truth = Truth(planted, tied_sites(table.spec.space))
    assert truth.main_effects == pytest.approx(weights)
    assert truth.agreement(weights)[0] == pytest.approx(1.0)
    assert truth.additive_share == pytest.approx(1.0)
    parity = replace(planted, metrics={"test_loss": np.exp((-1.0) ** bits.sum(1))[:, None, None]})
    assert Truth(parity, truth.groups).additive_share == pytest.approx(0, abs=0.01)


def test_a_search_tries_the_advice_first_and_is_replayed_once(tmp_path, monkeypatch):
    table = load("preresnet-8")
    losses = table.final("test_loss")
    chosen = [Placement("000001"), Placement("110011")]
    setting = Setting("preresnet-8", "random", references=False, early_stopping=False)
    two = searched(setting, [[placement] for placement in chosen], 2, tmp_path / "kept.json")
    least = np.sort(losses[:, seed_order(table, 0)[1:]].mean(axis=1)[1:])[0]
    unseen = losses[table.row_of["000001"], seed_order(table, 0)[1:]].mean()
    assert two[0].regrets[0] == pytest.approx(unseen - least)
    assert two[0].top5 > 1
    assert len(two[1].regrets) == setting.trials == 50
    monkeypatch.setattr(searches, "judged", None)
    assert searched(setting, [[]], 2, tmp_path / "kept.json") == two


def test_where_the_gates_are_counted_their_training_takes_the_place_of_trials():
    slow = Course(regrets=[1 / count for count in range(1, 51)], top5=30, top1=40)
    fast = Course(regrets=[0.5 / count for count in range(1, 51)], top5=48, top1=np.inf)
    courses = {"nothing": ([slow], [fast]), "none-4": ([fast], [slow])}
    rows = [row.split(" | ") for row in search_rows("gp", False, courses)[4:]]
    assert rows[0][1:3] == ["0.1000 / 0.0500", "0.0400 / 0.0200"]
    assert rows[1][1:3] == ["0.0500 / 0.1000", "0.0200 / 0.0400"]
    assert rows[2][1:3] == [f"{0.5 / 6:.4f} / {1 / 6:.4f}", f"{0.5 / 21:.4f} / {1 / 21:.4f}"]
    assert rows[2][-1] == "> 50 [> 50, > 50] / 34 [34, 34] |"
