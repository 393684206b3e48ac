"""Placement: which ReLUs of a backbone are kept. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Literal, get_args

from search_spaces.errors import InputError, require_type, shown

MAX_SITES = 4096
"""Most sites of a placement. Without a limit `1*999999999` would fill the memory."""

BlockNorm = Literal["none", "end"]
"""Extra BatchNorm per block: `none`, or one at the `end` of the residual branch (PyramidNet)."""

DroppedNorm = Literal["keep", "drop"]
"""Whether the BatchNorm directly before a dropped ReLU is kept (open question, Section II-B)."""

END_NORM, DROP_NORM = "@end-norm", "@drop-norm"
"""Suffixes of the text form for `block_norm="end"` and `dropped_norm="drop"`."""

_SEGMENT = re.compile(r"([01]+)(?:\*([0-9]{1,9}))?")
_LONGEST_PERIOD = 8


@dataclass(frozen=True, slots=True)
class Placement:
    """A keep/drop bit for every ReLU site of a backbone, in forward order.

    ```python
    p = Placement.parse("11*9+01*18")   # 9 paired blocks, then 18 without their first ReLU
    p.kept, len(p), p.text              # 36, 54, "1*18+01*18"
    ```

    Attributes:
        bits: one character per site; `1` keeps the ReLU, `0` replaces it by the identity.
        block_norm: `end` adds a BatchNorm at the end of every residual branch (PyramidNet,
            arXiv:1610.02915). Placements that differ in it are different.
        dropped_norm: `drop` also removes the BatchNorm directly before each dropped ReLU, so that
            conv-conv is one linear map. Placements that differ in it are different.

    Raises:
        InputError: `bits` is empty, too long, or has a character other than 0 and 1.
    """

    bits: str
    block_norm: BlockNorm = "none"
    dropped_norm: DroppedNorm = "keep"

    def __post_init__(self) -> None:
        require_type("bits", self.bits, str, "a text such as '0101'")
        if not self.bits or set(self.bits) - {"0", "1"}:
            raise InputError(
                f"placement {_shorten(self.bits)!r} is not a string of 0 and 1: write one bit per "
                "ReLU site, 1 = kept and 0 = dropped, for example 01*27"
            )
        if len(self.bits) > MAX_SITES:
            raise InputError(
                f"placement has {len(self.bits)} sites; at most {MAX_SITES} are supported"
            )
        for what, value, known in (
            ("block norm", self.block_norm, get_args(BlockNorm)),
            ("dropped norm", self.dropped_norm, get_args(DroppedNorm)),
        ):
            if not isinstance(value, str) or value not in known:
                raise InputError(f"{what} {shown(value)} is unknown; use one of {known}")

    @classmethod
    def parse(cls, text: str) -> Placement:
        """Read the text form: segments of bits; `*n` repeats a segment, `+` joins segments.

        The suffix `@end-norm` means `block_norm="end"`, `@drop-norm` means `dropped_norm="drop"`.

        Raises:
            InputError: the text does not follow this grammar, or has too many sites.
        """
        require_type("placement", text, str, "a text such as '01*27'")
        body, block_norm, dropped_norm = split_norms(text)
        pieces: list[str] = []
        total = 0
        for segment in body.split("+"):
            match = _SEGMENT.fullmatch(segment.strip())
            if match is None:
                raise InputError(
                    f"placement {_shorten(text)!r}: cannot read segment {_shorten(segment)!r}; "
                    "write bits, repeat with *n and join with +, for example 11*9+01*18"
                )
            bits, times = match[1], int(match[2] or 1)
            total += len(bits) * times
            if times < 1 or total > MAX_SITES:
                raise InputError(
                    f"placement {_shorten(text)!r}: segment {_shorten(segment)!r} must repeat at "
                    f"least once, and all segments together at most to {MAX_SITES} sites"
                )
            pieces.append(bits * times)
        return cls("".join(pieces), block_norm, dropped_norm)

    @property
    def text(self) -> str:
        """The short text form. Equal placements have equal texts, and `parse` reads the text."""
        end = END_NORM if self.block_norm == "end" else ""
        return _compact_text(self.bits) + end + (DROP_NORM if self.dropped_norm == "drop" else "")

    @property
    def kept(self) -> int:
        """Number of kept ReLUs."""
        return self.bits.count("1")

    def to_json(self) -> str:
        """The placement as a JSON value (its text), which `from_json` reads."""
        return self.text

    @classmethod
    def from_json(cls, value: object) -> Placement:
        """Read a placement from the value of `to_json`.

        Raises:
            InputError: the value is not a placement text.
        """
        require_type("placement", value, str, "a text such as '01*27'")
        assert isinstance(value, str)
        return cls.parse(value)

    def __iter__(self) -> Iterator[bool]:
        return (bit == "1" for bit in self.bits)

    def __len__(self) -> int:
        return len(self.bits)

    def __str__(self) -> str:
        return self.text


def split_norms(text: str) -> tuple[str, BlockNorm, DroppedNorm]:
    """Split a text into the part before the norm suffixes and the values of the suffixes.

    Raises:
        InputError: a suffix is unknown or written twice.
    """
    body, *suffixes = text.strip().split("@")
    known = {END_NORM[1:], DROP_NORM[1:]}
    if set(suffixes) - known or len(suffixes) > len(set(suffixes)):
        raise InputError(
            f"placement {_shorten(text)!r}: after the bits or the module write only {END_NORM} "
            f"and {DROP_NORM}, each once"
        )
    end, drop = END_NORM[1:] in suffixes, DROP_NORM[1:] in suffixes
    return body, "end" if end else "none", "drop" if drop else "keep"


@lru_cache(maxsize=4096)
def _compact_text(bits: str) -> str:
    """The shortest sum of repeated segments and literals, by dynamic programming from the end.

    Periods up to eight are tried, and for each period the two largest repeat counts. Of equally
    short texts the one with more repeats over an even number of bits is chosen, because most
    blocks have two or four sites.
    """
    n = len(bits)
    times = [[1] * (n + 1) for _ in range(_LONGEST_PERIOD + 1)]  # [period][start]: full repeats
    # The best text of bits[position:], as (length, odd repeats, text). `opened`: a new segment
    # starts at the position. `going`: a literal that started before it continues.
    cost = itemgetter(0, 1)
    opened = [(0, 0, "")] * (n + 1)
    going = [(0, 0, "")] * (n + 1)
    for start in range(n - 1, -1, -1):
        repeated = []
        for period in range(1, min(_LONGEST_PERIOD, (n - start) // 2) + 1):
            segment = bits[start : start + period]
            if bits.startswith(segment, start + period):
                times[period][start] = times[period][start + period] + 1
            longest = times[period][start]
            for repeats in range(longest, max(1, longest - 2), -1):
                length, odd, rest = opened[start + period * repeats]
                text = f"{segment}*{repeats}" + (f"+{rest}" if rest else "")
                repeated.append((len(text), odd + period * repeats % 2, text))
        length, odd, rest = going[start + 1]
        literal = (length + 1, odd, bits[start] + rest)
        opened[start] = min([*repeated, literal], key=cost)
        continued = [(size + 1, odd, f"+{text}") for size, odd, text in repeated]
        going[start] = min([*continued, literal], key=cost)
    return opened[0][2]


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
