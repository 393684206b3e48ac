"""A placement as text, one bar per stage."""

from __future__ import annotations

import pytest

from search_spaces import Backbone, InputError, Placement
from search_spaces.drawing import DROPPED, KEPT, stage_bars


def test_each_stage_has_its_sites_with_a_space_between_blocks():
    bars = stage_bars(Backbone.parse("preresnet-20"), Placement.parse("1*6+01*3+0*6"))
    assert bars == ["██ ██ ██", "░█ ░█ ░█", "░░ ░░ ░░"]


@pytest.mark.parametrize("name", ["plain-84", "preresnet-bottleneck-20", "dfn-26", "plain-5"])
def test_every_site_is_drawn_once_in_forward_order(name):
    backbone = Backbone.parse(name)
    bits = "".join(str(site.index % 3 % 2) for site in backbone.sites)
    bars = stage_bars(backbone, Placement(bits))
    drawn = "".join(bars).replace(" ", "")
    assert drawn.replace(KEPT, "1").replace(DROPPED, "0") == bits
    for stage, bar in enumerate(bars):
        mine = [site for site in backbone.sites if site.stage == stage]
        assert len(bar.split()) == len({site.block for site in mine})


def test_a_placement_of_another_network_is_refused():
    with pytest.raises(InputError, match="sites"):
        stage_bars(Backbone.parse("plain-8"), Placement("01"))
