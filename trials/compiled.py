"""One compiled graph for all placements: gates as data, `torch.compile`, no silent recompilation.

With `nn.ReLU` and `nn.Identity` every placement is a graph of its own, and after eight of them
`torch.compile` falls back to eager without an error. A gated network has one graph; should it need
another one all the same, the training fails and says so.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch._dynamo
from torch import Tensor, nn

from search_spaces.backbones import Backbone
from search_spaces.networks import Network
from trials.recipe import Recipe
from trials.training import LossOf, loss_and_logits


def compiled_loss(recipe: Recipe) -> LossOf:
    """Loss and logits of a gated network, compiled for whole batches; a short last one is eager.

    Compiled once per process whatever the placement, as long as backbone and batches stay the same.
    On CUDA the compiled kernels are captured as CUDA graphs, so that a step costs a few launches;
    each network is recorded anew, without compiling.
    """

    def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if len(y) < recipe.batch_size:
            return loss_and_logits(model, x, y)
        if x.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        compiled = _compiled_for(model, x, recipe)
        with torch._dynamo.config.patch(error_on_recompile=True):
            return compiled(model, x, y)

    return loss_of


def _compiled_for(model: nn.Module, x: Tensor, recipe: Recipe) -> LossOf:
    assert isinstance(model, Network)
    return _compiled(
        model.backbone, model.num_classes, tuple(x.shape), str(x.device), recipe.precision
    )


@lru_cache(maxsize=1)
def _compiled(
    _backbone: Backbone, _classes: int, _shape: tuple[int, ...], device: str, _precision: str
) -> LossOf:
    """A fresh graph; what another backbone had is forgotten, as that would count as recompiling."""
    torch._dynamo.reset()
    mode = "reduce-overhead" if device.startswith("cuda") else "default"
    compiled: LossOf = torch.compile(loss_and_logits, dynamic=False, fullgraph=True, mode=mode)
    return compiled
