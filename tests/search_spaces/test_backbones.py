"""Backbone: names, stage splits, sites, symmetry and the nearest valid depth."""

import random
import subprocess
import sys

import pytest

from search_spaces import FAMILIES, Backbone, InputError, Placement, build, relu_sites

# Convolutions per block and ReLU sites per block, written out from the paper.
CONVS = {
    "plain": 1,
    "preplain": 1,
    "resnet": 2,
    "preresnet": 2,
    "preresnet-bottleneck": 3,
    "dfn": 4,
}
# Five blocks, which do not divide evenly into three stages, and more with the other remainders.
NAMES = [f"{family}-{2 + b * 5}" for family, b in CONVS.items()]
MORE = [*NAMES, "plain-9", "preplain-5", "resnet-10", "dfn-14", "dfn-30"]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("plain-38", (12, 12, 12)),
        ("plain-84", (27, 27, 28)),
        ("plain-7", (1, 2, 2)),
        ("resnet-62", (10, 10, 10)),
        ("preresnet-110", (18, 18, 18)),
        ("preresnet-bottleneck-164", (18, 18, 18)),
        ("dfn-110", (9, 9, 9)),
        ("dfn-22", (1, 2, 2)),
    ],
)
def test_blocks_per_stage(name, blocks):
    assert Backbone.parse(name).blocks_per_stage == blocks


@pytest.mark.parametrize(
    ("name", "convs", "sites"),
    [
        ("plain-84", 82, 82),
        ("preplain-38", 36, 36),
        ("resnet-62", 60, 60),
        ("preresnet-110", 108, 108),
        ("preresnet-bottleneck-164", 162, 162),
        ("dfn-26", 24, 23),
        ("dfn-110", 108, 107),
    ],
)
def test_convolutions_and_sites(name, convs, sites):
    backbone = Backbone.parse(name)
    assert (backbone.convs, len(backbone.sites)) == (convs, sites)


@pytest.mark.parametrize(("family", "convs"), CONVS.items())
def test_every_block_has_its_convolutions_and_stages_never_shrink(family, convs):
    for count in range(3, 20):
        backbone = Backbone(family, 2 + convs * count)
        blocks = backbone.blocks_per_stage
        assert sum(blocks) == count
        assert list(blocks) == sorted(blocks)
        assert blocks[2] - blocks[0] <= 1


@pytest.mark.parametrize("name", MORE)
def test_sites_are_those_of_the_built_network(name):
    backbone = Backbone.parse(name, width=2)
    assert tuple(site.name for site in backbone.sites) == relu_sites(build(backbone))
    assert [site.index for site in backbone.sites] == list(range(len(backbone.sites)))


@pytest.mark.parametrize("name", MORE)
def test_sites_know_their_stage_and_block(name):
    backbone = Backbone.parse(name)
    first_of_stage = [sum(backbone.blocks_per_stage[:s]) for s in range(3)]
    for site in backbone.sites:
        module_block = int(site.name.split(".")[1])
        assert site.stage == sum(module_block >= first for first in first_of_stage) - 1
        assert site.block == (module_block // 2 if CONVS[backbone.family] == 1 else module_block)


def test_plain_pairs_cross_stage_borders():
    sites = Backbone.parse("plain-84").sites
    assert [(s.stage, s.block, s.positions) for s in sites[26:28]] == [
        (0, 13, (0,)),
        (1, 13, (1,)),
    ]


def test_last_dfn_block_joins_the_after_sum_sites():
    sites = Backbone.parse("dfn-14").sites
    assert [(s.name, s.positions) for s in sites[-3:]] == [
        ("blocks.2.branch1.relu", (0,)),
        ("blocks.2.branch2.relu", (2,)),
        ("blocks.2.relu", (1, 3)),
    ]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet-63", "resnet-62 and resnet-64"),
        ("preresnet-bottleneck-111", "preresnet-bottleneck-110 and preresnet-bottleneck-113"),
        ("dfn-56", "dfn-54 and dfn-58"),
        ("plain-0", "plain-5"),
        ("dfn-2", "dfn-14"),
        ("dfn-999999", "dfn-1202"),
    ],
)
def test_impossible_depth_names_the_nearest(name, nearest):
    with pytest.raises(InputError, match=f"{name} does not exist.*nearest: {nearest}$"):
        Backbone.parse(name)


