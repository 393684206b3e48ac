"""Exports a model: a card that describes it, its weights, and forms that run elsewhere.

All files are first written to a hidden folder. Each form is read back, run, and compared with the
original network in eager mode. Only then do the files move to the output folder. `load_exported`
rebuilds the network from the card and the weights; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relu_search.export.card import (
    CARD,
    CARD_SCHEMA,
    WEIGHTS,
    backbone_entries,
    backbone_of,
    card_path,
    card_text,
    image_size_of,
    normalisation_of,
    read_card,
    sha256,
    versions,
)
from search_spaces import (
    Architecture,
    FunctionBackbone,
    InputError,
    Placement,
    build,
    measure_complexity,
    module_name_of,
    ratio_text,
    resolve_placement,
)
from search_spaces.errors import require_type, shown
from search_spaces.networks.build import AnyNetwork, Network
from trials.files.memory import require_memory
from trials.files.paths import user_path
from trials.files.scratch import STAGING, owned_folder
from trials.training.checkpoint import load_network, save_weights

if TYPE_CHECKING:
    from torch import Tensor

    from relu_search.export.equivalence import Forward

FORMATS = {
    "safetensors": WEIGHTS,
    "onnx": "model.onnx",
    "pt2": "model.pt2",
    "python": "model.py",
}
"""Format -> file name. The card and safetensors are always written."""
FOLDS = ("never", "auto", "always")
DEFAULT_IMAGE_SIZE = (32, 32)

_GRAPHS = ("onnx", "pt2")
_LARGEST_ONNX = 2**31 - 2**20  # bytes of weights; protobuf's limit is 2 GiB
_FLOAT = 4  # bytes
_LAYERS_AT_ONCE = 4
"""Outputs of the largest layer that a forward pass holds at the same time, at most."""


def export_model(
    model: AnyNetwork | str | Path,
    out: str | Path,
    formats: Sequence[str] = ("safetensors",),
    *,
    details: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    backbone: str | None = None,
    fold: str = "never",
    normalise_inside: bool = False,
    opset: int | None = None,
    real_images: Tensor | None = None,
) -> Path:
    """Write `card.json` and the model in the given formats; check each against the network.

    ```python
    export_model(build("plain-20", "2:1"), "out/", formats=["safetensors", "onnx", "pt2"])
    load_exported("out/")
    ```

    Args:
        model: a network made by `search_spaces.build`, or the path of a card or of its folder.
        out: output folder; created if missing.
        formats: keys of `FORMATS`; safetensors is always added.
        details: more entries of the card: image_size, normalisation, classes, ...
        weights: a safetensors file made elsewhere, for the network of a card.
        backbone: the backbone of a card, named again if it is code, which runs only then.
        fold: whether the onnx and pt2 forms fold pairs of convolutions: `never`, `auto` (where
            one convolution was measured to be faster) or `always`. A BatchNorm after a convolution
            is always folded in these forms.
        normalise_inside: the onnx and pt2 forms take uint8 (N, H, W, C) images in 0-255.
        opset: version of the ONNX operators; None: the exporter's default.
        real_images: uint8 (N, H, W, C), to check the forms on in addition to random images.

    Returns:
        The path of the card.

    Raises:
        InputError: bad options, a model that `build` did not make, weights that do not fit, a form
            whose outputs differ from the network's, or a folder that cannot be written. Nothing is
            written then.
    """
    check_options(formats, fold=fold, normalise_inside=normalise_inside, opset=opset)
    formats = list(dict.fromkeys(["safetensors", *formats]))
    known = dict(details or {})
    if isinstance(model, str | Path):
        card = read_card(model)
        if weights is not None:
            network = _network_of(card, user_path(weights), backbone_of(card, backbone))
            card = {**card, "training": None, "verdict": None}
        else:
            network = load_exported(model, backbone)
        known = {**card, **known}
    elif weights is not None:
        raise InputError("weights are given without a card; give the path of their card")
    elif isinstance(model, AnyNetwork):
        network = copy.deepcopy(model)
    else:
        raise InputError(
            f"cannot export a {type(model).__name__}; give a network made by build, or a card"
        )
    if "python" in formats and not isinstance(network, Network):
        raise InputError(
            f"format python writes the six families, not {network.backbone.name}; leave it out"
        )
    network = network.cpu().float().eval()
    card = _describe(network, known)
    if normalise_inside and normalisation_of(card) is None:
        raise InputError(
            "the card has no normalisation, which --normalise-inside needs; omit it, or add an "
            'entry such as "normalisation": {"mean": [127.5], "std": [64.0]} to the card'
        )
    folder = user_path(out)
    with _staged(folder) as staging:
        proven = _write_forms(
            network,
            card,
            staging,
            formats=formats,
            fold=fold,
            normalise_inside=normalise_inside,
            opset=opset,
            real_images=real_images,
        )
        card |= proven
        card["files"] = {FORMATS[name]: sha256(staging / FORMATS[name]) for name in formats}
        (staging / CARD).write_text(card_text(card), encoding="utf-8")
    return folder / CARD


def load_exported(path: str | Path, backbone: str | None = None) -> AnyNetwork:
    """Rebuild an exported network, in eval mode.

    Args:
        path: path of the card or of its folder.
        backbone: the backbone, named again if it is code, which runs only then.

    Raises:
        InputError: the card is damaged, or the weights are missing, altered, or do not fit.
    """
    file = card_path(path)
    card = read_card(file)
    weights = file.parent / WEIGHTS
    model = _network_of(card, weights, backbone_of(card, backbone))
    if sha256(weights) != card["files"].get(WEIGHTS):
        raise InputError(
            f"weights {weights} have another checksum than {file} records; export the model again"
        )
    return model.eval()


def require_room(network: AnyNetwork, size: tuple[int, int], batch: int) -> None:
    """Check that a forward pass fits into memory.

    Args:
        size: (height, width) of the images in pixels.
        batch: number of images.

    Raises:
        InputError: it does not fit.
    """
    cost = measure_complexity(
        network.backbone,
        network.placement,
        num_classes=network.num_classes,
        in_channels=network.in_channels,
        image_size=size,
        activation=network.activation,
    )
    pixels = size[0] * size[1]
    layer = max(*cost.site_elements, (network.backbone.width or 0) * pixels)
    values = 2 * network.in_channels * pixels + _LAYERS_AT_ONCE * layer
    require_memory(
        f"a forward pass of {shown(batch)} images of {size[0]}x{size[1]} pixels",
        batch * _FLOAT * values,
        "correct the card's image_size, or use a larger machine",
    )


def check_options(
    formats: Sequence[str], *, fold: str, normalise_inside: bool, opset: int | None = None
) -> None:
    """Check the options of an export, and that the packages they need are installed.

    Raises:
        InputError: names the bad one.
    """
    require_type("formats", formats, (list, tuple), "a list of texts, such as ['onnx']")
    for name in formats:
        if not isinstance(name, str) or name not in FORMATS:
            raise InputError(f"format {shown(name)} is unknown; use one of {', '.join(FORMATS)}")
    if not isinstance(fold, str) or fold not in FOLDS:
        raise InputError(f"fold {shown(fold)} is unknown; use one of {', '.join(FOLDS)}")
    if not set(formats) & set(_GRAPHS) and (fold != "never" or normalise_inside):
        what = "--normalise-inside" if normalise_inside else f"--fold {fold}"
        raise InputError(f"{what} changes the onnx and pt2 forms only; add onnx or pt2 to --format")
    if opset is not None and "onnx" not in formats:
        raise InputError("--opset changes the onnx form only; add onnx to --format")
    if "onnx" in formats:
        from relu_search.export.formats import check_opset, require_onnx

        require_onnx()
        if opset is not None:
            check_opset(opset)


def _network_of(card: Mapping[str, Any], weights: Path, backbone: Architecture) -> AnyNetwork:
    """The network of a card with its weights."""
    network = partial(
        build,
        backbone,
        Placement.parse(card["placement"]),
        num_classes=card["num_classes"],
        in_channels=card["in_channels"],
        activation=card.get("activation", "relu"),
    )
    return load_network(network, weights)


def _describe(network: AnyNetwork, known: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of the card that do not depend on the forms."""
    backbone, placement = network.backbone, network.placement
    size = image_size_of(dict(known)) or DEFAULT_IMAGE_SIZE

    def elements(of: Placement) -> int:
        return measure_complexity(
            backbone,
            of,
            num_classes=network.num_classes,
            in_channels=network.in_channels,
            image_size=size,
        ).relu_elements

    before = elements(resolve_placement(backbone, None))
    cost = measure_complexity(
        backbone,
        placement,
        num_classes=network.num_classes,
        in_channels=network.in_channels,
        image_size=size,
        activation=network.activation,
    )
    computed = {
        "schema": CARD_SCHEMA,
        **backbone_entries(backbone),
        "placement": placement.text,
        "module": module_name_of(backbone, placement),
        "ratio": ratio_text(backbone, placement),
        "norm": {"dropped": placement.dropped_norm, "block_end": placement.block_norm},
        "activation": network.activation,
        "num_classes": network.num_classes,
        "in_channels": network.in_channels,
        "image_size": list(size),
        "relu_elements": {"paired": before, "this": cost.relu_elements},
        "params": cost.params,
        "macs": cost.macs,
        "versions": versions(),
    }
    optional = {"normalisation": None, "classes": None, "training": None, "verdict": None}
    return {**computed, **optional, **known, **computed}


