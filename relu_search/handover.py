"""From a run folder to an exported model: the best trial, another one, or a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relu_search.config import SearchConfig
from relu_search.export import CARD, FORMATS, export_model
from relu_search.leaderboard import rows_of
from relu_search.results import RunFolder
from search_spaces import InputError, build
from trials.checkpoint import load_weights
from trials.data import TrainingData
from trials.files import user_path


def export_from(source: str, out: str, formats: Sequence[str], *, trial: int | None = None) -> Path:
    """Export from a run folder (its best trial, or `trial`) or from a card; the new card's path.

    Raises:
        InputError: no such source or trial, a trial without weights, or an `out` that is not free.
    """
    folder = free_folder(out)
    path = user_path(source)
    if not (path / "config.toml").is_file():
        if trial is not None:
            raise InputError(f"{path} is not a run folder, so --trial {trial} means nothing there")
        return export_model(path, folder, formats)
    run = RunFolder.open(path)
    if trial is None:
        if not (run.best / CARD).is_file():
            raise InputError(f"{path} has no trial of full length yet; let the search run longer")
        return export_model(run.best, folder, formats)
    rows = [row for row in rows_of(run.read_trials()) if row["trial"] == trial]
    if not rows or rows[0]["state"] != "COMPLETE":
        state = rows[0]["state"] if rows else "not in trials.csv"
        raise InputError(
            f"trial {trial} of {run.path} is {state}; only trials of full length have weights, "
            "see relu-search report"
        )
    return export_trial(run, rows[0], folder, formats)


def export_trial(
    run: RunFolder, row: Mapping[str, Any], out: Path, formats: Sequence[str] = FORMATS
) -> Path:
    """Write card and weights of one trial of full length; the path of the card.

    Args:
        row: the trial's row of `trials.csv`.
    """
    config, record = run.read_config()
    data = record["data"]
    model = build(
        config.network,
        row["placement"],
        num_classes=len(data["classes"]),
        in_channels=data["in_channels"],
        activation=config.activation,
    )
    load_weights(model, run.trial_weights(row["trial"]))
    return export_model(model, out, formats, details=card_details(config, data, row))


def data_facts(data: TrainingData) -> dict[str, Any]:
    """What a card and a run folder keep of the data: enough to feed the model, no images."""
    return {
        "name": data.name,
        "train_images": len(data.train),
        "validation_images": len(data.validation),
        "split_seed": data.split_seed,
        "split_digest": data.split_digest,
        "image_size": list(data.image_size),
        "in_channels": data.in_channels,
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
    }


def card_details(
    config: SearchConfig, data: Mapping[str, Any], row: Mapping[str, Any]
) -> dict[str, Any]:
    """The entries of a card that tell where a model comes from and how to feed it.

    Args:
        data: `data_facts` of the training data.
        row: of the trial: seed, metrics, and its number where it belongs to a search.
    """
    recipe = config.training_recipe
    return {
        "image_size": data["image_size"],
        "classes": data["classes"],
        "normalisation": {"mean": data["mean"], "std": data["std"], "range": "0-255"},
        "training": {
            "data": data["name"],
            "train_images": data["train_images"],
            "validation_images": data["validation_images"],
            "split_digest": data["split_digest"],
            "recipe": {name: getattr(recipe, name) for name in recipe.__dataclass_fields__},
            "seed": row["seed"],
            "trial": row.get("trial"),
            "val_accuracy": row["val_accuracy"],
            "val_loss": row["val_loss"],
        },
    }


def free_folder(out: str) -> Path:
    """A folder that does not exist yet or is empty.

    Raises:
        InputError: it exists and holds something.
    """
    path = user_path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"output {path} exists and is not an empty folder; give another --out")
    return path
