"""Latency and throughput of the forms of a network, compared with the paired network."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from relu_search.export.card import image_size_of, read_card, versions
from relu_search.export.equivalence import Forward
from relu_search.export.exported_model import DEFAULT_IMAGE_SIZE, load_exported, require_room
from relu_search.export.folded_pairs import fold_all_pairs
from relu_search.export.formats import export_graph, require_onnx, run_module, run_onnx, write_onnx
from relu_search.export.from_run import best_of
from relu_search.export.timing import WARM_UP, time_side_by_side
from relu_search.run_folder.folder import RunFolder
from search_spaces import InputError, build, measure_complexity
from search_spaces.errors import shown
from search_spaces.networks.build import AnyNetwork
from search_spaces.networks.folding import find_pairs, fold_norms
from trials.files.durable import write_whole
from trials.files.paths import user_path
from trials.files.scratch import scratch_folder

if TYPE_CHECKING:
    from rich.table import Table

MOST_ROUNDS = 100_000
EAGER, NORMS, PAIRS, COMPILED, ONNX = (
    "eager",
    "BN folded",
    "pairs folded",
    "torch.compile",
    "ONNX Runtime",
)


def run_bench(
    source: str,
    *,
    batches: Sequence[int],
    rounds: int,
    compiled: bool = True,
    backbone: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Time every form of the best network of a run, or of the network of a card, on the CPU.

    Each round calls every form of both networks once. The paired network has untrained weights;
    speed does not depend on them.

    Args:
        source: path of a run folder or of a card.
        batches: batch sizes.
        rounds: number of samples of each form and batch size.
        compiled: also time `torch.compile`.
        backbone: the backbone, named again if it is code, which runs only then.
        report: is called with each line of progress.

    Returns:
        JSON values: the network, the machine, and one row per placement, form and batch size.

    Raises:
        InputError: there is no such source, a package is not installed, or too many rounds.
    """
    require_onnx()
    path = user_path(source)
    if (path / "config.toml").is_file():
        path = best_of(RunFolder.open(path))
    card, network = read_card(path), load_exported(path, backbone)
    size = image_size_of(card) or DEFAULT_IMAGE_SIZE
    require_room(network, size, max(batches))
    if not 2 <= rounds <= MOST_ROUNDS:
        raise InputError(f"rounds is {shown(rounds)}; it must be 2 to {MOST_ROUNDS}")
    networks: dict[str, AnyNetwork] = {network.placement.text: network}
    paired = build(
        network.backbone, num_classes=network.num_classes, in_channels=network.in_channels
    ).eval()
    paired_text = paired.placement.text
    if network.placement != paired.placement or network.activation != "relu":
        networks = {paired_text: paired, **networks}
    shape = (network.in_channels, *size)
    rows: list[dict[str, Any]] = []
    with scratch_folder() as folder:
        forms = {
            (text, name): run
            for i, (text, one) in enumerate(networks.items())
            for name, run in _forms(one, shape, Path(folder, str(i)), compiled, report).items()
        }
        for batch in batches:
            images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
            calls, left_out = {}, []
            for key, run in forms.items():
                call = _Call(run, images)
                try:
                    call()  # torch.compile compiles here
                except Exception as error:
                    if key[1] != COMPILED:
                        raise
                    left_out.append(key)
                    report(f"{COMPILED} left out: {str(error).splitlines()[0][:160]}")
                    continue
                calls["\n".join(key)] = call
            report(f"timing batch {batch}: {len(calls)} forms, {rounds} rounds")
            for name, timing in time_side_by_side(calls, rounds=rounds).items():
                placement, form = name.split("\n")
                rows.append(
                    {
                        "placement": placement,
                        "form": form,
                        "batch": batch,
                        **timing.to_json(),
                        "images_per_second": round(1000 * batch / timing.median_ms, 1),
                    }
                )
            for key in left_out:
                forms.pop(key, None)
    return {
        "backbone": network.backbone.name,
        "width": network.backbone.width,
        "label": network.backbone.label,
        "image_size": list(size),
        "activation": network.activation,
        "networks": {text: _facts(one, size) for text, one in networks.items()},
        "paired": paired_text,
        "machine": _machine(),
        "versions": versions(),
        "warm_up": WARM_UP,
        "rounds": rounds,
        "rows": rows,
    }


def bench_table(result: Mapping[str, Any]) -> list[Table | str]:
    """A table of speeds relative to the paired eager network, and two lines on its conditions."""
    from rich.table import Table

    machine = result["machine"]
    table = Table(title=f"{result['label']}, {'x'.join(map(str, result['image_size']))} pixels")
    for name in ("batch", "placement", "form", "ms, median (quartiles)", "images/s", "speed"):
        table.add_column(name, justify="left" if name in ("placement", "form") else "right")
    base = _base(result)
    for row in result["rows"]:
        table.add_row(
            str(row["batch"]),
            _label(result, row["placement"]),
            row["form"],
            f"{row['median_ms']:.3f} ({row['q25_ms']:.3f}-{row['q75_ms']:.3f})",
            f"{row['images_per_second']:,.0f}",
            f"{base[row['batch']] / row['median_ms']:.2f}x",
        )
    elements = ", ".join(
        f"{facts['relu_elements']:,} {_label(result, text)} ({facts['foldable_pairs']} foldable "
        "pairs)"
        for text, facts in result["networks"].items()
    )
    return [
        table,
        f"Speed is relative to the eager {_label(result, next(iter(result['networks'])))} network. "
        f"n = {result['rounds']} interleaved rounds after {result['warm_up']} warm-up calls, "
        f"{machine['threads']} thread(s), {machine['processor']}, torch "
        f"{result['versions']['torch']}.",
        f"ReLU elements per image: {elements}.",
    ]


