"""The recipe's optimizer: Nesterov SGD by torch's fused kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from trials.training.recipe import Recipe


class NesterovSGD:
    """Steps equal to the bit to those of `torch.optim.SGD(..., nesterov=True, fused=True)`.

    Weight decay d on all parameters, momentum m, learning rate r (Sutskever et al. 2013, in torch's
    form): g = gradient + d w;  v = m v + g;  w = w - r (g + m v).

    To construct any `torch.optim.Optimizer` loads torch's compiler, which takes seconds in every
    worker process. This class does not load it.

    Attributes:
        recipe: gives momentum, weight decay and the first learning rate.
        learning_rate: of the next step; a number, or a tensor of one value on the same device.
        momenta: v by name of the parameter; zero before the first step.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        """Args: a model that is already on its device, and its recipe."""
        self.learning_rate: float | Tensor = recipe.learning_rate
        named = dict(model.named_parameters())
        self.momenta = {name: p.detach().clone().zero_() for name, p in named.items()}
        self._parameters: list[Tensor] = list(named.values())
        self.recipe = recipe

    def forget_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        used = [
            (parameter, parameter.grad, momentum)
            for parameter, momentum in zip(self._parameters, self.momenta.values(), strict=True)
            if parameter.grad is not None
        ]
        sgd(
            [parameter for parameter, _, _ in used],
            [gradient for _, gradient, _ in used],
            [momentum for _, _, momentum in used],
            fused=True,
            weight_decay=self.recipe.weight_decay,
            momentum=self.recipe.momentum,
            lr=self.learning_rate,
            dampening=0.0,
            nesterov=True,
            maximize=False,
        )
