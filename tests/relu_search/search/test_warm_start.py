"""Coarse to fine, and placements advised by a supernet: what is tried first, and what is said."""

from __future__ import annotations

import pytest
from helpers.replay import bits_of, drive, new_proposer, new_study

from relu_search import SearchConfig, resume_search, run_search
from relu_search.search.warm_start import SCORED, scored_placements
from search_spaces import InputError, Placement, SearchSpace


def test_coarse_to_fine_goes_from_the_net_to_stages_to_blocks():
    space = SearchSpace("preresnet-20", "block")
    proposer = new_proposer(space=space, trials=48, sampler="coarse-to-fine", references={})
    bits = [bits_of(p) for p in drive(proposer)]

    def is_pattern(text, blocks):  # every `blocks` blocks of two sites are alike
        parts = [text[i : i + 2 * blocks] for i in range(0, 18, 2 * blocks)]
        return all(part == part[:2] * blocks for part in parts)

    assert all(is_pattern(text, 9) for text in bits[:3])
    assert len(set(bits[:3])) == 3  # all but linear
    assert all(is_pattern(text, 3) for text in bits[:24])
    assert not all(is_pattern(text, 3) for text in bits[24:])


def test_coarse_to_fine_needs_the_surrogate():
    assert (
        SearchConfig(granularity="coarse-to-fine").resolve().search_space().granularity == "block"
    )
    with pytest.raises(InputError, match="gp"):
        SearchConfig(granularity="coarse-to-fine", sampler="tpe")


def test_advice_comes_after_the_modules_once_and_unprotected():
    study, first = new_study(), [Placement("110000"), Placement("000011"), Placement("010101")]
    proposer = new_proposer(study, trials=8, first=first)
    drive(proposer, limit=4)
    again = new_proposer(study, trials=8, first=first)
    drive(again)
    bits = [Placement.parse(t.user_attrs["placement"]).bits for t in study.trials]
    assert bits[:5] == ["111111", "010101", "000000", "110000", "000011"]
    assert len(set(bits)) == 8


def test_large_spaces_are_sampled_small_ones_are_ranked_whole():
    assert len(scored_placements(SearchSpace("plain-38", "stage"), 0)) == 63
    drawn = scored_placements(SearchSpace("plain-38", "block"), 0)
    assert len(set(drawn)) == len(drawn) == SCORED
    assert drawn != scored_placements(SearchSpace("plain-38", "block"), 1)


def test_a_real_search_is_advised_by_a_real_supernet(tmp_path):
    config = SearchConfig(
        backbone="plain-8",
        width=4,
        train_limit=100,
        epochs=1,
        trials=8,
        concurrent=1,
        warm_start="supernet",
        out=str(tmp_path / "run"),
    )
    outcome = run_search(config)
    ranking = outcome.run.read_supernet()
    assert len(ranking) == 63 + 1  # and the control
    assert list(ranking["val_loss"]) == sorted(ranking["val_loss"])
    modules = {p.text for p in config.resolve().references.values()}
    advised = [text for text in ranking["placement"][:2] if text not in modules]
    trained = list(outcome.run.read_trials()["placement"])
    assert trained[3 : 3 + len(advised)] == advised
    before = outcome.run.table("supernet.csv").read_bytes()
    resume_search(tmp_path / "run", trials=9)
    assert outcome.run.table("supernet.csv").read_bytes() == before
