"""Searches for more than a metric: what costs are, and that a real search trades them."""

from __future__ import annotations

import random

import numpy as np
import optuna
import pytest
from helpers.replay import drive, metrics, new_proposer
from scipy.stats import norm

from relu_search import SearchConfig, resume_search, run_search
from relu_search.samplers.moves import Region
from relu_search.samplers.surrogate import Surrogate
from relu_search.search.costs import Costs
from relu_search.settings.objectives import parse_objective
from relu_search.settings.relu_limits import relus_at_ratio
from search_spaces import Backbone, InputError, Placement, SearchSpace, measure_complexity


def test_names_are_read_in_any_order():
    assert parse_objective("relus, accuracy") == ("val_accuracy", ("relus",))
    assert parse_objective("relu_elements,relus") == (None, ("relus", "relu_elements"))


@pytest.mark.parametrize("text", ["", "speed", "accuracy,loss", "relus,relus", "loss;relus"])
def test_other_names_are_refused_with_a_way_out(text):
    with pytest.raises(InputError, match="accuracy,relus"):
        SearchConfig(objective=text)


def test_the_metric_may_be_named_by_the_objective_but_not_contradicted():
    assert SearchConfig(objective="accuracy,relus").resolve().metric == "val_accuracy"
    assert SearchConfig(metric="val_accuracy", objective="relus").resolve().metric == "val_accuracy"
    with pytest.raises(InputError, match="exclude"):
        SearchConfig(metric="val_accuracy", objective="loss,relus")


@pytest.mark.parametrize(
    ("backbone", "ratio", "count"),
    [("plain-38", "2:1", 18), ("plain-38", "12:7", 21), ("preresnet-20", "3:2", 12)],
)
def test_a_ratio_is_a_number_of_relus(backbone, ratio, count):
    config = SearchConfig(backbone=backbone, ratio=ratio, granularity="block").resolve()
    assert (config.min_relus, config.max_relus) == (count, count)
    assert all(p.kept == count for p in _some(config.search_space()))


def _some(space):
    return [space.decode(space.sample(random.Random(i))) for i in range(5)]


@pytest.mark.parametrize("ratio", ["7:3", "2-1", "0:1", "1:5", "2:1:1", "a:b", "9" * 30 + ":1"])
def test_an_impossible_ratio_is_refused(ratio):
    with pytest.raises(InputError, match="ratio"):
        relus_at_ratio(Backbone.parse("plain-38"), ratio)


def test_a_ratio_excludes_limits():
    with pytest.raises(InputError, match="excludes"):
        SearchConfig(ratio="2:1", max_relus=20)


def test_limits_may_be_shares():
    config = SearchConfig.from_options({"min_relus": "25%", "max_relus": "60%"}).resolve()
    assert (config.min_relus, config.max_relus) == (9, 21)  # of 36
    for wrong in ("60 %x", "%", "-3", "1.5", "many"):
        with pytest.raises(InputError, match="share"):
            SearchConfig.from_options({"max_relus": wrong})


@pytest.mark.parametrize("activation", ["relu", "crelu"])
@pytest.mark.parametrize("name", ["plain-12", "preresnet-bottleneck-11", "dfn-14"])
def test_site_costs_add_up_to_measured_costs(name, activation):
    backbone = Backbone.parse(name, 4)
    if activation == "crelu" and name != "plain-12":
        pytest.skip("one family is enough")
    costs = Costs(("relus", "relu_elements"), backbone, (1, 8, 8), 10, activation)
    per_site = costs.of_sites()
    rng = np.random.default_rng(0)
    paired = np.array(costs.of(Placement("1" * len(backbone.sites))))
    for _ in range(5):
        bits = rng.integers(2, size=len(backbone.sites))
        placement = Placement("".join(map(str, bits)))
        expected = paired - per_site @ (1 - bits)
        assert costs.of(placement) == tuple(expected)


def test_macs_after_fold_counts_a_pair_as_one_convolution_where_that_is_less():
    backbone = Backbone.parse("preplain-12", 8)
    costs = Costs(("macs-after-fold",), backbone, (3, 32, 32), 10)
    sites = len(backbone.sites)
    paired = measure_complexity(backbone, Placement("1" * sites), image_size=(32, 32)).macs
    assert costs.of(Placement("1" * sites)) == (paired,)
    folded = [costs.of(Placement("1" * i + "0" + "1" * (sites - i - 1)))[0] for i in range(sites)]
    assert min(folded) < paired
    assert max(folded) <= paired


