"""Which pairs of convolutions an export folds into one convolution, and the costs of each pair."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from relu_search.export.formats import export_graph, has_onnx, run_module, run_onnx, write_onnx
from relu_search.export.timing import Timing, time_side_by_side
from search_spaces import InputError
from search_spaces.networks.folding import FoldedPair, Pair, find_pairs, fold_norms, fold_pair
from trials.files.scratch import scratch_folder

BATCHES = (1, 128)
ROUNDS = 15
_BACKENDS = {"onnx": "onnxruntime", "pt2": "eager"}
"""Form -> the back end whose latency decides whether a pair is folded."""

Latency = dict[str, dict[int, tuple[Timing, Timing]]]
"""Back end -> batch size -> (two convolutions, one convolution)."""


@dataclass(frozen=True, kw_only=True)
class PairReport:
    """Costs of one pair, as two convolutions and folded into one.

    Attributes:
        pair: the two convolutions, and how the result stays exact at the border.
        input_shape: (C, H, W) of the input of the pair.
        macs_before, macs_after: multiply-accumulate operations for one image, with the border.
        latency: measured latency; None: not measured.
        folded_in: forms in which the pair is one convolution.
    """

    pair: Pair
    input_shape: tuple[int, ...]
    macs_before: int
    macs_after: int
    latency: Latency | None = None
    folded_in: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        latency = None
        if self.latency is not None:
            latency = {
                backend: {
                    str(size): {"before": before.to_json(), "after": after.to_json()}
                    for size, (before, after) in batches.items()
                }
                for backend, batches in self.latency.items()
            }
        return {
            "first": self.pair.first,
            "second": self.pair.second,
            "exact": True,  # a pair that cannot be folded exactly is not in the list
            "border": self.pair.border,
            "input_shape": list(self.input_shape),
            "macs_before": self.macs_before,
            "macs_after": self.macs_after,
            "latency": latency,
            "folded_in": list(self.folded_in),
        }


@dataclass(frozen=True)
class Folded:
    """Networks to export, by form, and the costs of their pairs.

    Attributes:
        reason: why nothing could be folded; None: it could.
    """

    mode: str
    networks: Mapping[str, nn.Module]
    pairs: tuple[PairReport, ...]
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "norms": self.reason or "folded into the convolution before them",
            "pairs": [pair.to_json() for pair in self.pairs],
        }


def fold_for(
    network: nn.Module, mode: str, forms: Sequence[str], image_shape: tuple[int, int, int]
) -> Folded:
    """The network of each form, with BatchNorms folded and pairs of convolutions as `mode` says.

    `auto` folds a pair if one convolution was faster than two in the back end of the form, at every
    batch size, by more than the interquartile range. Pairs of equal shapes are measured once. A
    network that `torch.fx` cannot trace stays as it is.

    Args:
        mode: `never`, `auto` or `always`.
        forms: names of the forms, `onnx` or `pt2`.
        image_shape: (C, H, W).
    """
    try:
        plain = fold_norms(network)
    except InputError as error:
        return Folded(mode, dict.fromkeys(forms, network), (), str(error))
    reports = [_report(plain, pair, shape) for pair, shape in _with_shapes(plain, image_shape)]
    if mode == "never":
        return Folded(mode, dict.fromkeys(forms, plain), tuple(reports))
    backends = ["eager", "onnxruntime"] if has_onnx() else ["eager"]
    measured: dict[tuple[str, ...], Latency] = {}
    decided: list[PairReport] = []
    for report in reports:
        first, second = (
            plain.get_submodule(path) for path in (report.pair.first, report.pair.second)
        )
        key = (repr(first), repr(second), repr(report.input_shape))
        if key not in measured:
            measured[key] = _measure(nn.Sequential(first, second), report.input_shape, backends)
        latency = measured[key]
        chosen = tuple(
            form
            for form in forms
            if mode == "always"
            or all(
                after.is_faster_than(before) for before, after in latency[_BACKENDS[form]].values()
            )
        )
        decided.append(replace(report, latency=latency, folded_in=chosen))
    networks = {}
    for form in forms:
        folded = copy.deepcopy(plain)
        for report in decided:
            if form in report.folded_in:
                fold_pair(folded, report.pair)
        networks[form] = folded
    return Folded(mode, networks, tuple(decided))


def fold_all_pairs(network: nn.Module) -> fx.GraphModule:
    """The network with every BatchNorm and every pair of convolutions folded, where possible."""
    folded = fold_norms(network)
    for pair in find_pairs(folded):
        fold_pair(folded, pair)
    return folded


def fold_saving_pairs(network: nn.Module, image_shape: tuple[int, int, int]) -> fx.GraphModule:
    """The network with every BatchNorm folded, and every pair that saves operations.

    Args:
        image_shape: (C, H, W).

    Raises:
        InputError: `torch.fx` cannot trace the network.
    """
    folded, reports = _reported(network, image_shape)
    for report in reports:
        if report.macs_after < report.macs_before:
            fold_pair(folded, report.pair)
    return folded


def macs_after_fold(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulate operations for one image if every pair is folded that saves some.

    Args:
        image_shape: (C, H, W).

    Raises:
        InputError: `torch.fx` cannot trace the network.
    """
    folded, reports = _reported(network, image_shape)
    saved = sum(max(0, report.macs_before - report.macs_after) for report in reports)
    return _macs(folded, image_shape) - saved


