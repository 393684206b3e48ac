"""Exports the best trial of a run folder, another trial of it, or the model of a card."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relu_search.analysis.leaderboard import STATE_WORDS, rows_of
from relu_search.export.card import CARD, read_card
from relu_search.export.exported_model import check_options, export_model
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.record import WEIGHTS
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError, build
from search_spaces.errors import shown
from trials.data.image_sets import TrainingData
from trials.files.durable import read_lines
from trials.files.paths import user_path
from trials.files.scratch import STAGING, sweep
from trials.training.checkpoint import load_network

if TYPE_CHECKING:
    from torch import Tensor


def export_from(
    source: str,
    out: str,
    formats: Sequence[str],
    *,
    trial: int | None = None,
    weights: str | None = None,
    backbone: str | None = None,
    fold: str = "never",
    normalise_inside: bool = False,
    opset: int | None = None,
) -> Path:
    """Export from a run folder (its best trial, or `trial`) or from a card.

    The forms are also checked on the run's validation images, if these can be loaded.

    Args:
        source: path of a run folder, of a card, or of its folder.
        out: folder; it must be missing or empty.
        trial: number of the trial; None: the best one.
        weights: a safetensors file made elsewhere, for the network of a card.
        backbone: the backbone, named again if it is code, which runs only then.
        formats, fold, normalise_inside, opset: as in `export_model`.

    Returns:
        The path of the new card.

    Raises:
        InputError: no such source or trial, a trial without weights, or an `out` with content.
    """
    folder = free_folder(out)
    path = user_path(source)
    options: dict[str, Any] = {
        "fold": fold,
        "normalise_inside": normalise_inside,
        "opset": opset,
    }
    check_options(formats, **options)
    if not (path / "config.toml").is_file():
        if trial is not None:
            raise InputError(
                f"{path} is not a run folder, so it has no trial {shown(trial)}; omit --trial"
            )
        return export_model(path, folder, formats, weights=weights, backbone=backbone, **options)
    if weights is not None:
        raise InputError(
            f"{path} is a run folder, which has its own weights; use --weights with a card only"
        )
    run = RunFolder.open(path)
    row = trial_row(run, trial)
    config = run.read_config(backbone)[0]
    config.network.require_runnable()
    options["real_images"] = _validation_images(run)
    return export_trial(run, config, row, folder, formats, **options)


def trial_row(run: RunFolder, trial: int | None) -> dict[str, Any]:
    """The row of `trials.csv` of a trial that has weights.

    Args:
        trial: its number; None: the best trial.

    Raises:
        InputError: there is no such trial, or it has no weights.
    """
    if trial is None:
        card = read_card(best_of(run))
        trial = (card.get("training") or {}).get("trial")
    rows = [row for row in rows_of(run.read_trials()) if row["trial"] == trial]
    if not rows or rows[0]["state"] != "COMPLETE":
        state = STATE_WORDS[rows[0]["state"]] if rows else "not in trials.csv"
        raise InputError(
            f"trial {shown(trial)} of {run.path} is {state}; only full-length trials have weights, "
            "see relu-search report"
        )
    return rows[0]


def best_of(run: RunFolder) -> Path:
    """The folder of the best model of a run.

    Raises:
        InputError: there is none yet.
    """
    if not (run.best / CARD).is_file():
        raise InputError(
            f"{run.path} has no best model: no trial within its ReLU limits has full length yet; "
            "let the search run longer"
        )
    return run.best


def export_trial(
    run: RunFolder,
    config: ResolvedConfig,
    row: Mapping[str, Any],
    out: Path,
    formats: Sequence[str] = ("safetensors",),
    **options: Any,
) -> Path:
    """Export one trial of full length; returns the path of the card.

    Args:
        config: of the run, with a backbone that may be built.
        row: the trial's row of `trials.csv`.
        options: further options of `export_model`.
    """
    weights, data = run.trial_weights(row["trial"]), run.read_config()[1]["data"]
    return export_training(run, config, row, out, formats, weights=weights, data=data, **options)


def export_training(
    run: RunFolder,
    config: ResolvedConfig,
    row: Mapping[str, Any],
    out: Path,
    formats: Sequence[str] = ("safetensors",),
    *,
    weights: Path,
    data: Mapping[str, Any],
    **options: Any,
) -> Path:
    """Export a finished training of a run; returns the path of the card.

    Args:
        config: of the training, with a backbone that may be built.
        row: placement, seed, metrics, and the number of the trial if it is one of the search.
        weights: the file with its weights.
        data: `data_facts` of its data.
        options: further options of `export_model`.
    """
    network = partial(
        build,
        config.network,
        row["placement"],
        num_classes=len(data["classes"]),
        in_channels=data["in_channels"],
        activation=config.activation,
    )
    model = load_network(network, weights)
    details = card_details(config, data, row, run.read_config()[1].get(WEIGHTS))
    details["verdict"] = _verdict(run, row["placement"])
    return export_model(model, out, formats, details=details, **options)


def _verdict(run: RunFolder, placement: str) -> dict[str, str] | None:
    """The row of `verdict.csv` about this placement; None: the run was not confirmed.

    If there are several references, the comparison with paired is chosen.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_lines(run.table("verdict.csv")))))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{run.path / 'verdict.csv'} cannot be read ({error}); confirm the run again"
        ) from error
    about = [row for row in rows if row.get("placement") == placement]
    return min(about, key=lambda row: row.get("versus") != "paired", default=None)


def _validation_images(run: RunFolder) -> Tensor | None:
    """The first validation images of a run, uint8 (N, H, W, C); None: the data are missing."""
    import torch

    try:
        images = run.read_config()[0].load_data().validation.images
    except InputError:
        return None
    return torch.from_numpy(images[:32].copy())


def data_facts(data: TrainingData) -> dict[str, Any]:
    """What a card and a run folder record about the data. It has no images."""
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
    config: ResolvedConfig,
    data: Mapping[str, Any],
    row: Mapping[str, Any],
    weights: str | None = None,
) -> dict[str, Any]:
    """The entries of a card on the training of a model and on the images that it takes.

    Args:
        data: `data_facts` of the training data.
        row: of the trial: seed, metrics, and its number if it belongs to a search.
        weights: digest of the weights from which it started.
    """
    return {
        "image_size": data["image_size"],
        "classes": data["classes"],
        "normalisation": {"mean": data["mean"], "std": data["std"], "range": "0-255"},
        "training": {
            "data": data["name"],
            "train_images": data["train_images"],
            "validation_images": data["validation_images"],
            "split_digest": data["split_digest"],
            "recipe": config.training_recipe.to_json(),
            "start": config.start_text,
            "fine_tuning": _fine_tuning(config, weights),
            "deterministic": config.deterministic,
            "seed": row["seed"],
            "trial": row.get("trial"),
            "val_accuracy": row["val_accuracy"],
            "val_loss": row["val_loss"],
        },
    }


def _fine_tuning(config: ResolvedConfig, weights: str | None) -> dict[str, Any] | None:
    if config.weights is None:
        return None
    return {
        "weights": Path(config.weights).name,
        "digest": weights,
        "new_head": config.new_head,
        "distill": config.distill,
        "temperature": config.distill_temperature,
    }


def free_folder(out: str) -> Path:
    """The path of an output folder, which must be missing or empty.

    Raises:
        InputError: it has content.
    """
    path = user_path(out)
    sweep(path, STAGING)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"output {path} exists and is not an empty folder; use another --out")
    return path
