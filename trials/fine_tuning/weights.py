"""StartingWeights: the weights of a trained network, from a file or from the network's library.

A file may come from a stranger. Nothing in it is run, and its size is bounded by that of the
network.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from search_spaces import Activation, Architecture, FunctionBackbone, InputError, Placement, build
from search_spaces.any_network.source import Source, described
from trials.data.image_sets import Statistics
from trials.files.given import open_given
from trials.files.paths import user_path
from trials.training.checkpoint import PLACEMENT, Shape, check_header, mismatches
from trials.training.recipe import PRETRAINED

SUFFIXES = (".safetensors", ".pt", ".pth")
_INSIDE = ("state_dict", "model")
"""Keys under which checkpoints of other programs have the weights."""
_PARALLEL = "module."
"""Begin of all names in weights that `DataParallel` wrote."""
_BATCH_COUNT = "num_batches_tracked"
"""End of the names of BatchNorm's counters, which older files lack. They have no influence."""
_MOST_TIMES, _SMALL = 4, 2**24
"""A file may be this many times as large as the network, and this many bytes larger."""


@dataclass(frozen=True, eq=False)
class StartingWeights:
    """The weights of a network with all its activations.

    Attributes:
        name: of the file, without its folder; or `pretrained`.
        tensors: by name, on the CPU. BatchNorm's counters and a head that is not used are left out.
        digest: SHA-256 of the tensors; the same for every format of file.
        placement: of the network that was trained, if the file says it.
    """

    name: str
    tensors: Mapping[str, Tensor]
    digest: str
    placement: Placement | None = None

    def require_all_activations(self) -> None:
        """Check that the weights can be those of a teacher, which has all its activations.

        Raises:
            InputError: the file says that they were trained without some of them.
        """
        if self.placement is not None and "0" in self.placement.bits:
            raise InputError(
                f"weights {self.name} were trained with the placement {self.placement.text:.80}, "
                "and distillation learns from a network with all its activations; give weights of "
                "such a network, or leave out --distill"
            )


def read_weights(
    where: str,
    backbone: Architecture,
    *,
    num_classes: int,
    in_channels: int,
    activation: Activation = "relu",
    new_head: bool = False,
) -> StartingWeights:
    """Read weights, and check that they are those of a backbone with all its activations.

    Args:
        where: a safetensors file, a `.pt` file of tensors, or `pretrained`.
        new_head: leave out the tensors whose shapes depend on the number of classes.

    Raises:
        InputError: the file cannot be read or is too large, its tensors do not fit (the first
            three mismatches are named) or are not finite, or there are no pretrained weights.
    """
    shapes = partial(_shapes, backbone, in_channels, activation)
    expected, other = shapes(num_classes), shapes(num_classes + 1)
    head = {name for name, shape in expected.items() if other.get(name) != shape}
    if where == PRETRAINED:
        name, placement, tensors = PRETRAINED, None, _pretrained(backbone)
    else:
        path = user_path(where)
        name = path.name
        most = _MOST_TIMES * 4 * sum(map(math.prod, expected.values())) + _SMALL
        tensors, placement = _read(path, most)
    tensors = {n: value for n, value in tensors.items() if not n.endswith(_BATCH_COUNT)}
    if new_head:
        tensors = {n: value for n, value in tensors.items() if n not in head}
        expected = {n: shape for n, shape in expected.items() if n not in head}
    _check_shapes(name, expected, {n: tuple(v.shape) for n, v in tensors.items()}, head)
    taken = {n: _checked(name, n, value) for n, value in tensors.items()}
    of = None if placement is None else Placement.parse(placement)
    return StartingWeights(name, taken, _digest(taken), of)


def _shapes(
    backbone: Architecture, in_channels: int, activation: Activation, num_classes: int
) -> dict[str, Shape]:
    """Shapes of the tensors of a network with all its activations, BatchNorm's counters aside."""
    with torch.device("meta"):
        network = build(
            backbone, num_classes=num_classes, in_channels=in_channels, activation=activation
        )
    return {
        name: tuple(value.shape)
        for name, value in network.state_dict().items()
        if not name.endswith(_BATCH_COUNT)
    }


def _check_shapes(
    name: str, expected: Mapping[str, Shape], found: Mapping[str, Shape], head: set[str]
) -> None:
    if expected == found:
        return
    words = mismatches(expected, found)
    if {n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)} <= head:
        raise InputError(
            f"weights {name} have a head for another number of classes: {words}; add --new-head to "
            "start with an untrained head, or give weights that were trained on these classes"
        )
    raise InputError(
        f"weights {name} do not fit the network with all its activations: {words}; give weights "
        "of this backbone and width, for images with as many channels"
    )