@torch.no_grad()
def _with_shapes(
    network: fx.GraphModule, image_shape: tuple[int, int, int]
) -> list[tuple[Pair, tuple[int, ...]]]:
    """Every pair with the shape (C, H, W) of its input."""
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []
    pairs = find_pairs(network)
    for pair in pairs:

        def note(_: nn.Module, inputs: tuple[Tensor], name: str = pair.first) -> None:
            shapes[name] = tuple(inputs[0].shape[1:])

        handles.append(network.get_submodule(pair.first).register_forward_pre_hook(note))
    network(torch.zeros(1, *image_shape))
    for handle in handles:
        handle.remove()
    return [(pair, shapes[pair.first]) for pair in pairs]


def _reported(
    network: nn.Module, image_shape: tuple[int, int, int]
) -> tuple[fx.GraphModule, list[PairReport]]:
    """The network with every BatchNorm folded, and what folding each pair in it would save."""
    plain = fold_norms(network)
    return plain, [_report(plain, pair, shape) for pair, shape in _with_shapes(plain, image_shape)]


def _report(network: fx.GraphModule, pair: Pair, shape: tuple[int, ...]) -> PairReport:
    first, second = network.get_submodule(pair.first), network.get_submodule(pair.second)
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    return PairReport(
        pair=pair,
        input_shape=shape,
        macs_before=_macs(nn.Sequential(first, second), shape),
        macs_after=_macs(FoldedPair(first, second), shape),
    )


def _macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        module(torch.zeros(1, *shape))
    return int(flops.get_total_flops()) // 2


def _measure(pair: nn.Sequential, shape: tuple[int, ...], backends: Sequence[str]) -> Latency:
    """Latency of the pair alone, as two convolutions and as one."""
    first, second = pair
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    both = {"before": pair, "after": FoldedPair(first, second)}
    latency: Latency = {}
    for backend in dict.fromkeys(backends):
        with scratch_folder() as folder:
            runs: dict[str, Callable[[Tensor], Tensor]] = {}
            for name, module in both.items():
                if backend == "eager":
                    runs[name] = run_module(module.eval())
                else:
                    file = Path(folder, f"{name}.onnx")
                    write_onnx(export_graph(module.eval(), torch.zeros(2, *shape)), file)
                    runs[name] = run_onnx(file)
            latency[backend] = {}
            for size in BATCHES:
                images = torch.randn(size, *shape, generator=torch.Generator().manual_seed(0))
                timings = time_side_by_side(
                    {name: lambda run=run, x=images: run(x) for name, run in runs.items()},  # type: ignore[misc]
                    rounds=ROUNDS,
                )
                latency[backend][size] = timings["before"], timings["after"]
    return latency