def write_bench(result: Mapping[str, Any], folder: Path) -> None:
    """Write `bench.json` and `bench.png`.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "bench.json", json.dumps(result, indent=2) + "\n")
        _plot(result, folder / "bench.png")
    except OSError as error:
        raise InputError(
            f"output folder {folder} cannot be written ({error.strerror or error}); use another"
        ) from error


class _Call:
    """A call of one form on one batch."""

    def __init__(self, run: Forward, images: Tensor) -> None:
        self._run, self._images = run, images

    def __call__(self) -> Tensor:
        return self._run(self._images)


def _forms(
    network: AnyNetwork,
    shape: tuple[int, ...],
    file: Path,
    compiled: bool,
    report: Callable[[str], None],
) -> dict[str, Forward]:
    forms: dict[str, nn.Module] = {EAGER: network}
    folded: nn.Module = network
    try:
        plain = fold_norms(network)
        forms[NORMS] = folded = plain
        if find_pairs(plain):
            forms[PAIRS] = fold_all_pairs(network)
    except InputError as error:
        report(f"{NORMS} and {PAIRS} left out: {error}")
    runs = {name: run_module(module) for name, module in forms.items()}
    if compiled:
        report(f"{COMPILED} compiles once per network and batch size; --no-compile skips it")
        faster: Any = torch.compile(folded, dynamic=False)
        runs[COMPILED] = run_module(faster)
    write_onnx(export_graph(folded, torch.zeros(2, *shape)), file)
    runs[ONNX] = run_onnx(file)
    return runs


def _facts(network: AnyNetwork, size: tuple[int, int]) -> dict[str, Any]:
    cost = measure_complexity(
        network.backbone,
        network.placement,
        num_classes=network.num_classes,
        in_channels=network.in_channels,
        image_size=size,
        activation=network.activation,
    )
    return {
        "relu_elements": cost.relu_elements,
        "macs": cost.macs,
        "params": cost.params,
        "foldable_pairs": _foldable_pairs(network),
    }


def _foldable_pairs(network: AnyNetwork) -> int:
    try:
        return len(find_pairs(fold_norms(network)))
    except InputError:  # it cannot be traced
        return 0


def _machine() -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    return {
        "system": platform.system(),
        "processor": processor,
        "threads": torch.get_num_threads(),
    }


def _base(result: Mapping[str, Any]) -> dict[int, float]:
    """Batch size -> milliseconds of the first network in eager mode."""
    first = next(iter(result["networks"]))
    return {
        row["batch"]: row["median_ms"]
        for row in result["rows"]
        if row["placement"] == first and row["form"] == EAGER
    }


def _label(result: Mapping[str, Any], placement: str) -> str:
    return "paired" if placement == result["paired"] else placement


def _plot(result: Mapping[str, Any], file: Path) -> None:
    """Speed of every form relative to the eager paired network; one panel per batch size."""
    from matplotlib.figure import Figure

    base = _base(result)
    placements = list(result["networks"])
    figure = Figure(figsize=(3.6 * len(base) + 1, 4), layout="constrained")
    panels = figure.subplots(1, len(base), sharey=True, squeeze=False)[0]
    timed = {row["form"] for row in result["rows"]}
    forms = [form for form in (EAGER, NORMS, PAIRS, COMPILED, ONNX) if form in timed]
    height = 0.8 / len(placements)
    for panel, batch in zip(panels, base, strict=True):
        for i, placement in enumerate(placements):
            rows = {
                row["form"]: row
                for row in result["rows"]
                if (row["batch"], row["placement"]) == (batch, placement)
            }
            at = [forms.index(form) + (i - (len(placements) - 1) / 2) * height for form in rows]
            speed = [base[batch] / row["median_ms"] for row in rows.values()]
            low = [s - base[batch] / r["q75_ms"] for s, r in zip(speed, rows.values(), strict=True)]
            up = [base[batch] / r["q25_ms"] - s for s, r in zip(speed, rows.values(), strict=True)]
            panel.barh(
                at, speed, height, xerr=(low, up), label=_label(result, placement), capsize=2
            )
        panel.axvline(1, color="grey", linewidth=0.8)
        panel.set(title=f"batch {batch}", xlabel="speed relative to eager paired")
        panel.set_yticks(range(len(forms)), forms)
    panels[0].invert_yaxis()
    panels[-1].legend(loc="best", fontsize="small")
    machine = result["machine"]
    figure.suptitle(
        f"{result['label']}; {machine['threads']} thread(s), "
        f"n = {result['rounds']}, bars: median, whiskers: quartiles",
        fontsize="medium",
    )
    figure.savefig(file, dpi=120)
