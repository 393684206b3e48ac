"""Weights and checkpoints on disk, as safetensors: written whole or not at all, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from search_spaces import InputError
from trials.files.durable import write_whole
from trials.training.optimizer import NesterovSGD

_CPU_RANDOM, _CUDA_RANDOM = "random.cpu", "random.cuda"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's `state_dict`, whole or not at all.

    Raises:
        StorageError: the disk refuses.
    """
    write_whole(path, save(_stored(model.state_dict())))


def load_weights(model: nn.Module, path: Path) -> None:
    """Read weights into a model with exactly the same names and shapes.

    Raises:
        InputError: the file is missing, damaged, or does not fit; has the first mismatches.
    """
    require_fit(model, path)
    model.load_state_dict(load_file(path))


def require_fit(model: nn.Module, path: Path) -> None:
    """Check names and shapes of a weights file. Reads its header only.

    Args:
        model: may be on the meta device, so that a wrong description takes no memory.
        path: of a safetensors file.

    Raises:
        InputError: as `load_weights`.
    """
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"weights {path} cannot be read ({error}); a complete safetensors file is needed"
        ) from error
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if expected != found:
        differ = sorted(
            n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)
        )
        details = "; ".join(
            f"{n:.80}: expected {expected.get(n, 'nothing')}, found {found.get(n, 'nothing')}"
            for n in differ[:3]
        )
        raise InputError(
            f"weights {path} do not fit the network: {len(differ)} mismatches, first {details}; "
            "give the weights that belong to this backbone, width, placement and class count"
        )


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run after its last finished epoch, in one safetensors file.

    The file holds the model's `state_dict`, the optimizer's momenta and torch's random state; its
    metadata hold the metrics of every epoch and the key. Image order, crops and flips need no
    state: they depend on (seed, epoch) only.

    Attributes:
        path: of the file, which need not exist.
        key: identifies what is trained; a file with another key is not used.
    """

    path: Path
    key: str

    def save(
        self,
        model: nn.Module,
        optimizer: NesterovSGD,
        epochs: Sequence[Mapping[str, float]],
    ) -> None:
        """Write the state after the last of `epochs`.

        Raises:
            StorageError: the disk refuses; a whole checkpoint stays, as a rule the earlier one.
        """
        tensors = {_model(name): value for name, value in model.state_dict().items()}
        tensors |= {_momentum(name): value for name, value in optimizer.momenta.items()}
        tensors[_CPU_RANDOM] = torch.get_rng_state()
        if (device := next(model.parameters()).device).type == "cuda":
            tensors[_CUDA_RANDOM] = torch.cuda.get_rng_state(device)
        metadata = {"key": self.key, "epochs": json.dumps(list(epochs))}
        write_whole(self.path, save(_stored(tensors), metadata))

    def restore(self, model: nn.Module, optimizer: NesterovSGD) -> list[dict[str, Any]]:
        """Restore model, optimizer and random state; returns the metrics of the finished epochs.

        If the file is missing, damaged or of another training, nothing is changed and the list is
        empty: the training starts at its first epoch.
        """
        read = self._read()
        if read is None:
            return []
        tensors, epochs = read
        state, momenta = model.state_dict(), optimizer.momenta
        shapes = {_model(name): value.shape for name, value in state.items()}
        shapes |= {_momentum(name): value.shape for name, value in momenta.items()}
        shapes[_CPU_RANDOM] = torch.get_rng_state().shape
        if any(name not in tensors or tensors[name].shape != shapes[name] for name in shapes):
            return []
        model.load_state_dict({name: tensors[_model(name)] for name in state})
        for name, momentum in momenta.items():
            momentum.copy_(tensors[_momentum(name)])
        torch.set_rng_state(tensors[_CPU_RANDOM])
        device = next(model.parameters()).device
        if device.type == "cuda" and _CUDA_RANDOM in tensors:
            torch.cuda.set_rng_state(tensors[_CUDA_RANDOM], device)
        return epochs

    def _read(self) -> tuple[dict[str, Tensor], list[dict[str, Any]]] | None:
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self.key:
                    return None
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            return tensors, json.loads(metadata["epochs"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None


def _model(name: str) -> str:
    return f"model.{name}"


def _momentum(name: str) -> str:
    return f"momentum.{name}"


def _stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
