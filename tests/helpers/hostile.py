"""Hostile input for hypothesis: texts that break parsers, and documents with parts replaced."""

from __future__ import annotations

import contextlib
import copy
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from search_spaces import InputError

FEW = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
MANY = settings(FEW, max_examples=1000)

NASTY = [
    *("", " ", "\n", "\x00", "\x1b[31mred", "[red]x[/red]", "<script>alert(1)</script>", "\u202e"),
    *("../../../etc/passwd", "/etc/passwd", "~nobody/x", "C:\\x", "file:///etc/passwd", "%s%n"),
    *("1*999999999999", "01*99999999999999999999", "1*-1", "1*0", "+", "*", "@", "paired@@", "2:0"),
    *("0:1", "9" * 400 + ":1", "1e309", "nan", "NaN", "inf", "-inf", "٣", "½", "é" * 300, "\ud7ff"),
    *("plain-99999999999999", "plain--8", "plain-8.0", "dfn-1e3", "PLAIN-8", "plain-٨"),
    *("A" * 9_000, "1" * 9_000, "01+" * 3_000, "[" * 5_000, "{" * 5_000, "=cmd|' /C x'!A0"),
]
texts = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=40), st.text("01*+@:-/ 239", max_size=30)
)
digits = st.sampled_from(
    [
        *("9" * 20, "9" * 400, "9" * 5_000, "-" + "9" * 400, "0x" + "f" * 400, "1e400", "1_000"),
        *("٣", "٣٨", "９", "३", "𝟗", "½", "²", "inf", "-inf", "nan", "NaN", "1e38", "1e300", "0"),
        *("-1", "0.5", "1e-320", "9" * 15, "+7", " 7 ", "", "True", "None"),
    ]
)
"""Texts that some parsers take for a number."""
acting = st.sampled_from(
    [
        *(
            "[bold]x[/bold]",
            "[/red]",
            "[link=file:///etc/passwd]x[/link]",
            ":smile:",
            "$x^{",
            "\\x1b",
        ),
        *(
            "\x1b[31mred",
            "\x1b[2J",
            "\x1b]0;title\x07",
            "\x1b]8;;http://x\x1b\\\\",
            "\x9b5n",
            "\x90q",
        ),
        *(
            "\u202eabc",
            "a\u2066b",
            "\ufeff",
            "\x7f",
            "a\rb",
            "a\tb",
            "\x00",
            "{x}",
            "%(x)s",
            "&lt;b&gt;",
        ),
    ]
)
"""Texts that act where they are shown: markup, escape codes, directions of writing."""
names = st.one_of(
    st.sampled_from(
        [b"caf\xe9", b"\xff", b"a\x1b[31m", b"a\nb", b"[red]", b"x" * 255, b"-x", b" "]
    ),
    st.binary(min_size=1, max_size=12).filter(
        lambda name: not set(name) & set(b"\x00/") and name not in (b".", b"..")
    ),
)
"""Names of files, as the bytes that a file system takes."""
numbers = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 10**400, -(10**400)]),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e308]),
    st.integers(),
    st.floats(),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def mutated(draw: Any, document: Any, replacement: Any = values) -> Any:
    """A copy of a document of dicts and lists with one to three of its parts spoilt."""
    spoilt = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        holder = spoilt
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(holder[key], dict | list) and holder[key] and draw(st.booleans()):
                holder = holder[key]
                continue
            if isinstance(holder, dict) and draw(st.integers(0, 4)) == 0:
                del holder[key]
            else:
                holder[key] = draw(replacement)
            break
        if isinstance(spoilt, dict) and draw(st.integers(0, 6)) == 0:
            spoilt[draw(st.text(max_size=12))] = draw(replacement)
    return spoilt


@st.composite
def corrupted(draw: Any, content: bytes) -> bytes:
    """The bytes of a file, cut, doubled, or with bytes replaced."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + draw(st.integers(1, 50))]
            case 2:
                data[at:at] = draw(st.one_of(st.binary(max_size=20), texts.map(_encoded)))
            case 3:
                data[at : at + 4] = draw(st.binary(max_size=8))
    return bytes(data)


odd_files = st.sampled_from(
    ["fifo", "link to a fifo", "loop", "device", "folder", "nothing", "link"]
)
"""What may stand in the place of a file or folder."""


def make_odd(path: Path, kind: str) -> None:
    """Put something odd in the place of a file or folder, which is moved aside."""
    aside = path.with_name("aside")
    if path.exists():
        path.rename(aside)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "link to a fifo":
            os.mkfifo(path.with_name("fifo"))
            path.symlink_to("fifo")
        case "loop":
            path.symlink_to(path.name)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
            for name in ("l0", "l1"):
                (path / name).symlink_to(".")
        case "link":
            path.symlink_to("aside")


@contextlib.contextmanager
def bounded(seconds: int = 20, size: int = 2 * 2**30) -> Iterator[None]:
    """Fail if the block waits, or needs more time of the processor or more memory than this."""

    def late(*_: object) -> None:
        raise AssertionError(f"it has not ended after {9 * seconds} s")

    before = resource.getrusage(resource.RUSAGE_SELF)
    handler = signal.signal(signal.SIGALRM, late)
    left = signal.setitimer(signal.ITIMER_REAL, 9 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *left)
        signal.signal(signal.SIGALRM, handler)
    after = resource.getrusage(resource.RUSAGE_SELF)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert taken < seconds, f"it took {taken:.1f} s"
    memory = 1024 * (after.ru_maxrss - before.ru_maxrss)
    assert memory < size, f"it took {memory} bytes of memory"


def _encoded(text: str) -> bytes:
    return text.encode(errors="replace")


def clean(call: Callable[[], Any]) -> Any:
    """What a call returns; an `InputError` must be one short, printable line, and gives None."""
    try:
        with bounded():
            return call()
    except InputError as error:
        check_line(str(error))
        return None


def check_line(line: str) -> None:
    assert 0 < len(line) <= 2_000, f"{len(line)} characters"
    assert "Traceback" not in line
    assert line.isprintable()
