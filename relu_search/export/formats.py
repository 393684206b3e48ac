"""The forms of an exported model: how each is written, and how it is run to check it.

TorchScript is not supported: PyTorch has deprecated `torch.jit` in favour of `torch.export`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from relu_search.export.equivalence import Forward
from search_spaces import InputError
from search_spaces.errors import shown

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT, BATCH = "images", "logits", "batch"
OLDEST_OPSET = 18
"""Torch's exporter writes the operators of this version, and newer ones by conversion."""


class InputNormalisation(nn.Module):
    """uint8 (N, H, W, C) -> float32 (N, C, H, W): (x - mean) / std per channel, all in 0-255."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images.permute(0, 3, 1, 2).float() - self.mean) / self.std


def require_onnx() -> None:
    """Check that the packages of the `export` extra are installed.

    Raises:
        InputError: names the missing packages and the command that installs them.
    """
    missing = _missing_packages()
    if missing:
        raise InputError(
            f"format onnx needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            "not installed; run: pip install 'relu-search[export]'"
        )


def has_onnx() -> bool:
    """Whether the packages of the `export` extra are installed."""
    return not _missing_packages()


def _missing_packages() -> list[str]:
    return [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]


def check_opset(opset: int) -> None:
    """Check that the exporter can write a version of the ONNX operators.

    Raises:
        InputError: it cannot, or the `export` extra is not installed.
    """
    require_onnx()
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if type(opset) is not int or not OLDEST_OPSET <= opset <= newest:
        raise InputError(
            f"opset is {shown(opset)}; it must be {OLDEST_OPSET} to {newest}, the versions that "
            f"torch {torch.__version__} and onnx {onnx.__version__} can write"
        )


def run_module(module: nn.Module) -> Forward:
    """A module in eager mode."""

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        return module(images)

    return run


def export_graph(
    network: nn.Module, example: Tensor, normalise: InputNormalisation | None = None
) -> torch.export.ExportedProgram:
    """The network as a `torch.export` graph that takes any batch size; it has no local paths.

    Args:
        example: float32 (N, C, H, W) with N at least 2; the graph takes images of this size.
        normalise: the first layer of the graph, which then takes uint8 (N, H, W, C); None: no
            such layer.
    """
    if normalise is not None:
        network = nn.Sequential(normalise, network).eval()
        example = example.permute(0, 2, 3, 1).to(torch.uint8)
    batch = torch.export.Dim(BATCH)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(key, None)
    return program


def write_pt2(program: torch.export.ExportedProgram, file: Path) -> None:
    """Write a `.pt2` file."""
    torch.export.save(program, file)


def run_pt2(file: Path) -> Forward:
    """The `.pt2` file, loaded by `torch.export`."""
    module = torch.export.load(file).module()

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        return module(images)

    return run


def write_onnx(program: torch.export.ExportedProgram, file: Path, opset: int | None = None) -> int:
    """Write one self-contained ONNX file; returns its opset version.

    Args:
        opset: version of the operators; None: the exporter's default.

    Raises:
        InputError: the `export` extra is not installed, or the exporter cannot write this version.
    """
    if opset is None:
        require_onnx()
    else:
        check_opset(opset)
    import onnx

    with _quiet():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: BATCH},),  # its name in the file
            opset_version=opset,
            verbose=False,
        )
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = exported.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    written = next(int(entry.version) for entry in model.opset_import if entry.domain == "")
    if opset not in (None, written):
        raise InputError(
            f"opset {opset} was asked for, and torch {torch.__version__} wrote {written}; use "
            f"--opset {written}, or leave it out"
        )
    onnx.checker.check_model(model, full_check=True)
    file.write_bytes(model.SerializeToString())
    return written


def run_onnx(file: Path) -> Forward:
    """The ONNX file in ONNX Runtime, on the CPU, with the number of threads that torch uses.

    Raises:
        InputError: this ONNX Runtime cannot run it.
    """
    try:
        session = onnx_session(file)
    except Exception as error:  # ONNX Runtime has its own types
        import onnxruntime

        raise InputError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run {file.name} "
            f"({str(error).strip().splitlines()[0]:.160}); use a lower --opset, or a newer "
            "ONNX Runtime"
        ) from error

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return run


def onnx_session(file: Path) -> Any:
    """An ONNX Runtime session; `Any` because the package is optional."""
    require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(file), sess_options=options, providers=["CPUExecutionProvider"]
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's messages: stdout is for results."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
