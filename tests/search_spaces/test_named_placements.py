"""The named modules against the paper's table, written out bit by bit."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest

from search_spaces import (
    Backbone,
    InputError,
    Placement,
    module_name_of,
    module_names,
    module_placement,
    ratio_text,
    reference_modules,
    resolve_placement,
)

TABLE = [  # backbone, module, bits, ratio
    ("plain-38", "paired", "1" * 36, "1:1"),
    ("plain-38", "2:1", "01" * 18, "2:1"),
    ("plain-38", "3:2", "011" * 12, "3:2"),
    ("plain-38", "5:2", "00011" * 7 + "0", "18:7"),
    ("plain-38", "linear", "0" * 36, "1:0"),
    ("plain-5", "2:1", "010", "3:1"),
    ("preplain-38", "2:1", "01" * 18, "2:1"),
    ("resnet-62", "paired", "1" * 60, "1:1"),
    ("resnet-62", "2:1", "01" * 30, "2:1"),
    ("resnet-62", "2:1/first", "01" * 30, "2:1"),
    ("resnet-62", "2:1/second", "10" * 30, "2:1"),
    ("preresnet-110", "2:1", "01" * 54, "2:1"),
    ("preresnet-110", "2:1/first", "01" * 54, "2:1"),
    ("preresnet-110", "2:1/second", "10" * 54, "2:1"),
    ("preresnet-110", "linear", "0" * 108, "1:0"),
    ("preresnet-bottleneck-110", "3:2", "011" * 36, "3:2"),
    ("preresnet-bottleneck-110", "3:2/type1", "011" * 36, "3:2"),
    ("preresnet-bottleneck-110", "3:2/type2", "101" * 36, "3:2"),
    ("preresnet-bottleneck-110", "3:2/type3", "110" * 36, "3:2"),
    ("dfn-110", "paired", "1" * 107, "108:107"),
    ("dfn-110", "4:3", "1011" * 26 + "111", "4:3"),
    ("dfn-110", "4:3/type1", "1011" * 26 + "111", "4:3"),
    ("dfn-110", "4:3/type2", "0111" * 26 + "011", "27:20"),
    ("dfn-26", "linear", "0" * 23, "1:0"),
]


@pytest.mark.parametrize(("name", "module", "bits", "ratio"), TABLE)
def test_module_drops_what_the_paper_drops(name, module, bits, ratio):
    backbone = Backbone.parse(name)
    placement = module_placement(backbone, module)
    assert placement == resolve_placement(backbone, module) == Placement(bits)
    assert ratio_text(backbone, placement) == ratio


@pytest.mark.parametrize(
    ("module", "convs", "relus"),
    [("paired", 108, 107), ("4:3/type1", 108, 81), ("4:3/type2", 108, 80)],
)
def test_dfn_110_counts(module, convs, relus):
    backbone = Backbone.parse("dfn-110")
    assert (backbone.convs, module_placement(backbone, module).kept) == (convs, relus)


@pytest.mark.parametrize(
    ("name", "bits"), [("preresnet-20", "01" * 9), ("preresnet-bottleneck-29", "011" * 9)]
)
def test_pyramidnet_drops_the_first_relu_and_ends_blocks_with_a_norm(name, bits):
    backbone = Backbone.parse(name)
    assert resolve_placement(backbone, "pyramidnet") == Placement(bits, "end")
    assert module_name_of(backbone, Placement(bits, "end")) == "pyramidnet"


def test_plain_n_to_m_keeps_the_last_m_of_every_n():
    backbone = Backbone.parse("plain-38")
    for convs in range(1, 8):
        for relus in range(1, convs + 1):
            bits = "".join("1" if i % convs >= convs - relus else "0" for i in range(36))
            assert module_placement(backbone, f"{convs}:{relus}").bits == bits


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("plain-38", ["paired", "2:1", "linear"]),
        ("resnet-20", ["paired", "2:1/first", "2:1/second", "linear"]),
        ("preresnet-20", ["paired", "2:1/first", "2:1/second", "linear"]),
        (
            "preresnet-bottleneck-29",
            ["paired", "3:2/type1", "3:2/type2", "3:2/type3", "linear"],
        ),
        ("dfn-26", ["paired", "4:3/type1", "4:3/type2", "linear"]),
    ],
)
def test_reference_modules_are_the_papers(name, names):
    backbone = Backbone.parse(name)
    references = reference_modules(backbone)
    assert list(references) == names
    assert all(references[n] == module_placement(backbone, n) for n in names)


@pytest.mark.parametrize(
    "name",
    ["plain-38", "preplain-8", "resnet-20", "preresnet-20", "preresnet-bottleneck-29", "dfn-26"],
)
def test_every_listed_module_exists_and_is_recognised(name):
    backbone = Backbone.parse(name)
    for module in module_names(backbone):
        assert module_name_of(backbone, module_placement(backbone, module)) == module


def test_a_module_is_recognised_with_exchanged_branches():
    backbone = Backbone.parse("dfn-14")
    assert module_name_of(backbone, Placement("1110" * 2 + "111")) == "4:3/type1"
    assert module_name_of(backbone, Placement("1101" * 2 + "101")) == "4:3/type2"


def test_other_placements_have_no_module_name():
    assert module_name_of(Backbone.parse("dfn-14"), Placement("1011" + "1" * 7)) == ""
    assert module_name_of(Backbone.parse("preresnet-8"), Placement("1" * 6, "end")) == ""


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("plain-38", "2:1/first"),
        ("plain-38", "0:0"),
        ("plain-38", "1:2"),
        ("plain-38", "2:0"),
        ("plain-38", "pyramidnet"),
        ("resnet-20", "pyramidnet"),
        ("preresnet-20", "4:3"),
        ("preresnet-bottleneck-29", "2:1"),
        ("dfn-26", "4:3/type3"),
    ],
)
def test_unknown_module_names_the_known_ones(name, module):
    backbone = Backbone.parse(name)
    with pytest.raises(InputError, match=f"module '{module}' does not exist for {name}") as error:
        resolve_placement(backbone, module)
    assert all(known in str(error.value) for known in module_names(backbone))


@pytest.mark.parametrize(
    ("text", "placement"),
    [
        (None, Placement("1" * 6)),
        (" 2:1 ", Placement("010101")),
        ("01*3", Placement("010101")),
        ("110 + 0*3", Placement("110000")),
        ("01*3@end-norm", Placement("010101", "end")),
        (Placement("011011"), Placement("011011")),
    ],
)
def test_resolve_takes_text_module_or_placement(text, placement):
    assert resolve_placement(Backbone.parse("preresnet-8"), text) == placement


@pytest.mark.parametrize("text", ["", "01*2", Placement("1"), "1*999999999", "PAIRED", "01*3 end"])
def test_resolve_refuses_what_does_not_fit(text):
    with pytest.raises(InputError):
        resolve_placement(Backbone.parse("preresnet-8"), text)


@pytest.mark.parametrize(
    ("bits", "ratio"),
    [("111111", "1:1"), ("010101", "2:1"), ("011110", "3:2"), ("000001", "6:1"), ("0" * 6, "1:0")],
)
def test_ratio_is_reduced(bits, ratio):
    assert ratio_text(Backbone.parse("resnet-8"), Placement(bits)) == ratio


# --- EraseReLU --------------------------------------------------------------------------------

LAST_OF_BLOCK = {  # backbone: (blocks, bits of an erased block, of a whole one, of the last)
    "plain-38": (18, "10", "11", "10"),
    "preplain-38": (18, "10", "11", "10"),
    "resnet-20": (9, "10", "11", "10"),
    "preresnet-20": (9, "10", "11", "10"),
    "preresnet-bottleneck-29": (9, "110", "111", "110"),
    "dfn-26": (6, "1010", "1111", "110"),
}


@pytest.mark.parametrize(
    ("name", "share"),
    [
        (name, share)
        for i, name in enumerate(LAST_OF_BLOCK)
        for share in (["1", ".5"] if i % 2 else ["0.9", "0.34"])
    ],
)
def test_eraserelu_drops_the_last_relu_of_evenly_spread_blocks(name, share):
    blocks, erased, whole, last = LAST_OF_BLOCK[name]
    bits = module_placement(Backbone.parse(name), f"eraserelu:{share}").bits
    size = len(whole)
    cut = [bits[i * size : (i + 1) * size] for i in range(blocks)]
    assert "".join(cut) == bits
    assert set(cut[:-1]) <= {erased, whole}
    assert cut[-1] in (last, whole[: len(last)])
    places = [i for i, block in enumerate(cut) if block in (erased, last)]
    count = math.floor(Fraction(share) * blocks)
    assert len(places) == count
    gaps = [b - a for a, b in pairwise([-1, *places])]
    assert cut[-1] == last
    exact = Fraction(blocks, count)
    assert all(math.floor(exact) <= gap <= math.ceil(exact) for gap in gaps)


def test_eraserelu_of_all_resnet_blocks_is_the_second_relu_dropped():
    backbone = Backbone.parse("resnet-110")
    whole = module_placement(backbone, "eraserelu:1")
    assert whole == module_placement(backbone, "2:1/second")
    assert module_name_of(backbone, whole) == "2:1/second"


@pytest.mark.parametrize(
    "share",
    [
        *("0", "nan", "1e9999999", "", "0.0001", "1.01", "1/2", "٠.٥", "9" * 100_000),
    ],
    ids=lambda share: share[:12],
)
def test_bad_shares_of_eraserelu_are_refused_in_one_short_line(share):
    with pytest.raises(
        InputError, match=r"module 'eraserelu:.* a proportion P from 0.167 to 1"
    ) as caught:
        resolve_placement(Backbone.parse("dfn-26"), f"eraserelu:{share}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("name", "share"), [("resnet-20", "0.5"), ("dfn-26", "0.25")])
def test_eraserelu_includes_the_last_block(name, share):
    assert module_placement(Backbone.parse(name), f"eraserelu:{share}").bits[-1] == "0"


@pytest.mark.parametrize(("name", "share"), [("plain-5", "1"), ("preplain-9", "0.34")])
def test_eraserelu_of_an_odd_plain_net_drops_something(name, share):
    backbone = Backbone.parse(name)
    assert module_placement(backbone, f"eraserelu:{share}").bits.count("0") == 1
