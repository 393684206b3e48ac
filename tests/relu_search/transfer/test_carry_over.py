"""Patterns on another network, against what a reader of the two networks would write."""

from __future__ import annotations

import pytest

from relu_search.transfer.carry_over import carried_over
from search_spaces import Placement, SearchSpace, parse_backbone, resolve_placement


def carried(text, source, target, granularity="site", **options):
    space = SearchSpace(target, granularity, width=8, **options)
    network = parse_backbone(source, 8)
    placement = resolve_placement(network, text)
    return carried_over(placement, network, space)


@pytest.mark.parametrize("granularity", ["site", "block", "stage", "network"])
@pytest.mark.parametrize("module", ["paired", "2:1", "linear"])
def test_a_module_is_the_same_module_at_another_depth(module, granularity):
    found = carried(module, "plain-20", "plain-38", granularity, min_relus=0)
    assert found == resolve_placement(parse_backbone("plain-38", 8), module)


def test_a_placement_of_stages_keeps_its_stages():
    """One pattern in each third of the network."""
    assert carried("10*3+01*3+0*6", "plain-20", "plain-38").text == "10*6+01*6+0*12"
    assert carried("10*6+01*6+0*12", "plain-38", "plain-20").text == "10*3+01*3+0*6"


def test_positions_in_a_block_are_kept():
    """Each block of a pre-activation ResNet keeps its second ReLU, in the last third only."""
    found = carried("0*12+01*3", "preresnet-20", "preresnet-38")
    assert found.text == Placement("00" * 12 + "01" * 6).text


def test_a_coarser_space_takes_the_most_similar_pattern():
    """Five of six blocks of the first stage keep their first ReLU, one keeps none."""
    found = carried("10*5+0*26", "plain-38", "plain-38", "stage")
    assert found.text == "10*6+0*24"


def test_another_family_takes_the_pattern_by_depth():
    found = carried("1*4+0*14", "plain-20", "preresnet-20")
    kept = [bit == "1" for bit in found.bits]
    assert kept == sorted(kept, reverse=True)
    assert sum(kept) == 4


def test_norms_stay_where_the_space_lets_it_choose():
    network = parse_backbone("plain-20", 8)
    placement = resolve_placement(network, "2:1@drop-norm")
    space = SearchSpace("plain-38", "stage", norm="search", width=8)
    assert carried_over(placement, network, space).dropped_norm == "drop"
