"""Files and folders that options name: of options, of recipes, of placements; absolute paths."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from relu_search.settings.network_options import SMALL_DATA
from relu_search.settings.search_options import RECIPE_OPTIONS, SearchOptions
from search_spaces import (
    Architecture,
    DroppedNorm,
    InputError,
    Placement,
    module_name_of,
    resolve_placement,
)
from search_spaces.errors import printable
from trials.files.given import read_given
from trials.files.paths import absolute_data, absolute_path, data_directory, user_path
from trials.files.storage_urls import with_absolute_file
from trials.training.recipe import PRETRAINED, Recipe

_MAX_TOML_BYTES = 4_000_000
_MAX_PLACEMENTS_BYTES = 50_000_000
_LONGEST_NAME = 60
_ARM_OF_TRIAL = "trial "
_LONGEST_LINE = 10_000  # of a TOML file: the time for `a.a.a... = 1` grows with its square


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: the file is missing, no regular file, too large, or not TOML; or a whole number
            has more than 64 bits, which TOML does not promise.
    """
    try:
        content = read_given(file, _MAX_TOML_BYTES)
    except OSError as error:
        raise InputError(f"config {file} cannot be read: {error.strerror or error}") from error
    if max(map(len, content.splitlines()), default=0) > _LONGEST_LINE:
        raise InputError(f"config {file} has a line of over {_LONGEST_LINE} bytes; not a config")
    try:
        text = content.decode("utf-8-sig")  # Windows editors write a byte-order mark
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(f"config {file} is not UTF-8 text; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"config {file} is not valid TOML: {error}") from error
    values: list[Any] = [document]
    while values:
        value = values.pop()
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(
                f"config {file} has a whole number of {value.bit_length()} bits; write at most 64"
            )
    return document


def read_recipe(file: str) -> Recipe:
    """The recipe of a TOML file; its name is that of the file, if it has no other.

    Raises:
        InputError: as `read_toml`; or an unknown key or a wrong value.
    """
    path = user_path(file)
    values = {"name": path.stem} | read_toml(path)
    try:
        return recipe_of_table(values)
    except InputError as error:
        raise InputError(f"recipe {file}: {error}") from error


def recipe_of_table(values: dict[str, Any]) -> Recipe:
    """The recipe of a TOML table; a key may have a hyphen for each underscore.

    Raises:
        InputError: an unknown key or a wrong value.
    """
    return Recipe.from_json({key.replace("-", "_"): value for key, value in values.items()})


def changed_recipe(recipe: str | Recipe, options: Mapping[str, Any]) -> Recipe:
    """A recipe with other values; its name is `custom` if more than epochs or precision differ.

    Args:
        recipe: itself, its name, or a TOML file.
        options: by name; those that are None, or no option of a recipe, count as not given.

    Raises:
        InputError: an unknown recipe, an unreadable file, or a value out of range.
    """
    if isinstance(recipe, str):
        is_file = recipe.lower().endswith(".toml")
        recipe = read_recipe(recipe) if is_file else Recipe.named(recipe)
    given = {
        name: options[name]
        for name in ("epochs", "precision", *RECIPE_OPTIONS)
        if options.get(name) is not None
    }
    if "milestones" in given:
        given["milestones"] = _shares(given["milestones"])
    changed = replace(recipe, **given)
    same = replace(changed, epochs=recipe.epochs, precision=recipe.precision) == recipe
    return changed if same else replace(changed, name="custom")


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"milestones is {text!r:.60}; write shares of the training, such as 0.5,0.75"
        ) from None


def options_of_recipe(recipe: Recipe) -> dict[str, Any]:
    """The values of a recipe as options."""
    values = {name: getattr(recipe, name) for name in RECIPE_OPTIONS}
    return {**values, "milestones": ",".join(map(repr, recipe.milestones))}


