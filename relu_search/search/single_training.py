"""Train one placement on its own, for `relu-search train`. Needs no Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.export.exported_model import export_model
from relu_search.export.from_run import card_details, data_facts, free_folder
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_config import SearchConfig
from search_spaces import InputError, look_alike, resolve_placement
from trials.running.faults import ALONE, RunStoppedError, full_gpu_raises
from trials.running.trial import run_trial
from trials.training.metrics import EpochMetrics


def train_single(
    config: SearchConfig | ResolvedConfig,
    placement: str,
    *,
    device: str = "auto",
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a placement as a search does, and export it if `config.out` is given.

    Args:
        config: options of the training.
        placement: its text, or the name of a hand-designed module.
        device: `auto`, `cpu` or `cuda`.
        report: is called with each line of progress.

    Returns:
        Facts of the placement, last metrics, all epochs, and `failure` (None, or the reason why
        the training ended early).

    Raises:
        InputError: bad input, or `config.out` is not an empty folder.
        RunStoppedError: the GPU has too little memory.
    """
    resolved = config.resolve()
    folder = free_folder(config.out) if config.out is not None else None
    network = resolved.network
    chosen = resolve_placement(network, placement, config.norm)
    on = _device(device)
    data = resolved.load_data(report)
    of_network = PlacementFacts.on(data, network, config.activation)
    of_network.require_trainable(len(data.train), resolved.training_recipe.batch_size)
    of_network.prove()
    facts = of_network.of(chosen)
    resolved = resolved.with_weights(data)
    if note := look_alike(network):
        report(f"note: {note}")
    report(
        f"training {network.label}, {facts['placement']} "
        f"({facts['ratio']}), {resolved.start_text}, on {len(data.train):,} images of "
        f"{data.name}, {on}"
    )
    spec = resolved.trial_spec(chosen)

    def line(metrics: EpochMetrics) -> None:
        report(
            f"epoch {metrics.epoch}/{spec.recipe.epochs}  train loss {metrics.train_loss:.3f}  "
            f"val loss {metrics.val_loss:.3f}  val acc {metrics.val_accuracy:.1%}  "
            f"{metrics.seconds:.1f} s"
        )

    with full_gpu_raises(lambda why: RunStoppedError(why + ALONE, says_how_to_go_on=True)):
        result = run_trial(
            spec,
            data,
            device=on,
            on_epoch=line,
            deterministic=resolved.deterministic,
            weights=resolved.start,
        )
    last = result.epochs[-1].to_json() if result.epochs else {}
    row = {
        "backbone": network.name,
        **facts,
        "start": resolved.start_text,
        "seed": config.seed,
        "epochs": len(result.epochs),
        **{key: last.get(key) for key in ("train_loss", "val_loss", "val_accuracy")},
        "history": [metrics.to_json() for metrics in result.epochs],
        "failure": result.failure,
        "out": config.out,
    }
    if folder is not None and result.failure is None:
        digest = None if resolved.start is None else resolved.start.digest
        details = card_details(resolved, data_facts(data), row, digest)
        card = export_model(result.model, folder, details=details)
        report(f"wrote {card}")
    return row


def _device(name: str) -> str:
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is unknown; use auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("device cuda is not available on this machine; use --device cpu")
    return "cuda" if available and name != "cpu" else "cpu"
