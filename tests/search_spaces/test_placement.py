"""Placement: the text grammar, its round trip and its errors."""

import random
import re
import tracemalloc
from dataclasses import FrozenInstanceError
from itertools import product

import pytest

from search_spaces import InputError, Placement

ALL_SHORT = ["".join(bits) for n in range(1, 11) for bits in product("01", repeat=n)]


def read(text):
    """The grammar once more, without checks: segments of bits, *n, joined by +."""
    pairs = (segment.partition("*") for segment in text.split("+"))
    return "".join(bits * int(times or 1) for bits, _, times in pairs)


def shortest_length(bits):
    """Fewest characters of the grammar, over all ways to cut the bits into segments."""
    best = [-1]  # the first segment has no + before it
    for end in range(1, len(bits) + 1):
        options = []
        for start in range(end):
            size = end - start
            repeats = [r for r in range(1, size + 1) if size % r == 0]
            texts = [
                size // r + (len(f"*{r}") if r > 1 else 0)
                for r in repeats
                if bits[start : start + size // r] * r == bits[start:end]
            ]
            options.append(best[start] + 1 + min(texts))
        best.append(min(options))
    return best[-1]


def random_bits(seed, longest=300):
    """Runs of repeated segments and noise, so that every branch of the text form is met."""
    rng = random.Random(seed)
    pieces = []
    while sum(map(len, pieces)) < longest:
        segment = "".join(rng.choices("01", k=rng.randint(1, 10)))
        pieces.append(segment * rng.choice([1, 1, 2, 3, 9, 40]))
    return "".join(pieces)


def test_text_of_every_short_placement_is_read_back():
    for bits in ALL_SHORT:
        placement = Placement(bits)
        assert Placement.parse(placement.text) == placement
        assert Placement.from_json(placement.to_json()) == placement
        assert read(placement.text) == bits


@pytest.mark.parametrize("seed", range(5))
def test_text_of_long_placements_is_read_back_and_never_longer_than_the_bits(seed):
    bits = random_bits(seed)
    text = Placement(bits).text
    assert Placement.parse(text).bits == read(text) == bits
    assert len(text) <= len(bits)


def test_text_of_every_short_placement_is_the_shortest_of_the_grammar():
    for bits in ALL_SHORT:
        assert len(Placement(bits).text) == shortest_length(bits)


def test_different_short_placements_have_different_texts():
    placements = [Placement(bits, norm) for bits in ALL_SHORT for norm in ("none", "end")]
    assert len({p.text for p in placements}) == len(set(placements)) == 2 * len(ALL_SHORT)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("01*27", "01" * 27),
        ("11*9+01*18", "11" * 9 + "01" * 18),
        ("0+1+01", "0101"),
        ("  10*2 + 1 ", "10101"),
        ("1*4096", "1" * 4096),
        ("01*002", "0101"),
    ],
)
def test_parse_reads_the_grammar(text, bits):
    assert Placement.parse(text) == Placement(bits)


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("01" * 27, "01*27"),
        ("11" * 9 + "01" * 18, "1*18+01*18"),
        ("1011" * 26 + "1", "1011*26+1"),
        ("0" * 108, "0*108"),
    ],
)
def test_text_is_short(bits, text):
    assert Placement(bits).text == str(Placement(bits)) == text


@pytest.mark.parametrize("text", ["01*3@end-norm", " 01*3@end-norm ", "010101 @end-norm"])
def test_end_norm_suffix_is_part_of_the_placement(text):
    placement = Placement.parse(text)
    assert (placement.bits, placement.block_norm) == ("010101", "end")
    assert placement != Placement("010101")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read segment ''"),
        ("2", "cannot read segment '2'"),
        ("01*", r"cannot read segment '01\*'"),
        ("*3", r"cannot read segment '\*3'"),
        ("01*2*3", "cannot read segment"),
        ("01*x", "cannot read segment"),
        ("01++01", "cannot read segment ''"),
        ("0 1", "cannot read segment '0 1'"),
        ("01\n01", "cannot read segment"),
        ("\u0660\u0661", "cannot read segment"),
        ("01*\u0663", "cannot read segment"),
        ("01*0", "at least once"),
        ("1*4096+1", "at most to 4096"),
        ("@end-norm", "cannot read segment ''"),
        ("01@end-norm+01", "write only @end-norm and @drop-norm"),
        ("01@endnorm", "write only @end-norm and @drop-norm"),
    ],
)
def test_malformed_text_is_refused_with_the_rule(text, message):
    with pytest.raises(InputError, match=message) as error:
        Placement.parse(text)
    assert re.search("write|repeat", str(error.value))


@pytest.mark.parametrize(
    "text", ["01*999999999+1", "1*9999999999999999999999", "+".join(["1*4096"] * 99)]
)
def test_hostile_repeat_counts_are_refused_before_they_take_memory(text):
    tracemalloc.start()
    with pytest.raises(InputError):
        Placement.parse(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("text", ["x" * 10_000, "1*4096+" * 500 + "1", "1" * 10_000 + "@end-norm!"])
def test_error_messages_stay_short_for_long_texts(text):
    with pytest.raises(InputError) as error:
        Placement.parse(text)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("bits", ["", "01*2", "01\n", "\u0661"])
def test_bits_hold_only_zeros_and_ones(bits):
    with pytest.raises(InputError, match="not a string of 0 and 1"):
        Placement(bits)


def test_too_many_sites_are_refused():
    assert len(Placement("1" * 4096)) == 4096
    with pytest.raises(InputError, match="4097 sites; at most 4096"):
        Placement("1" * 4097)


def test_unknown_block_norm_is_refused():
    with pytest.raises(InputError, match="block norm 'start' is unknown"):
        Placement("01", "start")


@pytest.mark.parametrize("value", [None, ["0", "1"]])
def test_from_json_refuses_what_is_not_text(value):
    with pytest.raises(InputError, match="must be a text"):
        Placement.from_json(value)


def test_placement_is_a_value():
    placement = Placement("0110")
    assert list(placement) == [False, True, True, False]
    assert (len(placement), placement.kept) == (4, 2)
    assert {placement: 1}[Placement("0110")] == 1
    with pytest.raises(FrozenInstanceError):
        placement.bits = "1"
