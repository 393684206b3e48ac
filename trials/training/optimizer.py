"""The optimizers of recipes, by torch's fused kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from trials.training.recipe import Recipe

_BETA_2, _EPSILON = 0.999, 1e-8
"""AdamW's constants, torch's defaults."""


class Optimizer(ABC):
    """Updates the parameters of a model as its recipe says.

    To construct any `torch.optim.Optimizer` loads torch's compiler, which takes seconds in every
    worker process. These classes call the same kernels and do not load it.

    Attributes:
        recipe: gives optimizer, momentum, weight decay, clipping and the first learning rate.
        learning_rate: of the next step; a number, or a tensor of one value on the same device.
        state: by name, all tensors that a step changes beside the weights.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        """Args: a model that is already on its device, and its recipe."""
        self.learning_rate: float | Tensor = recipe.learning_rate
        self.recipe = recipe
        self.state: dict[str, Tensor] = {}
        self._parameters = dict(model.named_parameters())
        spared = [n for n, p in self._parameters.items() if recipe.spare_norms and is_vector(p)]
        decayed = [name for name in self._parameters if name not in spared]
        groups = ((decayed, recipe.weight_decay), (spared, 0.0))
        self._groups = [(names, decay) for names, decay in groups if names]

    def forget_gradients(self) -> None:
        for parameter in self._parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient. Does not wait for the device."""
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters.values(), self.recipe.clip_norm)
        for names, decay in self._groups:
            used = [name for name in names if self._parameters[name].grad is not None]
            parameters: list[Tensor] = [self._parameters[name] for name in used]
            gradients = [p.grad for p in parameters if p.grad is not None]
            self._update(used, parameters, gradients, decay)

    @abstractmethod
    def _update(
        self,
        names: Sequence[str],
        parameters: list[Tensor],
        gradients: list[Tensor],
        decay: float,
    ) -> None:
        """Update some of the parameters with a common weight decay."""


class NesterovSGD(Optimizer):
    """Steps equal to the bit to those of `torch.optim.SGD(..., nesterov=True, fused=True)`.

    Weight decay d, momentum m, learning rate r (Sutskever et al. 2013, in torch's form):
    g = gradient + d w;  v = m v + g;  w = w - r (g + m v). The state is v by name of the parameter,
    zero before the first step.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__(model, recipe)
        self.state = {name: _zeros(p) for name, p in self._parameters.items()}

    def _update(
        self,
        names: Sequence[str],
        parameters: list[Tensor],
        gradients: list[Tensor],
        decay: float,
    ) -> None:
        sgd(
            parameters,
            gradients,
            [self.state[name] for name in names],
            fused=True,
            weight_decay=decay,
            momentum=self.recipe.momentum,
            lr=self.learning_rate,
            dampening=0.0,
            nesterov=True,
            maximize=False,
        )


class AdamW(Optimizer):
    """Steps equal to the bit to those of `torch.optim.AdamW(..., fused=True)`.

    Loshchilov and Hutter, arXiv:1711.05101. The state has, for each parameter, the means of its
    gradient and of its square, and the number of steps so far.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__(model, recipe)
        for name, parameter in self._parameters.items():
            self.state[name] = _zeros(parameter)
            self.state[_square(name)] = _zeros(parameter)
            self.state[_steps(name)] = torch.zeros((), device=parameter.device)

    def _update(
        self,
        names: Sequence[str],
        parameters: list[Tensor],
        gradients: list[Tensor],
        decay: float,
    ) -> None:
        adamw(
            parameters,
            gradients,
            [self.state[name] for name in names],
            [self.state[_square(name)] for name in names],
            [],
            [self.state[_steps(name)] for name in names],
            fused=True,
            amsgrad=False,
            beta1=self.recipe.momentum,
            beta2=_BETA_2,
            lr=self.learning_rate,
            weight_decay=decay,
            eps=_EPSILON,
            maximize=False,
        )


def optimizer_of(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The optimizer that a recipe names, for a model that is already on its device."""
    return AdamW(model, recipe) if recipe.optimizer == "adamw" else NesterovSGD(model, recipe)


def is_vector(parameter: Tensor) -> bool:
    """Whether it is a bias or belongs to a norm; `spare_norms` spares it from weight decay."""
    return parameter.dim() < 2


def _square(name: str) -> str:
    return f"{name}.square"


def _steps(name: str) -> str:
    return f"{name}.steps"


def _zeros(parameter: Tensor) -> Tensor:
    return parameter.detach().clone().zero_()
