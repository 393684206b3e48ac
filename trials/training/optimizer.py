"""The recipe's optimizer: Nesterov SGD by torch's fused kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from trials.training.recipe import Recipe


class NesterovSGD:
    """The same steps, bit for bit, as `torch.optim.SGD(..., nesterov=True, fused=True)`.

    Weight decay d on all parameters, momentum m, learning rate r (Sutskever et al. 2013, in torch's
    form): g = gradient + d w;  v = m v + g;  w = w - r (g + m v).

    Making any `torch.optim.Optimizer` loads torch's compiler, seconds in every worker process;
    this class does not.

    Attributes:
        recipe: momentum and weight decay are its own, and the first learning rate.
        learning_rate: of the next step; a number, or a tensor () on the parameters' device.
        momenta: v by name of the parameter; zero before the first step.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        """For a model that is on its device."""
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
        """Move every parameter by its gradient; all of them must have one."""
        gradients = [parameter.grad for parameter in self._parameters]
        sgd(
            self._parameters,
            [gradient for gradient in gradients if gradient is not None],
            list(self.momenta.values()),
            fused=True,
            weight_decay=self.recipe.weight_decay,
            momentum=self.recipe.momentum,
            lr=self.learning_rate,
            dampening=0.0,
            nesterov=True,
            maximize=False,
        )
