"""Hand over a model: a card that says what it is, and its weights as safetensors.

Sources of a model: one built in Python, or a card with weights beside it. `load_exported` rebuilds
the network from the two files alone; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces import Backbone, InputError, Placement, build, module_name_of, ratio_text
from search_spaces.networks import Network
from trials.checkpoint import load_weights, save_weights
from trials.files import user_path, write_whole

CARD = "card.json"
WEIGHTS = "model.safetensors"
CARD_SCHEMA = 1
FORMATS = ("safetensors",)

_MAX_CARD_BYTES = 1_000_000
_REQUIRED = {
    "schema": int,
    "backbone": str,
    "width": int,
    "placement": str,
    "num_classes": int,
    "in_channels": int,
    "files": dict,
}


def export_model(
    model: Network | str | Path,
    out: str | Path,
    formats: Sequence[str] = FORMATS,
    *,
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Write `card.json` and the model in the formats asked for.

    ```python
    export_model(build("plain-20", "2:1"), "out/")
    load_exported("out/")
    ```

    Args:
        model: a built network, or the path of a card or of its folder.
        out: folder to write to; made when missing.
        formats: of `FORMATS`.
        details: more entries for the card: normalisation, classes, how it was trained, ...

    Returns:
        The path of the card.

    Raises:
        InputError: unknown format, a model that is not ours, or a folder that cannot be written.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"format {name!r} is unknown; use one of {', '.join(FORMATS)}")
    extra = dict(details or {})
    if isinstance(model, str | Path):
        extra = {**read_card(model), **extra}
        model = load_exported(model)
    if not isinstance(model, Network):
        raise InputError(
            f"cannot export a {type(model).__name__}; give a network made by search_spaces.build, "
            "or the path of a card"
        )
    folder = user_path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(model, folder / WEIGHTS)
        card = _card_of(model, extra, {WEIGHTS: _sha256(folder / WEIGHTS)})
        write_whole(folder / CARD, json.dumps(card, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(
            f"output folder {folder} cannot be written ({error.strerror or error}); give another"
        ) from error
    return folder / CARD


def load_exported(path: str | Path) -> Network:
    """Rebuild an exported network, in eval mode.

    Args:
        path: of the card, or of the folder that holds it.

    Raises:
        InputError: a damaged card, or weights that are missing, altered, or do not fit.
    """
    card_path = _card_path(path)
    card = read_card(card_path)
    model = build(
        Backbone.parse(card["backbone"], card["width"]),
        Placement.parse(card["placement"]),
        num_classes=card["num_classes"],
        in_channels=card["in_channels"],
        activation=card.get("activation", "relu"),
    )
    weights = card_path.parent / WEIGHTS
    load_weights(model, weights)
    if _sha256(weights) != card["files"].get(WEIGHTS):
        raise InputError(
            f"weights {weights} are not those of {card_path}: the checksum differs; "
            "export the model again"
        )
    return model.eval()


def read_card(path: str | Path) -> dict[str, Any]:
    """Read and check a card.

    Raises:
        InputError: missing, not JSON, of a newer schema, or without a needed entry.
    """
    card_path = _card_path(path)
    try:
        if card_path.stat().st_size > _MAX_CARD_BYTES:
            raise InputError(f"card {card_path} is larger than {_MAX_CARD_BYTES} bytes; not a card")
        card = json.loads(card_path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"card {card_path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"card {card_path} is not valid JSON: {error}") from error
    if not isinstance(card, dict):
        raise InputError(f"card {card_path} must be a JSON object")
    for key, kind in _REQUIRED.items():
        if type(card.get(key)) is not kind:
            raise InputError(
                f"card {card_path}: {key!r} is {card.get(key)!r}; it must be a {kind.__name__}"
            )
    if not 1 <= card["schema"] <= CARD_SCHEMA:
        raise InputError(
            f"card {card_path} has schema {card['schema']}; this version reads 1 to {CARD_SCHEMA}, "
            "so update relu-search"
        )
    return card


def _card_of(
    model: Network, details: Mapping[str, Any], files: Mapping[str, str]
) -> dict[str, Any]:
    backbone, placement = model.backbone, model.placement
    return {
        **details,
        "schema": CARD_SCHEMA,
        "backbone": backbone.name,
        "width": backbone.width,
        "placement": placement.text,
        "module": module_name_of(backbone, placement),
        "ratio": ratio_text(backbone, placement),
        "activation": model.activation,
        "num_classes": model.num_classes,
        "in_channels": model.in_channels,
        "versions": versions(),
        "files": dict(files),
    }


def versions() -> dict[str, str]:
    """Versions of this project and of the libraries that shape a result."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("relu-search", "torch", "torchvision", "ray", "optuna", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _card_path(path: str | Path) -> Path:
    given = user_path(path)
    return given / CARD if given.is_dir() else given


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
