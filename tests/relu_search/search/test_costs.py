"""Costs of placements, and studies that trade them against the metric."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
import torch
from helpers.replay import drive, metrics, new_proposer

from relu_search import SearchConfig, resume_search, run_search
from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.export.timing import Timing
from relu_search.search.costs import Costs, LatencyMeter
from search_spaces import Backbone, InputError, Placement, build, measure_complexity


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


# --- measured latency -------------------------------------------------------------------------

FACTS = PlacementFacts(
    backbone=Backbone.parse("plain-8", 4), num_classes=10, in_channels=1, image_size=(8, 8)
)
PAIRED, PART, LINEAR = Placement("1" * 6), Placement("010101"), Placement("0" * 6)


@pytest.fixture
def clock(monkeypatch):
    """The place of the clock: what is timed, and the medians that a test gives by name."""
    seen, medians = [], {}

    def timed(calls, *, rounds):
        seen.append({name: call() for name, call in calls.items()})
        factor = 2.0 ** (len(seen) - 1)  # the machine gets slower from measurement to measurement
        return {
            name: Timing(*(factor * medians[name] * q for q in (1, 0.9, 1.2)), rounds)
            for name in calls
        }

    monkeypatch.setattr("relu_search.export.timing.time_side_by_side", timed)
    medians |= {"paired 0": 4.0, "this 0": 3.0, "this 1": 2.0}
    return seen, medians


@pytest.mark.parametrize("form", ["eager", pytest.param("onnx", marks=pytest.mark.slow)])
def test_what_is_timed_computes_what_the_network_computes(form, clock, monkeypatch):
    networks = []

    def kept(*arguments, **how):
        networks.append(build(*arguments, **how))
        return networks[-1]

    monkeypatch.setattr("relu_search.search.costs.build", kept)
    LatencyMeter(FACTS, form, 3, paired_ms=1.0).of(PART)
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ((outputs,), _) = clock
    assert [network.placement for network in networks] == [PAIRED, PART]
    expected = dict(zip(("paired", "this"), networks, strict=True))
    assert {name.split()[0] for name in outputs} == set(expected)
    for name, output in outputs.items():
        with torch.no_grad():
            truth = expected[name.split()[0]](images)
        torch.testing.assert_close(output, truth, rtol=1e-4, atol=1e-5)


def test_only_the_ratio_to_the_paired_network_counts(clock):
    seen, medians = clock
    meter = LatencyMeter(FACTS, "eager", 1).begun()
    assert meter.paired_ms == 4.0
    costs = Costs(("relus", "latency"), FACTS, meter)
    relus, latency = costs.of(PART)
    fastest = min(medians[name] for name in seen[-1] if name.startswith("this"))
    assert (relus, latency) == (3, fastest)
    timing = costs.timing_of(PART)
    assert timing == {
        "median_ms": fastest,
        "q25_ms": pytest.approx(0.9 * fastest),
        "q75_ms": pytest.approx(1.2 * fastest),
        "n": 30,
    }
    assert len(seen) == 2  # a placement is measured once


def test_a_resumed_search_keeps_its_measurements(clock):
    study = optuna.create_study(directions=["maximize", "minimize"])
    first = Costs(("latency",), FACTS, LatencyMeter(FACTS, "eager", 1).begun()).in_study(study)
    proposer = new_proposer(
        study, trials=5, costs_of=first.of, timing_of=first.timing_of, site_costs=np.ones((1, 6))
    )
    drive(proposer)
    measured = {t.user_attrs["placement"]: t.user_attrs["latency"] for t in study.trials}
    assert all(t.values[1] == t.user_attrs["latency"]["median_ms"] for t in study.trials)
    later = Costs(("latency",), FACTS, LatencyMeter(FACTS, "eager", 1).begun()).in_study(study)
    assert later.latency.paired_ms == first.latency.paired_ms == 4.0
    count = len(clock[0])
    assert {text: later.timing_of(Placement.parse(text)) for text in measured} == measured
    assert len(clock[0]) == count


def test_site_costs_of_latency_add_up_to_what_all_relus_take(clock):
    meter = LatencyMeter(FACTS, "eager", 1, paired_ms=4.0, known={})
    meter.known.update({PAIRED.text: {"median_ms": 4.0}, LINEAR.text: {"median_ms": 1.0}})
    (row,) = Costs(("latency",), FACTS, meter).of_sites()
    elements = np.array(
        measure_complexity(FACTS.backbone, PAIRED, in_channels=1, image_size=(8, 8)).site_elements
    )
    assert row == pytest.approx(3.0 * elements / elements.sum())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"latency_batch": 2}, "are for the objective latency"),
        ({"latency_form": "onnx", "objective": "loss,relus"}, "give --objective accuracy,latency"),
        ({"latency_batch": 0, "objective": "loss,latency"}, "must be at least 1"),
        ({"latency_form": "fast", "objective": "loss,latency"}, "must be one of eager, onnx"),
    ],
)
def test_bad_options_of_latency_are_one_line(options, says):
    with pytest.raises(InputError, match=says):
        SearchConfig(**options)


def test_latency_has_its_defaults_and_may_have_a_floor():
    config = SearchConfig(objective="accuracy,latency").resolve()
    assert (config.latency_form, config.latency_batch) == ("eager", 1)
    assert SearchConfig.from_options(config.to_toml()).resolve() == config
    assert SearchConfig().resolve().latency_form is None
    floor = SearchConfig(objective="latency", at_least_accuracy=0.5, latency_batch=8).resolve()
    assert (floor.costs, floor.latency_batch) == (("latency",), 8)


@pytest.mark.slow
def test_a_search_prints_its_front_in_milliseconds(small_config, tmp_path, cli):
    config = small_config(out=str(tmp_path / "run"), objective="accuracy,latency", trials=8)
    outcome = run_search(config)
    trials = outcome.run.read_trials()
    assert (trials["latency_q25_ms"] <= trials["latency_ms"]).all()
    assert (trials["latency_ms"] <= trials["latency_q75_ms"]).all()
    code, out, _ = cli("report", outcome.run.path)
    assert code == 0
    assert "Pareto front of accuracy,latency: " in out
    assert " ms (" in out
    assert "Latency: eager, batch 1, one thread, median" in out
    resume_search(outcome.run.path, trials=9)
    again = outcome.run.read_trials()
    assert again["latency_ms"].tolist()[:8] == trials["latency_ms"].tolist()
