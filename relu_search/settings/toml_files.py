"""TOML files of options and of recipes; recipes that options have changed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from relu_search.settings.search_options import RECIPE_OPTIONS
from search_spaces import InputError
from trials.files.given import read_given
from trials.files.paths import user_path
from trials.training.recipe import Recipe

_MAX_TOML_BYTES = 4_000_000
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
