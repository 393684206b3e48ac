"""The activations that can stand at kept sites: those of the paper's Section II-A."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.backbones import Activation


class CReLU(nn.Module):
    """Concatenated ReLU, (N, C, H, W) -> (N, 2C, H, W): [relu(x), relu(-x)]. arXiv:1603.05201."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, -x), 1).relu()


ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,  # slope 0.01
    "prelu": nn.PReLU,  # one learned slope per kept site, 0.25 at the start
    "rrelu": nn.RReLU,  # slope drawn from 1/8 to 1/3 in training; the mean of both in eval mode
    "elu": nn.ELU,  # alpha 1
    "crelu": CReLU,
}


def activation_name(module: nn.Module) -> Activation:
    """The name of an activation module."""
    return next(name for name, kind in ACTIVATIONS.items() if type(module) is kind)
