"""Layout: which calls of a network are sites, in which blocks and stages. Plain data, no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from search_spaces.errors import InputError, shown
from search_spaces.placement import MAX_SITES

NOTHING = "none"
"""Value of `exclude` that leaves no site out."""
LARGEST_BLOCK = 4
"""Most sites of a block; larger ones are cut into pieces, so that a block has few patterns."""
_LOOSE = 2  # consecutive sites without a block that form one
_GATE_CLASS = re.compile(r"squeeze|^se(module|layer|gate|block)?$|^effectivese", re.IGNORECASE)
_GATE_PATH = re.compile(r"(^|\.)(se|se_module|squeeze_excite)(\.|$)")
_MAX_TEXT = 1_000


@dataclass(frozen=True)
class Place:
    """One call of an activation, and whether it is a site.

    Attributes:
        path: of the activation module; of the module that calls a function.
        is_function: a function is called, such as `F.relu`.
        kind: such as `relu`.
        out: why it is no site; empty: it is one.
        stage, block, position: of a site, from 0; -1 otherwise.
    """

    path: str
    is_function: bool
    kind: str
    out: str
    stage: int = -1
    block: int = -1
    position: int = -1


@dataclass(frozen=True)
class Layout:
    """All activation calls of a network in forward order, and its convolutions.

    Attributes:
        places: one for each call.
        convs: convolutions between the first and the last site.
        has_blocks: the module tree has repeated blocks; otherwise two consecutive sites are one.
        not_called: activation modules that no forward pass calls.
    """

    places: tuple[Place, ...]
    convs: int
    has_blocks: bool
    not_called: tuple[str, ...]

    @property
    def sites(self) -> tuple[int, ...]:
        """Indices of the places that are sites."""
        return tuple(i for i, place in enumerate(self.places) if not place.out)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all places: the path, `.relu()` for a function, `#2` for the second call."""
        keys = [(place.path, place.is_function, place.kind) for place in self.places]
        totals, seen = Counter(keys), Counter[tuple[str, bool, str]]()
        names = []
        for place, key in zip(self.places, keys, strict=True):
            seen[key] += 1
            called = f"{place.path}.{place.kind}()".lstrip(".") if key[1] else place.path
            names.append(called + (f"#{seen[key]}" if totals[key] > 1 else ""))
        return tuple(names)

    def to_json(self) -> dict[str, Any]:
        return {
            "places": [
                [p.path, p.is_function, p.kind, p.out, p.stage, p.block, p.position]
                for p in self.places
            ],
            "convs": self.convs,
            "has_blocks": self.has_blocks,
            "not_called": list(self.not_called),
        }

    @classmethod
    def from_json(cls, value: object) -> Layout:
        """Read what `to_json` wrote, perhaps by a stranger.

        Raises:
            InputError: it is not that.
        """
        if not (isinstance(value, Mapping) and set(value) == set(cls.__dataclass_fields__)):
            raise InputError(f"the layout of a network is {shown(value)}; restore the file")
        rows, unused = value["places"], value["not_called"]
        if not (
            isinstance(rows, list)
            and 1 <= len(rows) <= MAX_SITES
            and all(_is_place(row) for row in rows)
            and type(value["convs"]) is int
            and 0 <= value["convs"] < 2**31
            and type(value["has_blocks"]) is bool
            and isinstance(unused, list)
            and all(isinstance(path, str) for path in unused)
        ):
            raise InputError("the layout of a network is damaged; restore the file")
        layout = cls(
            tuple(Place(*row) for row in rows), value["convs"], value["has_blocks"], tuple(unused)
        )
        _require_consecutive(layout)
        return layout


def layout_of(
    calls: Sequence[Mapping[str, Any]],
    classes: Mapping[str, str],
    *,
    kinds: Sequence[str],
    exclude: Sequence[str],
    not_called: Sequence[str],
) -> Layout:
    """Choose the sites among the calls of a forward pass; find blocks and stages.

    A block is the smallest module with at least two sites whose class occurs at least twice. A
    block of more than `LARGEST_BLOCK` sites is cut. A stage ends where the spatial size changes at
    the end of a block. Squeeze-and-excitation gates are no sites, and neither are activations
    before the first block (the stem), unless `exclude` is `none`.

    Args:
        calls: `path`, `is_function`, `kind`, `shape` and `convs` of each call, in forward order.
        classes: path of each module -> name of its class; containers such as Sequential are empty.
        kinds: activations that are sites.
        exclude: patterns of names that are no sites.
        not_called: activation modules that were not called.
    """
    every = tuple(Place(c["path"], c["is_function"], c["kind"], "") for c in calls)
    names = Layout(every, 0, False, ()).names
    out = [
        _reason(place, name, classes, kinds, exclude)
        for place, name in zip(every, names, strict=True)
    ]
    chosen = [i for i, reason in enumerate(out) if not reason]
    containers = _containers({i: every[i] for i in chosen}, classes)
    has_blocks = any(containers.values())
    if has_blocks and NOTHING not in exclude:
        first = next(i for i in chosen if containers[i])
        for i in chosen:
            if i < first:
                out[i] = "stem"
        chosen = [i for i in chosen if i >= first]
    blocks = _blocks(chosen, containers)
    stages = _stages(blocks, [tuple(c["shape"][1:]) for c in calls])
    where = {
        i: (stages[b], b, position)
        for b, block in enumerate(blocks)
        for position, i in enumerate(block)
    }
    places = tuple(
        Place(p.path, p.is_function, p.kind, out[i], *where.get(i, (-1, -1, -1)))
        for i, p in enumerate(every)
    )
    convs = calls[chosen[-1]]["convs"] - calls[chosen[0]]["convs"] if chosen else 0
    return Layout(places, convs, has_blocks, tuple(not_called))


