"""Weights on disk: safetensors, written whole or not at all. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from search_spaces import InputError
from trials.files import write_whole


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's `state_dict` to a temporary file beside `path`, then rename it."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    write_whole(path, save(tensors))


def load_weights(model: nn.Module, path: Path) -> None:
    """Read weights into a model that has exactly these names and shapes.

    Raises:
        InputError: the file is missing, damaged, or does not fit; names the first mismatches.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"weights {path} cannot be read ({error}); a complete safetensors file is needed"
        ) from error
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != found:
        names = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        details = "; ".join(
            f"{n}: expected {expected.get(n, 'nothing')}, found {found.get(n, 'nothing')}"
            for n in names[:3]
        )
        raise InputError(
            f"weights {path} do not fit the network: {len(names)} mismatches, first {details}; "
            "give the weights that belong to this backbone, width, placement and class count"
        )
    model.load_state_dict(tensors)