def test_hypervolume_improvement_is_that_of_simulation():
    """One cost: area gained above the staircase of the best means, averaged over draws."""
    rng = np.random.default_rng(1)
    points = rng.integers(2, size=(12, 5))
    scores = points @ np.array([1.0, 0.5, -0.3, 0.2, 0.1]) + 0.1 * rng.standard_normal(12)
    model = Surrogate.fit(points, scores)
    tried_costs = points.sum(axis=1, keepdims=True).astype(float)
    candidates = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    costs = candidates.sum(axis=1, keepdims=True).astype(float)
    worth = model.hypervolume_improvement(candidates, costs, tried_costs)

    mean, sd = model.predict(points)
    floor = mean.min() - sd.max()
    everything = np.unique(np.concatenate([costs, tried_costs]))
    scale = everything.max() - everything.min()
    for i, candidate in enumerate(candidates):
        mu, sigma = (float(v[0]) for v in model.predict(candidate[None]))
        draws = mu + sigma * norm.ppf((np.arange(20_000) + 0.5) / 20_000)
        gain = np.zeros(len(draws))
        for edge, end in zip(everything, [*everything[1:], everything[-1] + 0.1 * scale]):  # noqa: B905
            level = max([floor, *mean[tried_costs[:, 0] <= edge]])
            if costs[i, 0] <= edge:
                gain += np.maximum(draws - level, 0) * (end - edge) / scale
        expected = gain.mean() * (1 - model.noise / np.hypot(sigma, model.noise))
        assert worth[i] == pytest.approx(expected, rel=0.02, abs=1e-6)


@pytest.mark.parametrize("granularity", ["network", "stage", "block", "site"])
@pytest.mark.parametrize("backbone", ["plain-8", "dfn-14"])
def test_a_region_admits_what_its_space_admits(backbone, granularity):
    space = SearchSpace(backbone, granularity, min_relus=2, max_relus=4, norm="search")
    region = Region.of(space)
    expected = {tuple(sorted(space.encode(p).items())) for p in space.enumerate()}
    names = sorted(space.choices)
    pool = {
        tuple((n, space.choices[n][i]) for n, i in zip(names, point, strict=True))
        for point in region.pool.tolist()
    }
    assert pool == expected
    rng = np.random.default_rng(0)
    for _ in range(20):
        point = region.draw(rng)
        near = [point, *region.neighbours(point)]
        for p in near:
            params = {n: space.choices[n][i] for n, i in zip(names, p, strict=True)}
            assert space.admits(space.decode(params))


def test_at_a_fixed_ratio_neighbours_swap_two_sites():
    region = Region.of(SearchSpace("plain-8", "site", min_relus=3, max_relus=3))
    near = region.neighbours((1, 1, 1, 0, 0, 0))
    assert len(near) == 9
    assert all(sum(point) == 3 for point in near)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "nsga2", "local", "greedy", "evolution"])
def test_a_study_of_two_objectives_has_both_values_and_no_lost_epoch(sampler):
    study = optuna.create_study(directions=["minimize", "minimize"])
    costs = Costs(("relus",), Backbone.parse("plain-8"), (1, 8, 8), 10)
    proposer = new_proposer(
        study,
        trials=20,
        metric="val_loss",
        sampler=sampler,
        costs_of=costs.of,
        site_costs=costs.of_sites(),
    )
    proposals = drive(proposer, stop=lambda p, epoch: not p.protected and p.number % 3 == 0)
    assert len(proposals) == 20
    for trial, proposal in zip(study.trials, proposals, strict=True):
        text = proposal.spec.placement.text
        kept = Placement.parse(text).kept
        assert proposal.costs == (kept,)
        if trial.state.name == "COMPLETE":
            assert trial.values == [metrics(text, 3).val_loss, kept]
        else:
            assert len(trial.user_attrs["history"]) == 1
    past = proposer.past_trials()
    assert [p.costs for p in past] == [p.costs for p in proposals]
    assert [max(p.curve) for p in past] == [len(t.user_attrs["history"]) for t in study.trials]


def test_a_real_search_for_two_objectives_runs_and_goes_on(tmp_path):
    config = SearchConfig(
        backbone="plain-8",
        width=4,
        train_limit=60,
        epochs=2,
        trials=5,
        concurrent=1,
        objective="accuracy,relus",
        out=str(tmp_path / "run"),
    )
    outcome = run_search(config)
    assert len(outcome.run.read_trials()) == 5
    assert outcome.best is not None
    more = resume_search(tmp_path / "run", trials=8)
    trials = more.run.read_trials()
    assert list(trials["trial"]) == list(range(8))
    study = optuna.load_study(
        study_name=outcome.run.read_config()[1]["study"],
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(outcome.run.journal))
        ),
    )
    full = [t for t in study.trials if t.values]
    assert [t.values[1] for t in full] == [
        float(Placement.parse(t.user_attrs["placement"]).kept) for t in full
    ]
