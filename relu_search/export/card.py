"""Reads and checks the card of an exported model. docs/card.md lists its keys."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces import Architecture, FunctionBackbone, InputError, backbone_from_json
from trials.files.given import open_given, read_given
from trials.files.paths import user_path

CARD = "card.json"
WEIGHTS = "model.safetensors"
CARD_SCHEMA = 3

_MAX_CARD_BYTES = 1_000_000
_MAX_DIGITS = 18
"""Of a whole number, so that it fits into 64 bits."""
_REQUIRED = {
    "schema": int,
    "backbone": str,
    "width": int,
    "placement": str,
    "num_classes": int,
    "in_channels": int,
    "files": dict,
}
_OPTIONAL = {"network": dict, "activation": str, "classes": list, "training": dict, "verdict": dict}


def read_card(path: str | Path) -> dict[str, Any]:
    """Read and check a card, of this schema or an older one.

    Args:
        path: path of the card or of its folder.

    Raises:
        InputError: the card is missing, not JSON, of a newer schema, lacks a required entry, or has
            an entry of another type.
    """
    file = card_path(path)
    try:
        content = read_given(file, _MAX_CARD_BYTES)
    except OSError as error:
        raise InputError(
            f"card {file} cannot be read: {error.strerror or error}; give a card.json or its folder"
        ) from error
    return _checked(content, f"card {file}")


def card_text(card: Mapping[str, Any]) -> str:
    """The text of a card file, which `read_card` accepts.

    Raises:
        InputError: an entry cannot be in a card, or the card is too large.
    """
    try:
        text = json.dumps(card, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the card cannot be written: {error}; correct its entries") from error
    if len(text) > _MAX_CARD_BYTES:
        raise InputError(
            f"the card would have {len(text):,} bytes, at most {_MAX_CARD_BYTES:,} are possible; "
            "leave out entries that are not needed"
        )
    _checked(text.encode(), "the card")
    return text


def _checked(content: bytes, where: str) -> dict[str, Any]:
    try:
        card = json.loads(
            content.decode("utf-8-sig"),
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_finite,
        )
        json.dumps(card, ensure_ascii=False).encode()  # fails if it has a lone surrogate
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON: {error}") from error
    if not isinstance(card, dict):
        raise InputError(f"{where} must be a JSON object")
    for key, kind in _REQUIRED.items():
        if key == "width" and card.get("network") is not None:
            continue
        if type(card.get(key)) is not kind:
            raise InputError(
                f"{where}: {key!r} is {card.get(key)!r:.80}; it must be a {kind.__name__}"
            )
    if not 1 <= card["schema"] <= CARD_SCHEMA:
        raise InputError(
            f"{where} has schema {card['schema']}; this version reads 1 to {CARD_SCHEMA}, "
            "so update relu-search"
        )
    for key, kind in _OPTIONAL.items():
        if not isinstance(card.get(key), kind | None):
            raise InputError(
                f"{where}: {key!r} is {card[key]!r:.80}; it must be a {kind.__name__} or null"
            )
    classes = card.get("classes")
    if classes is not None and not (
        all(isinstance(name, str) for name in classes) and len(classes) == card["num_classes"]
    ):
        raise InputError(
            f"{where}: 'classes' is {classes!r:.80}; it must have {card['num_classes']} texts"
        )
    return card


def backbone_of(card: Mapping[str, Any], named: str | None = None) -> Architecture:
    """The backbone of a card. Runs no code that the card names.

    Args:
        named: the backbone as the user names it; the code of a network may then be run.

    Raises:
        InputError: malformed entries, or another backbone than the named one.
    """
    backbone = backbone_from_json(card, may_run=False)
    if isinstance(backbone, FunctionBackbone):
        backbone = backbone.named_again(named)
        backbone.require_runnable()
    elif named not in (None, backbone.name):
        raise InputError(f"backbone {named!r:.80} is not {backbone.name}, that of the card")
    return backbone


def backbone_entries(backbone: Architecture) -> dict[str, Any]:
    """The entries of a card on its backbone; of a user's file only the name, as cards travel."""
    entries = backbone.to_json()
    if isinstance(backbone, FunctionBackbone) and backbone.choice.source.kind == "file":
        source = entries["network"]["source"]
        source["place"] = Path(source["place"]).name
        entries["backbone"] = backbone.name
    return entries


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{text[:20]}... has more than {_MAX_DIGITS} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def image_size_of(card: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) in pixels of the model's images; None: the card has no such entry.

    Raises:
        InputError: the entry is not two whole numbers from 8 to 4096.
    """
    size = card.get("image_size")
    if size is None:
        return None
    if not (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(type(n) is int and 8 <= n <= 4096 for n in size)
    ):
        raise InputError(
            f"the card's image_size is {size!r:.80}; it must be [height, width], 8 to 4096 pixels"
        )
    return size[0], size[1]


def normalisation_of(card: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(mean, standard deviation) per channel in 0-255; None: the card has no such entry.

    Raises:
        InputError: the entry lacks numbers, or a standard deviation is not above 0.
    """
    entry = card.get("normalisation")
    if entry is None:
        return None
    channels = card["in_channels"]
    both: list[tuple[float, ...]] = []
    for key in ("mean", "std"):
        numbers = entry.get(key) if isinstance(entry, dict) else None
        if not (
            isinstance(numbers, list | tuple)
            and len(numbers) == channels
            and all(type(n) in (int, float) for n in numbers)
        ):
            raise InputError(
                f"the card's normalisation is {entry!r:.80}; it must have a mean and a std with "
                f"{channels} numbers each"
            )
        both.append(tuple(float(n) for n in numbers))
    mean, std = both
    if min(std) <= 0:
        raise InputError(f"the card's std is {list(std)}; every one must be above 0")
    return mean, std


def versions() -> dict[str, str]:
    """Versions of Python, of this project, and of the libraries that can change a result."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    names = ("relu-search", "torch", "torchvision", "ray", "optuna", "numpy", "onnx", "onnxruntime")
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card_path(path: str | Path) -> Path:
    """The path of a card, given its path or that of its folder."""
    given = user_path(path)
    return given / CARD if given.is_dir() else given


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open_given(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
