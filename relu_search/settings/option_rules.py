"""Which options of a search fit together."""

from __future__ import annotations

from relu_search.settings.search_options import COARSE_TO_FINE, SearchOptions
from relu_search.settings.storage_urls import require_encoded
from search_spaces import GATED_ACTIVATIONS, InputError


def check_combinations(options: SearchOptions) -> None:
    """Check the rules between two or more options.

    Raises:
        InputError: two options exclude each other, or a storage URL that drivers misread.
    """
    require_encoded(options.storage or "")
    if options.granularity == COARSE_TO_FINE and options.sampler != "gp":
        raise InputError(
            f"granularity coarse-to-fine works with sampler gp, not {options.sampler}; leave "
            "--sampler out, or choose one granularity"
        )
    if options.search_norm and options.norm == "drop":
        raise InputError("norm drop and search_norm exclude each other; give one of them")
    if options.pack != 1:
        _check_pack(options)
    if options.pack != 1 or options.compiled or options.captured:
        _check_same_layers(options)


def _check_pack(options: SearchOptions) -> None:
    if options.compiled:
        raise InputError("pack and compiled exclude each other; give one of them")
    if options.exchange is not None:
        raise InputError(
            "pack and exchange exclude each other: packed trials write straight into the run "
            "folder; let all nodes see it, or leave out --pack"
        )


def _check_same_layers(options: SearchOptions) -> None:
    """Packed, compiled and captured trials differ in their ReLUs alone."""
    if options.norm == "drop" or options.search_norm:
        raise InputError(
            "packed, compiled and captured training need networks that differ in their ReLUs "
            "alone; keep the norms, or leave out --pack, --compiled and --captured"
        )
    if options.activation not in GATED_ACTIVATIONS:
        raise InputError(
            "packed, compiled and captured training need an activation without weights or channels "
            f"of its own, not {options.activation}; use {', '.join(GATED_ACTIVATIONS)}, or leave "
            "out --pack, --compiled and --captured"
        )
