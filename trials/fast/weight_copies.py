"""Copies weights between a network and the stand-in or the pack that trains in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from search_spaces import InputError

STEP_COUNT = ".num_batches_tracked"
"""End of the name of BatchNorm's step counter: the one tensor that a stand-in does not have."""


def require_same_names(network: Iterable[str], trainer: Iterable[str]) -> None:
    """Check that a network and its stand-in or pack have the same tensors, step counters aside.

    Raises:
        InputError: they differ; the message has the first names.
    """
    ours, theirs = (
        {name for name in names if not name.endswith(STEP_COUNT)} for names in (network, trainer)
    )
    if ours != theirs:
        differ = sorted(ours ^ theirs)
        raise InputError(
            f"the network and the one that trains in its place differ in {len(differ)} tensors, "
            f"first {', '.join(differ[:3])}; train this placement with the eager back end"
        )


@torch.no_grad()
def copy_tensors(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copy every tensor of the source into the target, step counters aside.

    Raises:
        InputError: the names differ; nothing has been copied.
    """
    require_same_names(source, target)
    for name, tensor in target.items():
        if not name.endswith(STEP_COUNT):
            tensor.copy_(source[name])
