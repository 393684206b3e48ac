"""The pattern of a placement on another network, by relative depth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from search_spaces import Architecture, Placement, SearchSpace, Site


def carried_over(placement: Placement, source: Architecture, space: SearchSpace) -> Placement:
    """The placement of a space that is most like a placement of another network.

    Each site of the space takes the bit of the site of the other network at the same relative
    depth: that of the block whose middle is nearest in depth, at the same position in the block if
    the blocks have the same positions, else at the same relative place. Each unit of the space then
    takes the choice that differs in the fewest sites.

    Args:
        placement: of `source`.
        source: the other network.
        space: on the network that takes the pattern over.
    """
    bits = _at_same_depth(placement, source, space.backbone)
    params: dict[str, str] = {}
    for unit in space.units:
        wanted = [bits[site] for site in unit.sites]
        if not unit.sites:  # the norms of dropped ReLUs
            params[unit.name] = placement.dropped_norm
            continue
        params[unit.name] = min(unit.choices, key=lambda c: _differences(unit.choices[c], wanted))
    return space.decode(params)


def _at_same_depth(placement: Placement, source: Architecture, target: Architecture) -> list[str]:
    """A bit for each site of `target`."""
    there, here = _blocks(source), _blocks(target)
    bits = [""] * len(target.sites)
    for place, sites in enumerate(here):
        others = there[int((place + 0.5) / len(here) * len(there))]
        of_position = {site.positions: site for site in others}
        for index, site in enumerate(sites):
            near = others[int((index + 0.5) / len(sites) * len(others))]
            bits[site.index] = placement.bits[of_position.get(site.positions, near).index]
    return bits


def _blocks(network: Architecture) -> list[list[Site]]:
    """The sites of each block, in forward order."""
    blocks: Mapping[int, list[Site]] = defaultdict(list)
    for site in network.sites:
        blocks[site.block].append(site)
    return [blocks[block] for block in sorted(blocks)]


def _differences(choice: str, wanted: Sequence[str]) -> int:
    return sum(one != other for one, other in zip(choice, wanted, strict=True))
