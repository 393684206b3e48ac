"""Costs of placements, and studies that trade them against the metric."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from helpers.replay import drive, metrics, new_proposer

from relu_search import SearchConfig, resume_search, run_search
from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.search.costs import Costs
from search_spaces import Backbone, Placement, measure_complexity


def costs_of(names, backbone, image_shape, activation="relu"):
    channels, *size = image_shape
    facts = PlacementFacts(
        backbone=backbone,
        num_classes=10,
        in_channels=channels,
        image_size=tuple(size),
        activation=activation,
    )
    return Costs(names, facts)


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("plain-12", "relu"),
        ("plain-12", "crelu"),
        ("preresnet-bottleneck-11", "relu"),
        ("dfn-14", "relu"),
    ],
)
def test_site_costs_add_up_to_measured_costs(name, activation):
    backbone = Backbone.parse(name, 4)
    costs = costs_of(("relus", "relu_elements"), backbone, (1, 8, 8), activation)
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
    costs = costs_of(("macs-after-fold",), backbone, (3, 32, 32))
    sites = len(backbone.sites)
    paired = measure_complexity(backbone, Placement("1" * sites), image_size=(32, 32)).macs
    assert costs.of(Placement("1" * sites)) == (paired,)
    folded = [costs.of(Placement("1" * i + "0" + "1" * (sites - i - 1)))[0] for i in range(sites)]
    assert min(folded) < paired
    assert max(folded) <= paired


@pytest.mark.parametrize("sampler", ["gp", "tpe", "nsga2", "local", "greedy", "evolution"])
def test_a_study_of_two_objectives_has_both_values_and_no_lost_epoch(sampler):
    study = optuna.create_study(directions=["minimize", "minimize"])
    costs = costs_of(("relus",), Backbone.parse("plain-8"), (1, 8, 8))
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
    assert [p.history[-1]["epoch"] for p in past] == [
        len(t.user_attrs["history"]) for t in study.trials
    ]


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
    assert outcome.best_trial is not None
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
