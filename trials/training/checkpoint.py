"""Weights and checkpoints on disk, as safetensors: written whole or not at all, no pickle."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from search_spaces import InputError
from search_spaces.networks.build import AnyNetwork
from trials.files.durable import write_whole
from trials.files.given import open_given
from trials.files.memory import require_memory
from trials.training.optimizer import Optimizer

_CPU_RANDOM, _CUDA_RANDOM = "random.cpu", "random.cuda"
_FLOATS, _INTEGERS = ("F64", "F32", "F16", "BF16"), ("I64", "I32", "I16", "I8", "U8")
"""Types of the tensors in a file of weights, as safetensors names them."""
_MAX_HEADER = 2**24
_COPIES = 3
"""Memory of a network while its weights are loaded and used, in sizes of the network."""

PLACEMENT = "placement"
"""Key in the metadata of a file of weights: the placement of their network."""

Module = TypeVar("Module", bound=nn.Module)
Shape = tuple[int, ...]


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's `state_dict`, whole or not at all. The metadata have its placement.

    Raises:
        StorageError: the disk refuses.
    """
    metadata = {PLACEMENT: model.placement.text} if isinstance(model, AnyNetwork) else None
    write_whole(path, save(_stored(model.state_dict()), metadata))


def load_network(make: Callable[[], Module], path: Path) -> Module:
    """A network with the weights of a file.

    It is made only after the header of the file shows its names and shapes, so that a description
    of a huge network cannot use up the memory.

    Args:
        make: makes the network, on torch's default device.

    Raises:
        InputError: as `load_weights`; or the network does not fit into memory.
    """
    with torch.device("meta"):
        skeleton = make()
    require_fit(skeleton, path)
    size = sum(value.numel() * value.element_size() for value in skeleton.state_dict().values())
    require_memory(f"the network of {path}", _COPIES * size, "load it on a larger machine")
    model = make()
    load_weights(model, path)
    return model


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
        check_header(path)
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: tuple(one.get_shape()) for name, one in slices.items()}
            types = {name: str(one.get_dtype()) for name, one in slices.items()}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"weights {path} cannot be read ({error}); a complete safetensors file is needed"
        ) from error
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if expected != found:
        raise InputError(
            f"weights {path} do not fit the network: {mismatches(expected, found)}; "
            "give the weights that belong to this backbone, width, placement and class count"
        )
    for name, value in model.state_dict().items():
        known = _FLOATS if value.is_floating_point() else _INTEGERS
        if types[name] not in known:
            raise InputError(
                f"weights {path}: {name:.80} has the type {types[name]}; it must be one of "
                f"{', '.join(known)}"
            )


def mismatches(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """How many tensors differ in name or shape, and the first three of them, in words."""
    differ = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    details = "; ".join(
        f"{n:.80}: expected {expected.get(n, 'nothing')}, found {found.get(n, 'nothing')}"
        for n in differ[:3]
    )
    return f"{len(differ)} mismatches, first {details}"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run after its last finished epoch, in one safetensors file.

    The file holds the model's `state_dict`, the optimizer's state and torch's random state; its
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
        optimizer: Optimizer,
        epochs: Sequence[Mapping[str, float]],
    ) -> None:
        """Write the state after the last of `epochs`.

        Raises:
            StorageError: the disk refuses; a whole checkpoint stays, as a rule the earlier one.
        """
        tensors = {_model(name): value for name, value in model.state_dict().items()}
        tensors |= {_of_optimizer(name): value for name, value in optimizer.state.items()}
        tensors[_CPU_RANDOM] = torch.get_rng_state()
        if (device := next(model.parameters()).device).type == "cuda":
            tensors[_CUDA_RANDOM] = torch.cuda.get_rng_state(device)
        metadata = {"key": self.key, "epochs": json.dumps(list(epochs))}
        write_whole(self.path, save(_stored(tensors), metadata))

    def restore(self, model: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
        """Restore model, optimizer and random state; returns the metrics of the finished epochs.

        If the file is missing, damaged or of another training, nothing is changed and the list is
        empty: the training starts at its first epoch.
        """
        read = self._read()
        if read is None:
            return []
        tensors, epochs = read
        state, of_optimizer = model.state_dict(), optimizer.state
        shapes = {_model(name): value.shape for name, value in state.items()}
        shapes |= {_of_optimizer(name): value.shape for name, value in of_optimizer.items()}
        shapes[_CPU_RANDOM] = torch.get_rng_state().shape
        if any(name not in tensors or tensors[name].shape != shapes[name] for name in shapes):
            return []
        model.load_state_dict({name: tensors[_model(name)] for name in state})
        for name, value in of_optimizer.items():
            value.copy_(tensors[_of_optimizer(name)])
        torch.set_rng_state(tensors[_CPU_RANDOM])
        device = next(model.parameters()).device
        if device.type == "cuda" and _CUDA_RANDOM in tensors:
            torch.cuda.set_rng_state(tensors[_CUDA_RANDOM], device)
        return epochs

    def _read(self) -> tuple[dict[str, Tensor], list[dict[str, Any]]] | None:
        try:
            check_header(self.path)
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self.key:
                    return None
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            return tensors, json.loads(metadata["epochs"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None


def check_header(path: Path) -> None:
    """Check that a safetensors file is a regular file with a header of usual size.

    Raises:
        OSError: it is not.
    """
    with open_given(path) as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _MAX_HEADER:
        raise OSError(errno.EFBIG, f"its header announces {size:,} bytes", str(path))


def _model(name: str) -> str:
    return f"model.{name}"


def _of_optimizer(name: str) -> str:
    return f"momentum.{name}"  # older files have it


def _stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors takes them: on the CPU, and no two in the same memory."""
    stored: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in tensors.items():
        mine = value.detach().cpu().contiguous()
        stored[name] = mine.clone() if mine.untyped_storage().data_ptr() in taken else mine
        taken.add(stored[name].untyped_storage().data_ptr())
    return stored