def _write_forms(
    network: AnyNetwork,
    card: Mapping[str, Any],
    folder: Path,
    *,
    formats: Sequence[str],
    fold: str,
    normalise_inside: bool,
    opset: int | None,
    real_images: Tensor | None,
) -> dict[str, Any]:
    """Write and check every form; returns the entries `forms` and `folding` of the card."""
    from relu_search.export import formats as forms
    from relu_search.export.equivalence import BATCHES, ProofImages, prove, reference_logits

    size, normalisation = image_size_of(dict(card)), normalisation_of(dict(card))
    assert size is not None
    require_room(network, size, max(BATCHES))
    if "onnx" in formats and _FLOAT * card["params"] > _LARGEST_ONNX:
        raise InputError(
            f"format onnx cannot hold {card['params']:,} parameters, its files have at most 2 GiB; "
            "leave it out"
        )
    normalise = forms.InputNormalisation(*normalisation) if normalisation else None
    images = ProofImages.make(
        channels=network.in_channels, size=size, normalise=normalise, real=real_images
    )
    wanted = reference_logits(network, images)
    folding = None
    entries: dict[str, dict[str, Any]] = {}
    floats = {"dtype": "float32", "layout": "NCHW", "normalised": True}
    pixels = {"dtype": "uint8", "layout": "NHWC", "normalised": False}

    def enter(name: str, run: Forward, **facts: Any) -> None:
        given = images.pixels if facts["input"] is pixels else images.inputs
        proof = prove(name, run, given, wanted)
        entries[name] = {"file": FORMATS[name], **facts, "proof": proof.to_json()}

    save_weights(network, folder / WEIGHTS)
    is_made = isinstance(network.backbone, FunctionBackbone)
    backbone = network.backbone if is_made else backbone_of(card)
    again = _network_of(card, folder / WEIGHTS, backbone).eval()
    enter("safetensors", forms.run_module(again), input=floats)
    if "python" in formats:
        from relu_search.export.python_source import python_source, run_python

        file = folder / FORMATS["python"]
        assert isinstance(network, Network)
        source = python_source(
            network,
            title=f"{network.backbone.label}, {card['ratio']} ({network.activation}).",
            weights=WEIGHTS,
            size=size,
            normalisation=normalisation,
            classes=card["classes"],
        )
        file.write_text(source, encoding="utf-8")
        enter("python", run_python(file), input=floats)
    graphs = [name for name in _GRAPHS if name in formats]
    if graphs:
        from relu_search.export.folded_pairs import fold_for

        folded = fold_for(network, fold, graphs, (network.in_channels, *size))
        folding = folded.to_json()
        for name in graphs:
            inside = normalise if normalise_inside else None
            program = forms.export_graph(folded.networks[name], images.inputs["random"], inside)
            file = folder / FORMATS[name]
            facts: dict[str, Any] = {"input": pixels if normalise_inside else floats}
            if name == "onnx":
                facts["opset"] = forms.write_onnx(program, file, opset)
                enter(name, forms.run_onnx(file), **facts)
            else:
                forms.write_pt2(program, file)
                enter(name, forms.run_pt2(file), **facts)
    return {"forms": entries, "folding": folding}


@contextlib.contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A hidden folder on the same disk. On success its files move to `folder`.

    A new folder appears with all files at once. In a folder with content the card comes last.

    Raises:
        InputError: the folder cannot be written.
    """
    parent = folder.absolute().parent
    inside = folder.is_dir() and (
        any(folder.iterdir()) or os.path.ismount(folder) or not os.access(parent, os.W_OK)
    )
    nearest = folder if inside else next(p for p in (parent, *parent.parents) if p.exists())
    try:
        with owned_folder(nearest, STAGING) as staging:
            files = staging / "files"
            files.mkdir()
            yield files
            if inside:
                for file in sorted(files.iterdir(), key=lambda file: file.name == CARD):
                    os.replace(file, folder / file.name)
            else:
                parent.mkdir(parents=True, exist_ok=True)
                os.rename(files, folder)
    except OSError as error:
        raise InputError(
            f"output folder {folder} cannot be written ({error.strerror or error}); use another"
        ) from error
