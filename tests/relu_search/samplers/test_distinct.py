"""Every sampler of a search: placements never twice, limits, seeds."""

from __future__ import annotations

from itertools import product

import pytest
from helpers.replay import (
    bits_of,
    dfn_canonical,
    drive,
    new_proposer,
    new_study,
    stop_half,
)

from relu_search.settings.search_options import SAMPLERS
from search_spaces import SearchSpace, reference_modules

DISTINCT = [name for name in SAMPLERS if name != "gp"]  # gp may repeat a placement
PLAIN = {"".join(bits) for bits in product("01", repeat=6)}
DFN_STAGE = {dfn_canonical("".join(bits)) for bits in product("01", repeat=11)}
DFN_NETWORK = {
    dfn_canonical("".join(p) * 2 + p[0] + p[2] + max(p[1], p[3])) for p in product("01", repeat=4)
}
SPACES = {
    "plain network": (SearchSpace("plain-8", "network"), {a * 3 for a in ("00", "01", "10", "11")}),
    "plain stage": (SearchSpace("plain-8", "stage"), PLAIN),
    "dfn network": (SearchSpace("dfn-14", "network"), DFN_NETWORK),
    "dfn stage, 1 to 2 ReLUs": (
        SearchSpace("dfn-14", "stage", max_relus=2),
        {b for b in DFN_STAGE if b.count("1") <= 2},
    ),
}
LIMITS = [(0, 1), (2, 3), (6, 6), (5, None)]


def in_turn(samplers, cases, whole="tpe"):
    """Each sampler with one of the cases in turn, and one sampler with all of them."""
    pairs = [(name, cases[i % len(cases)]) for i, name in enumerate(samplers)]
    return list(dict.fromkeys([*pairs, *((whole, case) for case in cases)]))


@pytest.mark.parametrize(("sampler", "name"), in_turn(DISTINCT, list(SPACES)))
def test_every_placement_is_proposed_once_and_then_seeds_of_them_to_the_end(name, sampler):
    space, everything = SPACES[name]
    canonical = dfn_canonical if name.startswith("dfn") else str
    outside = {canonical(p.bits) for p in reference_modules(space.backbone).values()}
    count = len(everything | outside)
    proposer = new_proposer(space=space, trials=count + 6, sampler=sampler, seed=1)
    proposals = drive(proposer, stop=stop_half)
    seen = [canonical(bits_of(p)) for p in proposals]
    assert set(seen[:count]) == everything | outside
    assert len(seen) == count + 6
    assert set(seen[count:]) <= everything
    assert all(p.protected for p in proposals[count:])
    assert len({(canonical(bits_of(p)), p.spec.seed) for p in proposals}) == len(proposals)


@pytest.mark.parametrize(("sampler", "limits"), in_turn(SAMPLERS, LIMITS, whole="gp"))
def test_limits_hold_for_every_proposal_but_the_references(sampler, limits):
    low, high = limits
    space = SearchSpace("plain-8", "block", min_relus=low, max_relus=high)
    proposals = drive(new_proposer(space=space, trials=30, sampler=sampler))
    kept = [bits_of(p).count("1") for p in proposals if not p.protected]
    assert all(low <= k <= (6 if high is None else high) for k in kept)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_study_records_what_is_really_trained(sampler):
    study, space = new_study(), SearchSpace("plain-8", "stage", max_relus=3)
    proposals = drive(new_proposer(study, space, trials=30, sampler=sampler))
    patterns = ["".join(t.params[f"stage{i}"] for i in (1, 2, 3)) for t in study.trials]
    assert patterns == [bits_of(p) for p in proposals]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_repeats_every_proposal_and_another_does_not(sampler):
    space = SearchSpace("plain-20", "stage" if sampler == "grid" else "block")

    def run(seed):
        proposer = new_proposer(space=space, trials=25, sampler=sampler, seed=seed)
        return [p.spec.placement.text for p in drive(proposer, stop=stop_half)]

    assert run(5) == run(5) != run(6)


def test_a_tight_corner_of_a_huge_space_is_searched_to_its_end():
    space = SearchSpace("plain-38", "site", min_relus=35)  # 1 + 36 of 2**36 placements
    proposer = new_proposer(space=space, trials=40, references={})
    proposals = drive(proposer)
    assert len({bits_of(p) for p in proposals[:37]}) == 37
    assert {bits_of(p) for p in proposals[37:]} <= {bits_of(p) for p in proposals[:37]}
    assert len(proposals) == 40
