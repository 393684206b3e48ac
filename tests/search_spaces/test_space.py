"""SearchSpace against brute force: what it holds, how it is written, and uniform samples."""

import math
import random
from collections import Counter
from itertools import islice, product

import pytest

from search_spaces import (
    GRANULARITIES,
    Backbone,
    InputError,
    Placement,
    SearchSpace,
    module_placement,
    reference_modules,
)

# ReLU sites of every module block, stage by stage; a dfn's last block has three.
LAYOUTS = {
    "plain-5": [[1], [1], [1]],
    "plain-11": [[1] * 3, [1] * 3, [1] * 3],
    "preplain-9": [[1] * 2, [1] * 2, [1] * 3],
    "resnet-12": [[2], [2] * 2, [2] * 2],
    "preresnet-10": [[2], [2], [2] * 2],
    "preresnet-bottleneck-14": [[3], [3], [3] * 2],
    "dfn-14": [[4], [4], [3]],
    "dfn-18": [[4], [4], [4, 3]],
}
# Every layout with `network`, `stage`, and `block` or `site`, which hold the same placements.
PAIRS = [
    (name, granularity)
    for i, name in enumerate(LAYOUTS)
    for granularity in ("network", "stage", ("block", "site")[i % 2])
    if (name, granularity) != ("dfn-18", "site")  # slow, and dfn-14 has it
] + [("dfn-14", "site")]
LIMITS = [(1, None), (0, None), (2, 3), (3, 5), (0, 0), (2, 2), (7, None)]


def repeated(name, stages, patterns):
    """The bits of a net whose every stage repeats one pattern in all of its blocks."""
    bits = ""
    for stage, pattern in zip(stages, patterns, strict=True):
        for block in stage:
            if block == 1:  # pairs are counted through the whole net
                bits += pattern[len(bits) % 2]
            elif name.startswith("dfn") and block == 3:
                inner1, after1, inner2, after2 = pattern
                bits += inner1 + inner2 + ("1" if "1" in after1 + after2 else "0")
            else:
                bits += pattern
    return bits


def exchanged(bits):
    """A dfn's bits with its two branches exchanged."""
    last = bits[-3:]
    inner = (bits[i : i + 4] for i in range(0, len(bits) - 3, 4))
    return "".join(b[2] + b[3] + b[0] + b[1] for b in inner) + last[1] + last[0] + last[2]


def brute_force(name, granularity):
    """All bits that the granularity can express, without regard to symmetry and limits."""
    stages = LAYOUTS[name]
    if granularity in ("site", "block"):
        return {"".join(b) for b in product("01", repeat=sum(map(sum, stages)))}
    length = {1: 2, 2: 2, 3: 3, 4: 4}[stages[0][0]]
    patterns = ["".join(p) for p in product("01", repeat=length)]
    if granularity == "network":
        return {repeated(name, stages, [p] * 3) for p in patterns}
    return {repeated(name, stages, choice) for choice in product(patterns, repeat=3)}


def function(name, bits):
    """All bits of the same function: two where branches can exchange, else one."""
    return frozenset({bits, exchanged(bits)} if name.startswith("dfn") else {bits})


@pytest.mark.parametrize(("name", "granularity"), PAIRS)
def test_space_holds_what_brute_force_finds(name, granularity):
    functions = {bits: function(name, bits) for bits in brute_force(name, granularity)}
    for low, high in LIMITS:
        most = len(next(iter(functions))) if high is None else high
        expected = {same for bits, same in functions.items() if low <= bits.count("1") <= most}
        if not expected or most > len(next(iter(functions))):
            with pytest.raises(InputError):
                SearchSpace(name, granularity, min_relus=low, max_relus=high)
            continue
        space = SearchSpace(name, granularity, min_relus=low, max_relus=high)
        assert space.size == len(expected)
        if len(functions) <= 4096:
            found = Counter(functions[placement.bits] for placement in space.enumerate())
            assert found == dict.fromkeys(expected, 1)


