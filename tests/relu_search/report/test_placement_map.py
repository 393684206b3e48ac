"""The placement map: one box per ReLU site, filled where the ReLU is kept."""

from __future__ import annotations

import pytest
from helpers.search_tables import text_of
from matplotlib.collections import PatchCollection

from relu_search.report.figure_style import rendered
from relu_search.report.placement_map import MapRow, placement_map
from search_spaces import Backbone, Placement, reference_modules

NETS = ("plain-110", "preresnet-20", "preresnet-bottleneck-20", "dfn-26")


@pytest.mark.parametrize("name", NETS)
def test_a_placement_map_has_a_box_per_site(name):
    backbone = Backbone.parse(name)
    modules = [MapRow(n, p, "90.0 %") for n, p in reference_modules(backbone).items()]
    figure = placement_map(backbone, [modules, modules[:1]])
    assert rendered(figure, "svg")
    axes = figure.axes[0]
    boxes = [c for c in axes.collections if isinstance(c, PatchCollection)]
    rows = [*modules, modules[0]]
    kept = sum(row.placement.kept for row in rows)
    total = len(rows) * len(backbone.sites)
    assert [len(c.get_paths()) for c in boxes] == [kept, total - kept]
    corners = {tuple(p.vertices.min(axis=0).round(3)) for c in boxes for p in c.get_paths()}
    assert len(corners) == total  # none hides another


def test_the_joint_relu_of_a_dfn_lies_in_a_lane_of_its_own():
    backbone = Backbone.parse("dfn-14")
    kept = Placement("1" * len(backbone.sites))
    axes = placement_map(backbone, [[MapRow("paired", kept, "")]]).axes[0]
    box = axes.collections[0].get_paths()
    last = sorted(float(p.vertices[:, 1].min().round()) for p in box[-3:])
    assert last == [0, 2, 3]


def test_an_empty_map_says_so():
    assert "No placement" in text_of(placement_map(Backbone.parse("plain-8"), [[], []]))