def _checked(name: str, tensor: str, value: Tensor) -> Tensor:
    """A tensor in the type of the network: float32, or int64."""
    if value.is_complex() or value.layout != torch.strided or value.is_quantized:
        raise InputError(
            f"weights {name}: {tensor:.80} is a tensor of {value.dtype}; give dense real numbers"
        )
    value = value.detach().float() if value.is_floating_point() else value.detach().long()
    if not torch.isfinite(value).all():
        raise InputError(
            f"weights {name}: {tensor:.80} has values that are not finite; give weights of a "
            "training that did not diverge"
        )
    return value.contiguous()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, most: int) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a file, and the placement that it names.

    Args:
        most: bytes.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"weights {str(path)!r:.200} are no file of {', '.join(SUFFIXES)}; give one, or "
            f"{PRETRAINED}"
        )
    try:
        size = _size_of(path)
        if size > most:
            raise InputError(
                f"weights {path} have {size:,} bytes, more than {most:,}, which is "
                f"{_MOST_TIMES} times the network; give a file with its weights alone"
            )
        return _from_safetensors(path) if path.suffix == SUFFIXES[0] else (_from_pt(path), None)
    except InputError:
        raise
    except (OSError, SafetensorError) as error:
        raise InputError(f"weights {path} cannot be read ({described(error)})") from error
    except Exception as error:  # a damaged pickle raises any type
        raise InputError(
            f"weights {path} cannot be read ({described(error)}); give a file of tensors alone, as "
            "torch.save(model.state_dict(), FILE) writes it"
        ) from error


def _size_of(path: Path) -> int:
    """Bytes of a file; of an archive, of its unpacked content."""
    with open_given(path) as file:
        size = os.fstat(file.fileno()).st_size
        with suppress(zipfile.BadZipFile):
            if path.suffix != SUFFIXES[0]:
                size = max(size, sum(one.file_size for one in zipfile.ZipFile(file).infolist()))
    return size


def _from_safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    check_header(path)
    with safe_open(path, "pt") as file:
        names = file.keys()
        placement = (file.metadata() or {}).get(PLACEMENT)
        return {name: file.get_tensor(name) for name in names}, placement


def _from_pt(path: Path) -> dict[str, Tensor]:
    with open_given(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types of storage that older files have
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    for key in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise TypeError("it has no table of tensors by name")
    if content and all(name.startswith(_PARALLEL) for name in content):
        return {name.removeprefix(_PARALLEL): value for name, value in content.items()}
    return dict(content)


def pretrained_statistics(backbone: Architecture) -> Statistics:
    """Mean and standard deviation by which the pretrained weights of a backbone expect images.

    Nothing is downloaded.

    Returns:
        Per channel, in 0 to 1, as the library says them.

    Raises:
        InputError: the network is of no library, or the library does not say them.
    """
    source = _library_source(backbone)
    try:
        if source.kind == "timm":
            said: Any = _timm().get_pretrained_cfg(source.function)
        else:
            said = _offered(source).transforms()
        return tuple(map(float, said.mean)), tuple(map(float, said.std))
    except Exception as error:  # both libraries have their own types
        raise InputError(
            f"{backbone.name} has no known mean and std of its pretrained weights "
            f"({described(error)}); give numbers: --normalise MEANS/STDS"
        ) from error


def _library_source(backbone: Architecture) -> Source:
    source = backbone.choice.source if isinstance(backbone, FunctionBackbone) else None
    if source is None or source.kind not in ("torchvision", "timm"):
        raise InputError(
            f"{PRETRAINED} is for networks of a library, and {backbone.name} is no network of "
            "torchvision: or timm:; give a file of weights, and numbers to normalise by"
        )
    return source


def _timm() -> Any:
    return import_module("timm.models")


def _offered(source: Source) -> Any:
    """The weights that torchvision offers for a network."""
    models: Any = import_module("torchvision.models")
    return models.get_model_weights(source.function).DEFAULT


def _pretrained(backbone: Architecture) -> dict[str, Tensor]:
    """The weights that the library of a backbone offers. They are downloaded if necessary."""
    source = _library_source(backbone)
    try:
        if source.kind == "timm":
            return dict(_timm().create_model(source.function, pretrained=True).state_dict())
        return dict(_offered(source).get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # networks, file systems and both libraries have their own types
        raise InputError(
            f"weights {PRETRAINED} of {backbone.name} cannot be fetched ({described(error)}); "
            "fetch them on another machine and give the file"
        ) from error