def own_placements(
    given: str | Mapping[str, str], backbone: Architecture, norm: DroppedNorm
) -> dict[str, Placement]:
    """Placements of the user, by name.

    Args:
        given: a file, or name -> placement text. A file has one placement or module in each line,
            with a name behind it where the user gives one; the rest of a line after `#` is ignored.
            Or it is the `trials.csv` of a run, whose placements are taken once each.
        backbone: of the placements.
        norm: whether dropped ReLUs lose their BatchNorms.

    Raises:
        InputError: a file that cannot be read or has no placement, a placement that does not fit
            the backbone, or a name or placement that comes twice or is another module's.
    """
    lines = [("", text, name) for name, text in given.items()] if not isinstance(given, str) else []
    if isinstance(given, str):
        lines = list(_lines_of(given))
    own: dict[str, Placement] = {}
    for where, text, name in lines:
        try:
            placement = resolve_placement(backbone, text, norm)
            chosen = name or module_name_of(backbone, placement) or placement.text
            _check_own(chosen, placement, own, backbone)
        except InputError as error:
            raise InputError(f"{where}{error}") from error
        own[chosen] = placement
    if not own:
        raise InputError(f"try {str(given)!r:.80} has no placement; write one in each line")
    return own


def _check_own(
    name: str, placement: Placement, own: Mapping[str, Placement], backbone: Architecture
) -> None:
    is_long = len(name) > _LONGEST_NAME and name != placement.text
    if is_long or name != printable(name) or "," in name or name.startswith(_ARM_OF_TRIAL):
        raise InputError(
            f"name {name!r:.80} cannot be used; write at most {_LONGEST_NAME} printable characters "
            f"without a comma, and not {_ARM_OF_TRIAL}N"
        )
    canonical = backbone.canonical(placement)
    taken = next((n for n, other in own.items() if backbone.canonical(other) == canonical), None)
    if taken is not None or name in own:
        raise InputError(f"{name} comes twice, also as {taken or name}; give each once")
    module = module_name_of(backbone, placement)
    is_free = name == placement.text or not _is_module(backbone, name)
    if name != module and (module or not is_free):
        raise InputError(
            f"{name} ({placement.text[:80]}) and the module {module or name} differ in name or in "
            "placement; leave the name out, or give another one"
        )


def _is_module(backbone: Architecture, name: str) -> bool:
    try:
        resolve_placement(backbone, name)
    except InputError:
        return False
    return True


def _lines_of(file: str) -> Iterator[tuple[str, str, str]]:
    """(file and line, placement, name or an empty text) of each placement of a file."""
    path = user_path(file)
    try:
        text = read_given(path, _MAX_PLACEMENTS_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"try {file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"try {file} is not UTF-8 text; save it as UTF-8") from error
    lines = text.splitlines()
    if lines and lines[0].startswith("trial,"):
        seen = dict.fromkeys(row.get("placement") or "" for row in csv.DictReader(lines))
        yield from ((f"{file}: ", placement, "") for placement in seen)
        return
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split(maxsplit=1)
        if words:
            yield f"{file}, line {number}: ", words[0], words[1].strip() if words[1:] else ""


def places_of(typed: SearchOptions) -> dict[str, str]:
    """The options that name a place, as absolute paths."""
    name = typed.data if isinstance(typed.data, str) else typed.data.name
    places = {"data": absolute_data(name)}
    if typed.data_dir is not None:
        places["data_dir"] = absolute_path(typed.data_dir)
    elif name != SMALL_DATA and ":" not in name:
        folder = data_directory(None)
        if not folder.is_absolute():  # else RELU_SEARCH_DATA may differ between machines
            places["data_dir"] = absolute_path(folder)
    if typed.exchange is not None:
        url = "://" in typed.exchange
        places["exchange"] = typed.exchange if url else absolute_path(typed.exchange)
    if typed.weights is not None:
        places["weights"] = absolute_weights(typed.weights)
    if typed.earlier is not None:
        places["earlier"] = absolute_path(typed.earlier)
    if typed.storage is not None:
        places["storage"] = with_absolute_file(typed.storage)
    return places


def absolute_weights(weights: str) -> str:
    """The option `weights` such that it names the same file from any working directory."""
    return weights if weights == PRETRAINED else absolute_path(weights)