@pytest.mark.parametrize("family", FAMILIES)
def test_nearest_depths_are_the_closest_that_exist(family):
    def exists(depth):
        blocks, rest = divmod(depth - 2, CONVS[family])
        return rest == 0 and blocks >= 3 and depth <= 1202

    for depth in [*range(40), *range(1190, 1210)]:
        if exists(depth):
            assert Backbone(family, depth).depth == depth
            continue
        below = max((d for d in range(depth) if exists(d)), default=None)
        above = min((d for d in range(depth, 1203) if exists(d)), default=None)
        names = [f"{family}-{d}" for d in (below, above) if d is not None]
        with pytest.raises(InputError) as error:
            Backbone(family, depth)
        assert str(error.value).endswith("nearest: " + " and ".join(names))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "plain",
        "vgg-16",
        "Plain-38",
        "plain-38.0",
        "plain-3-8",
        "plain-\u0663\u0668",
        "dfn-1000000",
        "plain-38 x",
        "x" * 9999,
    ],
)
def test_unknown_names_are_refused_with_the_families(name):
    with pytest.raises(InputError, match=r"write FAMILY-DEPTH.*preresnet-.*, dfn") as error:
        Backbone.parse(name)
    assert len(str(error.value)) < 300


def test_unknown_family_is_refused():
    with pytest.raises(InputError, match="family 'vgg' is unknown; use one of plain"):
        Backbone("vgg", 16)


@pytest.mark.parametrize("width", [0, 1025])
def test_impossible_width_is_refused(width):
    with pytest.raises(InputError, match=f"width {width} is out of range; use 1 to 1024"):
        Backbone("plain", 38, width)


def test_backbone_is_a_value():
    backbone = Backbone.parse(" preresnet-bottleneck-110 ", width=8)
    assert backbone == Backbone("preresnet-bottleneck", 110, 8)
    assert {backbone: 1}[Backbone("preresnet-bottleneck", 110, 8)] == 1
    assert backbone != Backbone("preresnet-bottleneck", 110)
    assert backbone.name == str(backbone) == "preresnet-bottleneck-110"
    assert Backbone.parse(backbone) is backbone


@pytest.mark.parametrize("name", [*NAMES, "dfn-14", "dfn-30"])
def test_only_merge_and_run_nets_have_a_symmetry(name):
    backbone = Backbone.parse(name)
    if backbone.family != "dfn":
        assert backbone.symmetry is None
        return
    order = list(range(len(backbone.sites)))
    expected = []
    for start in range(0, len(order) - 3, 4):
        a, after_a, b, after_b = order[start : start + 4]
        expected += [b, after_b, a, after_a]
    a, b, joint = order[-3:]
    assert backbone.symmetry == (*expected, b, a, joint)


@pytest.mark.parametrize("name", ["dfn-14", "dfn-22"])
def test_canonical_placement_is_one_per_exchange_of_branches(name):
    backbone = Backbone.parse(name)
    rng = random.Random(0)
    for _ in range(200):
        bits = "".join(rng.choices("01", k=len(backbone.sites)))
        blocks = [bits[i : i + 4] for i in range(0, len(bits), 4)]
        swapped = "".join(b[2:] + b[:2] for b in blocks[:-1])
        swapped += blocks[-1][1] + blocks[-1][0] + blocks[-1][2]
        one, other = backbone.canonical(Placement(bits)), backbone.canonical(Placement(swapped))
        assert one == other
        assert one.bits in (bits, swapped)
        assert backbone.canonical(one) == one


def test_canonical_placement_elsewhere_is_the_placement():
    placement = Placement("010110" * 2, "end")
    assert Backbone.parse("preresnet-14").canonical(placement) == placement


def test_check_wants_one_bit_per_site():
    for name in NAMES:
        backbone = Backbone.parse(name)
        sites = len(backbone.sites)
        backbone.check(Placement("1" * sites))
        for wrong in (sites - 1, sites + 1):
            with pytest.raises(InputError, match=f"has {wrong} sites but {name} has {sites}"):
                backbone.check(Placement("1" * wrong))


def test_only_preactivation_residual_networks_take_an_end_norm():
    for name in NAMES:
        backbone = Backbone.parse(name)
        placement = Placement("1" * len(backbone.sites), "end")
        if name.startswith("preresnet"):
            backbone.check(placement)
        else:
            with pytest.raises(InputError, match="@end-norm fits preresnet"):
                backbone.check(placement)


def test_checking_input_does_not_load_torch():
    program = (
        "import sys; from search_spaces import SearchSpace, resolve_placement;"
        "space = SearchSpace('dfn-26'); resolve_placement(space.backbone, '4:3'); space.size;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
