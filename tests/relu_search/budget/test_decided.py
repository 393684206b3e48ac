"""When a search is decided: made-up trials whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.judging import make_search
from helpers.replay import drive, new_proposer, new_study
from scipy.stats import norm

from relu_search import RunFolder, SearchConfig
from relu_search.analysis.answer import report_text
from relu_search.budget.decided import CHANCE, LOSS_MARGIN, Decider
from relu_search.many_runs.run_list import runs_of
from relu_search.run_folder.record import DECIDED
from relu_search.samplers.gp_model import Surrogate
from search_spaces import InputError, Placement, SearchSpace

SITES = 6


def rows_of(space, losses):
    """Full-length trials: placement text -> validation losses."""
    return [
        {
            "trial": 10 * place + seed,
            "state": "COMPLETE",
            "module": "",
            "placement": Placement.parse(text).text,
            "relus": Placement.parse(text).kept,
            "epochs": 3,
            "val_accuracy": 0.5,
            "val_loss": loss,
        }
        for place, (text, values) in enumerate(losses.items())
        for seed, loss in enumerate(values)
    ]


@pytest.fixture
def space():
    return SearchSpace("plain-8", "site", width=8)


def config(**options):
    return SearchConfig(backbone="plain-8", granularity="site", **options).resolve()


def additive(noise, keep=lambda _bits: True, seed=0):
    """Each kept ReLU multiplies the loss; tried placements are those that `keep` takes."""
    rng = np.random.default_rng(seed)
    every = [f"{number:06b}" for number in range(1, 2**SITES)]
    logs = {bits: sum(0.1 * (i + 1) for i, bit in enumerate(bits) if bit == "1") for bits in every}
    return {
        bits: [float(np.exp(logs[bits] + noise * rng.normal()))] for bits in every if keep(bits)
    }


def decided(space, losses, **options):
    rows = rows_of(space, losses)
    tried = {space.canonical(Placement.parse(text)) for text in losses}
    decider = Decider(config(**options), space, rows)
    decider(tried, len(rows))
    return decider.decision


def test_a_clear_leader_among_measured_neighbours_decides_the_search(space):
    few_kept = additive(0.001, keep=lambda bits: bits.count("1") <= 3)
    decision = decided(space, few_kept)
    assert decision is not None
    assert decision.candidates == 63 - len(few_kept)
    assert decision.is_whole
    said = decision.sentence()
    assert "none of the 22 placements that were not tried has more than a chance of 1 %" in said
    assert "to beat the leader by 5 % of its loss" in said


def test_a_search_that_has_not_tried_the_best_placements_is_open(space):
    assert decided(space, additive(0.001, keep=lambda bits: bits.count("1") >= 4)) is None


def test_noise_keeps_a_search_open(space):
    some = additive(0.5, keep=lambda bits: bits.count("1") in (1, 3))
    assert decided(space, some) is None


def test_the_chance_is_that_of_the_model(space):
    """The same number from the model's joint distribution, without `difference`."""
    losses = additive(0.02, keep=lambda bits: bits.count("1") <= 3)
    decision = decided(space, losses)
    points = np.array([[*map(int, bits), 0] for bits in losses])
    model = Surrogate.fit(points, -np.log([value for (value,) in losses.values()]))
    leader = points[np.argmax(model.predict(points)[0])]
    largest = 0.0
    for number in range(1, 2**SITES):
        bits = f"{number:06b}"
        if bits not in losses:
            mean, covariance = model.joint(np.array([[*map(int, bits), 0], leader]))
            sd = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
            chance = norm.sf((-np.log(1 - LOSS_MARGIN) - mean[0] + mean[1]) / sd)
            largest = max(largest, chance)
    assert decision.chance == pytest.approx(largest, rel=1e-6, abs=1e-12)
    assert largest <= CHANCE


def test_few_trials_decide_nothing(space):
    seven = dict(list(additive(0.001).items())[:7])
    assert decided(space, seven) is None


def test_placements_outside_the_limits_cannot_keep_it_open():
    """Only placements with four ReLUs or more are within the limits, and all of them were tried."""
    space = SearchSpace("plain-8", "site", min_relus=4, width=8)
    tried = additive(0.001, keep=lambda bits: bits.count("1") >= 4)
    decision = decided(space, tried, min_relus=4)
    assert decision.candidates == 0
    assert decision.sentence().endswith("every placement was tried.")


def test_in_a_large_space_it_says_that_not_all_were_asked():
    space = SearchSpace("plain-38", "site", width=8)
    rng = np.random.default_rng(1)
    losses = {}
    for _ in range(60):
        bits = "".join("1" if rng.random() < 0.1 else "0" for _ in range(36))
        losses[bits] = [float(1.5 ** bits.count("1"))]
    losses = {bits: loss for bits, loss in losses.items() if "1" in bits}
    rows = rows_of(space, losses)
    options = SearchConfig(backbone="plain-38", granularity="site", width=8).resolve()
    decider = Decider(options, space, rows)
    found = decider._candidates(pd.DataFrame(rows))
    assert 600 < len(found) == len(set(found))
    assert all(space.admits(placement) for placement in found)


def test_a_decision_stays_whatever_the_trials_say_that_were_running(space):
    losses = additive(0.001, keep=lambda bits: bits.count("1") <= 3)
    rows = rows_of(space, losses)
    tried = {space.canonical(Placement.parse(text)) for text in losses}
    decider = Decider(config(), space, rows)
    assert decider(tried, len(rows))
    rows += rows_of(space, additive(1.0, seed=5))
    assert decider(tried, len(rows))
    assert decider.decision.trials == len(losses)


class Asked:
    """Says after how many ended trials it was asked, and decides at one of them."""

    def __init__(self, at):
        self.at, self.counts = at, []

    def __call__(self, tried, ended):
        self.counts.append(ended)
        return ended >= self.at


def test_a_decided_search_proposes_nothing_more():
    asked = Asked(at=6)
    study = new_study()
    proposer = new_proposer(study, trials=40, decided=asked)
    drive(proposer)
    assert len(study.trials) == 6
    assert not proposer.has_more
    assert proposer.remaining == 34


def test_what_is_to_be_tried_first_is_tried_before_anything_is_decided():
    space = SearchSpace("plain-8", "site", width=8)
    first = [Placement.parse(f"{number:06b}") for number in (1, 2, 4)]
    asked = Asked(at=0)
    study = new_study()
    proposer = new_proposer(study, space, trials=40, first=first, decided=asked)
    waiting = len(study.trials)
    assert waiting >= 3
    drive(proposer)
    assert len(study.trials) == waiting


def test_a_decided_run_has_ended_and_says_why(tmp_path):
    run = RunFolder(make_search(tmp_path / "run", budget={"trials": 20}))
    (before,) = runs_of(str(tmp_path))
    assert before.state == "interrupted"
    sentence = "The search was decided after 7 trials: every placement was tried."
    run.add_to_record(run.read_config()[0], {DECIDED: sentence})
    (after,) = runs_of(str(tmp_path))
    assert after.state == "ended"
    assert sentence in report_text(run)[1].splitlines()


@pytest.mark.parametrize("options", [{"objective": "loss,relus"}, {"at_least_accuracy": 0.9}])
def test_several_objectives_are_refused(options):
    with pytest.raises(InputError, match="stop_when_decided is for a single metric"):
        SearchConfig(stop_when_decided=True, **options)