@pytest.mark.parametrize(
    ("name", "granularity", "size"),
    [
        ("preresnet-110", "block", 4**54 - 1),
        ("preresnet-110", "stage", 4**3 - 1),
        ("preresnet-110", "network", 3),
        ("preresnet-bottleneck-164", "block", 8**54 - 1),
        ("plain-84", "block", 2**82 - 1),
        ("dfn-110", "block", (2**107 + 2 ** (2 * 26 + 2)) // 2 - 1),
        ("dfn-110", "network", (16 + 4) // 2 - 1),
    ],
)
def test_size_of_the_papers_networks_is_exact(name, granularity, size):
    assert SearchSpace(name, granularity).size == size


@pytest.mark.parametrize("kept", [0, 2, 54])
def test_size_under_an_exact_budget_is_a_binomial(kept):
    space = SearchSpace("preresnet-110", "site", min_relus=kept, max_relus=kept)
    assert space.size == math.comb(108, kept)


@pytest.mark.parametrize(("name", "granularity"), PAIRS[::3] + PAIRS[1::6] + PAIRS[2::6])
def test_decode_and_encode_are_inverse(name, granularity):
    space = SearchSpace(name, granularity, min_relus=0)
    names = list(space.choices)
    combinations = list(islice(product(*space.choices.values()), 3000))
    placements = set()
    for labels in combinations:
        params = dict(zip(names, labels, strict=True))
        placement = space.decode(params)
        assert space.encode(placement) == params
        placements.add(placement)
    assert len(placements) == len(combinations)


@pytest.mark.parametrize(
    ("name", "granularity"),
    [*((name, ("network", "stage")[i % 2]) for i, name in enumerate(LAYOUTS)), ("dfn-14", "stage")],
)
def test_encode_knows_what_the_space_cannot_write(name, granularity):
    space = SearchSpace(name, granularity, min_relus=0)
    writable = brute_force(name, granularity)
    for bits in islice(brute_force(name, "site"), 2000):
        assert (space.encode(Placement(bits)) is not None) == (bits in writable)


def test_encode_cannot_write_an_end_norm():
    space = SearchSpace("preresnet-8")
    assert space.encode(module_placement(space.backbone, "pyramidnet")) is None


@pytest.mark.parametrize(
    ("name", "granularity"),
    [
        ("plain-38", "network"),
        ("plain-84", "stage"),
        ("plain-84", "block"),
        ("resnet-20", "site"),
        ("preresnet-20", "stage"),
        ("preresnet-bottleneck-29", "network"),
        ("dfn-26", "network"),
        ("dfn-26", "block"),
    ],
)
def test_every_reference_module_and_its_canonical_form_can_be_written(name, granularity):
    space = SearchSpace(name, granularity, min_relus=0)
    for placement in reference_modules(space.backbone).values():
        for same in (placement, space.canonical(placement)):
            params = space.encode(same)
            assert params is not None
            assert space.decode(params) == same


@pytest.mark.parametrize(
    ("name", "granularity", "names"),
    [
        ("resnet-12", "stage", ["stage1", "stage2", "stage3"]),
        ("resnet-12", "block", [f"block{i}" for i in range(1, 6)]),
        ("resnet-12", "site", [f"site{i:02d}" for i in range(1, 11)]),
        ("plain-84", "block", [f"block{i:02d}" for i in range(1, 42)]),
    ],
)
def test_parameter_names_sort_in_forward_order(name, granularity, names):
    choices = SearchSpace(name, granularity).choices
    assert list(choices) == names == sorted(names)


@pytest.mark.parametrize(
    "params",
    [{}, {"network": "1"}, {"block1": "01"}],
)
def test_decode_names_the_choices(params):
    with pytest.raises(InputError, match=r"network = .* use one of \['00', '01', '10', '11'\]"):
        SearchSpace("resnet-8", "network").decode(params)


def test_default_space_leaves_out_the_linear_net_alone():
    space = SearchSpace("resnet-8")
    assert not space.admits(Placement("000000"))
    assert space.size == 2**6 - 1
    assert Placement("000000") not in set(space.enumerate())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"granularity": "layer"}, "granularity 'layer' is unknown; use one of network, stage"),
        ({"min_relus": -1}, "0 <= min <= max <= 6"),
        ({"min_relus": 3, "max_relus": 2}, "ReLU limits 3 to 2 are impossible"),
        ({"min_relus": 8, "max_relus": 9}, "keeps 8 to 9 ReLUs; widen|0 <= min <= max <= 6"),
        (
            {"granularity": "network", "min_relus": 4, "max_relus": 5},
            "no placement of resnet-8 at granularity network keeps 4 to 5 ReLUs",
        ),
    ],
)
def test_impossible_spaces_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SearchSpace("resnet-8", **options)


def test_huge_spaces_are_not_enumerated():
    with pytest.raises(InputError, match="use a coarser granularity"):
        next(SearchSpace("preresnet-110").enumerate())


def test_space_takes_a_backbone_or_its_name():
    assert SearchSpace("plain-8", width=4).backbone == Backbone("plain", 8, 4)
    assert SearchSpace(Backbone("plain", 8, 4)).backbone == Backbone("plain", 8, 4)


@pytest.mark.parametrize(
    ("name", "granularity", "low", "high"),
    [
        ("plain-5", "site", 1, 2),
        ("resnet-12", "stage", 4, 6),
        ("plain-11", "stage", 4, 6),
        ("preresnet-bottleneck-14", "stage", 9, 10),
        ("dfn-14", "network", 1, 9),
        ("plain-5", "block", 0, 3),
    ],
)
def test_samples_are_uniform_over_the_placements_within_the_limits(name, granularity, low, high):
    space = SearchSpace(name, granularity, min_relus=low, max_relus=high)
    cells = {b for b in brute_force(name, granularity) if low <= b.count("1") <= high}
    rng = random.Random(0)
    draws = 100 * len(cells)
    counts = Counter(space.decode(space.sample(rng)).bits for _ in range(draws))
    assert set(counts) == cells
    statistic = sum((counts[cell] - 100) ** 2 / 100 for cell in cells)
    freedom = len(cells) - 1
    assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("kept", [1, 54, 107])