def _reason(
    place: Place,
    name: str,
    classes: Mapping[str, str],
    kinds: Sequence[str],
    exclude: Sequence[str],
) -> str:
    """Why a call is no site; empty: it may be one."""
    if place.kind not in kinds:
        return f"{place.kind} is not in --sites"
    for pattern in exclude:
        if fnmatchcase(name, pattern) or fnmatchcase(place.path, pattern):
            return f"--exclude {pattern}"
    owners = [classes.get(path, "") for path in _ancestors(place)]
    if NOTHING not in exclude and (
        _GATE_PATH.search(place.path) or any(map(_GATE_CLASS.search, owners))
    ):
        return "squeeze-and-excitation gate"
    return ""


def _ancestors(place: Place) -> Iterator[str]:
    """Paths of the modules that contain a call, the innermost first, without the network."""
    path = place.path if place.is_function else place.path.rpartition(".")[0]
    while path:
        yield path
        path = path.rpartition(".")[0]


def _containers(sites: Mapping[int, Place], classes: Mapping[str, str]) -> dict[int, str]:
    """For each site the smallest repeated module with at least two sites; empty: there is none."""
    inside = Counter(path for place in sites.values() for path in _ancestors(place))
    repeated = Counter(classes.get(path, "") for path in inside)
    return {
        i: next(
            (
                path
                for path in _ancestors(place)
                if inside[path] > 1 and classes.get(path) and repeated[classes[path]] > 1
            ),
            "",
        )
        for i, place in sites.items()
    }


def _blocks(chosen: Sequence[int], containers: Mapping[int, str]) -> list[list[int]]:
    """The sites of each block, blocks in order of their first site."""
    groups: dict[tuple[str, int], list[int]] = {}
    run = 0  # of consecutive sites without a container
    for i, before in zip(chosen, [None, *chosen], strict=False):
        run += before is None or bool(containers[i]) or bool(containers[before])
        key = (containers[i], 0) if containers[i] else ("", run)
        groups.setdefault(key, []).append(i)
    blocks = []
    for (container, _), group in groups.items():
        most = LARGEST_BLOCK if container else _LOOSE
        pieces = -(-len(group) // most)
        size = -(-len(group) // pieces) if container else _LOOSE
        blocks += [group[start : start + size] for start in range(0, len(group), size)]
    return sorted(blocks)


def _stages(blocks: Sequence[Sequence[int]], sizes: Sequence[tuple[int, ...]]) -> list[int]:
    """The stage of each block."""
    stages: list[int] = []
    for block, before in zip(blocks, [None, *blocks], strict=False):
        changes = before is not None and sizes[block[-1]] != sizes[before[-1]]
        stages.append(stages[-1] + changes if stages else 0)
    return stages


def _is_place(row: object) -> bool:
    kinds = (str, bool, str, str, int, int, int)
    return (
        isinstance(row, list)
        and len(row) == len(kinds)
        and all(type(value) is kind for value, kind in zip(row, kinds, strict=True))
        and all(len(value) <= _MAX_TEXT for value in row if type(value) is str)
    )


def _require_consecutive(layout: Layout) -> None:
    """Check that stages, blocks and positions count up from 0.

    Raises:
        InputError: they do not.
    """
    sites = [layout.places[i] for i in layout.sites]
    blocks: dict[int, list[Place]] = {}
    for site in sites:
        blocks.setdefault(site.block, []).append(site)
    stages = [block[0].stage for _, block in sorted(blocks.items())]
    if not (
        sites
        and sorted(blocks) == list(range(len(blocks)))
        and all([s.position for s in block] == list(range(len(block))) for block in blocks.values())
        and all(len({s.stage for s in block}) == 1 for block in blocks.values())
        and max(map(len, blocks.values())) <= LARGEST_BLOCK
        and stages[0] == 0
        and all(b - a in (0, 1) for a, b in pairwise(stages))
    ):
        raise InputError("the layout of a network is damaged; restore the file")
