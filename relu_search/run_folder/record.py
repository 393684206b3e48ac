"""The `[record]` of a run's `config.toml`: facts about the run, and their types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from search_spaces import FunctionBackbone, InputError, backbone_from_json
from search_spaces.any_network.source import is_source

NETWORK = "network"
"""Table of the `[record]`: the network of a function, with its sites."""
WEIGHTS = "weights"
"""Key of the `[record]`: digest of the weights from which trainings start; else it is missing."""
DECIDED, EARLIER = "decided", "earlier"
"""Keys of the `[record]`: why a search ended before its budget, and what it took from an earlier
run, both as a sentence; else they are missing."""
_LARGEST_SIDE = 4096  # pixels
Rule = tuple[str, Callable[[Any], bool]]


def check_record(record: object, where: str) -> dict[str, Any]:
    """The record, if it has all facts that a search writes, each of its type.

    Raises:
        InputError: it has not.
    """
    if not isinstance(record, dict) or not isinstance(record.get("data"), dict):
        raise InputError(f"{where} has no [record] of a search; it is not a run's config")
    missing = _DATA.keys() - record["data"].keys()
    if missing:
        raise InputError(f"{where}: [record.data] lacks {', '.join(sorted(missing))}")
    _check(record, _RECORD, f"{where}: [record]")
    _check(record["data"], _DATA, f"{where}: [record.data]")
    channels = record["data"]["in_channels"]
    for name in ("mean", "std"):
        if len(record["data"][name]) != channels:
            raise InputError(f"{where}: [record.data] {name} must have {channels} numbers")
    return record


def recorded_network(
    name: object, record: Mapping[str, Any], where: str
) -> FunctionBackbone | None:
    """The network of a function, from the record of its run; None: a family's."""
    if not (isinstance(name, str) and is_source(name)):
        return None
    network = backbone_from_json({NETWORK: record.get(NETWORK, {})}, may_run=False)
    assert isinstance(network, FunctionBackbone)
    if network.to_json()["backbone"] != name:
        raise InputError(f"{where}: backbone and [record.{NETWORK}] are of different networks")
    return network


def sentences(record: Mapping[str, Any]) -> list[str]:
    """What the record says about how the search went."""
    return [record[name] for name in (EARLIER, DECIDED) if name in record]


def _check(values: Mapping[str, Any], rules: Mapping[str, Rule], where: str) -> None:
    for name, (rule, holds) in rules.items():
        if not holds(values.get(name)):
            raise InputError(f"{where} {name} is {values.get(name)!r:.80}; it must be {rule}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(one) in (int, float) and math.isfinite(one) for one in value
    )


_RECORD: Mapping[str, Rule] = {
    "study": ("a text", _is_text),
    "space_size": ("a text, or left out", lambda value: value is None or _is_text(value)),
    **{
        name: ("a text, or left out", lambda value: value is None or _is_text(value))
        for name in (WEIGHTS, DECIDED, EARLIER)
    },
    "versions": (
        "a table of texts, or left out",
        lambda value: (
            value is None
            or (isinstance(value, dict) and all(_is_text(one) for one in value.values()))
        ),
    ),
}
_DATA: Mapping[str, Rule] = {
    "name": ("a text", _is_text),
    "classes": (
        "a list of at least two texts",
        lambda value: isinstance(value, list) and len(value) > 1 and all(map(_is_text, value)),
    ),
    "in_channels": ("1 or 3", lambda value: type(value) is int and value in (1, 3)),
    "image_size": (
        f"[height, width], 1 to {_LARGEST_SIDE} pixels",
        lambda value: (
            isinstance(value, list)
            and len(value) == 2
            and all(_is_count(side) and side <= _LARGEST_SIDE for side in value)
        ),
    ),
    "mean": ("a list of finite numbers", _are_numbers),
    "std": (
        "a list of finite numbers above 0",
        lambda value: _are_numbers(value) and all(one > 0 for one in value),
    ),
    "split_digest": ("a text", _is_text),
    "train_images": ("a whole number, at least 1", _is_count),
    "validation_images": ("a whole number, at least 1", _is_count),
}