def test_samples_of_a_huge_space_meet_a_narrow_budget(kept):
    space = SearchSpace("dfn-110", "block", min_relus=kept, max_relus=kept)
    rng = random.Random(0)
    placements = [space.decode(space.sample(rng)) for _ in range(20)]
    assert {placement.kept for placement in placements} == {kept}
    assert all(space.admits(placement) for placement in placements)


def test_equal_seeds_give_equal_samples():
    space = SearchSpace("preresnet-20")
    one, other = (space.sample(random.Random(5)) for _ in range(2))
    assert one == other


# --- norms as part of the space ---------------------------------------------------------------


def sites_with_norms(name):
    """Positions of the sites that do not follow a sum, by the families' definitions."""
    sites = sum(map(sum, LAYOUTS[name]))
    if name.startswith("resnet"):
        return set(range(0, sites, 2))
    if name.startswith("dfn"):
        return set(range(0, sites - 3, 2)) | {sites - 3, sites - 2}
    return set(range(sites))


def normed_function(name, bits, norm):
    """A key that is equal for equal functions: the bits up to exchange, and the norms in effect."""
    effect = any(bits[i] == "0" for i in sites_with_norms(name))
    return function(name, bits), norm if effect else "keep"


@pytest.mark.parametrize(
    ("name", "granularity", "norm"),
    [(*pair, ("search", "drop")[i % 2]) for i, pair in enumerate(PAIRS)],
)
def test_space_with_norms_holds_what_brute_force_finds(name, granularity, norm):
    norms = ("keep", "drop") if norm == "search" else ("drop",)
    everything = brute_force(name, granularity)
    sites = sum(map(sum, LAYOUTS[name]))
    for low, high in [(1, None), (0, None), (2, 3), (sites, None), (sites - 2, sites - 1)]:
        most = sites if high is None else high
        expected = {
            normed_function(name, bits, n)
            for bits in everything
            if low <= bits.count("1") <= most
            for n in norms
        }
        if not expected:
            continue
        space = SearchSpace(name, granularity, min_relus=low, max_relus=high, norm=norm)
        assert space.size == len(expected)
        if len(everything) <= 1024:
            found = [normed_function(name, p.bits, p.dropped_norm) for p in space.enumerate()]
            assert len(found) == len(set(found))
            assert set(found) == expected


@pytest.mark.parametrize(
    ("name", "granularity", "norm"),
    [
        (name, GRANULARITIES[(i + j) % 4], norm)
        for i, name in enumerate(["plain-11", "resnet-12", "preresnet-bottleneck-14", "dfn-14"])
        for j, norm in enumerate(["keep", "drop", "search"])
    ],
)
def test_samples_with_norms_stay_inside_and_survive_writing(name, granularity, norm):
    space = SearchSpace(name, granularity, min_relus=2, max_relus=8, norm=norm)
    rng = random.Random(1)
    seen = set()
    for _ in range(200):
        params = space.sample(rng)
        assert list(params) == list(space.choices)
        assert all(choice in space.choices[unit] for unit, choice in params.items())
        placement = space.decode(params)
        assert space.admits(placement)
        again = space.encode(placement)
        assert space.decode(again) == placement
        if params.get("norm") == placement.dropped_norm:
            assert again == params
        seen.add(placement.dropped_norm)
        if norm != "search":
            effect = any(placement.bits[i] == "0" for i in sites_with_norms(name))
            assert placement.dropped_norm == (norm if effect else "keep")
    assert norm != "search" or seen == {"keep", "drop"}


@pytest.mark.parametrize("norm", ["keep", "drop"])
def test_encode_knows_the_norms_that_the_space_cannot_write(norm):
    other = {"keep": "drop", "drop": "keep"}[norm]
    space = SearchSpace("resnet-8", norm=norm)
    assert space.encode(Placement("011011", dropped_norm=norm)) is not None
    assert space.encode(Placement("011011", dropped_norm=other)) is None
    assert space.encode(Placement("101010", dropped_norm=other)) is not None, "no norm to drop"


def test_searched_norms_are_one_more_parameter():
    space = SearchSpace("preresnet-110", norm="search")
    assert list(space.choices)[-1] == "norm"
    assert space.choices["norm"] == ("keep", "drop")
    assert space.size == 2 * (4**54 - 1) - 1  # paired has no norm to drop
    assert space.encode(Placement("1" * 108, dropped_norm="drop"))["norm"] == "keep"


@pytest.mark.parametrize("norm", ["", "both", None])
def test_unknown_fate_of_norms_is_refused(norm):
    with pytest.raises(InputError, match=r"norm .* is unknown; use one of keep, drop, search"):
        SearchSpace("plain-8", norm=norm)
