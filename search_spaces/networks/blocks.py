"""One class per block of the paper. The docstring of a block gives its order of operations.

Every block is built paired. Each ReLU is an `nn.ReLU` of its own, not in-place. `sites` names them
in forward order, each with the BatchNorm directly before it (None after a sum). The module `sites`
replaces a dropped ReLU by `nn.Identity`, so all placements that keep their norms have the same
parameters and `state_dict` keys.

Shapes: x is (N, C_in, H, W); a block returns (N, C_out, ceil(H/stride), ceil(W/stride)).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

Sites = dict[str, str | None]
"""Path of a ReLU within its block -> path of the BatchNorm directly before it."""

BN_EPS = 2e-5
BN_MOMENTUM = 0.1
"""Momentum 0.9 of the running averages in arXiv:1611.07718, in PyTorch's convention."""


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)


def conv1x1(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


class AbsentNorm(nn.Identity):
    """Replaces a BatchNorm that was dropped with its ReLU; keeps its number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels


class PlainBlock(nn.Module):
    """conv3x3 - BN - ReLU."""

    sites: ClassVar[Sites] = {"relu": "norm"}

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels_in, width, stride)
        self.norm = batch_norm(width)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(x)))


class PrePlainBlock(nn.Module):
    """BN - ReLU - conv3x3."""

    sites: ClassVar[Sites] = {"relu": "norm"}

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm = batch_norm(channels_in)
        self.relu = nn.ReLU()
        self.conv = conv3x3(channels_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.relu(self.norm(x)))


class BasicBlock(nn.Module):
    """conv3x3 - BN - ReLU1 - conv3x3 - BN, + shortcut, ReLU2.

    The shortcut is the identity, or 1x1 conv - BN if the width changes. Source: the
    paper's Figure 3.
    """

    sites: ClassVar[Sites] = {"relu1": "norm1", "relu2": None}

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels_in, width, stride)
        self.norm1 = batch_norm(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(width, width)
        self.norm2 = batch_norm(width)
        self.shortcut = _normed_projection(channels_in, width, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return self.relu2(residual + self.shortcut(x))


class PreBasicBlock(nn.Module):
    """BN - ReLU1 - conv3x3 - BN - ReLU2 - conv3x3 (- BN in PyramidNet), + shortcut.

    The shortcut is the identity. If the width changes, it is a 1x1 conv without BN of the input
    after BN and ReLU1. Source: the paper's Figure 4.
    """

    sites: ClassVar[Sites] = {"relu1": "norm1", "relu2": "norm2"}

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = batch_norm(channels_in)
        self.relu1 = nn.ReLU()
        self.conv1 = conv3x3(channels_in, width, stride)
        self.norm2 = batch_norm(width)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(width, width)
        self.end_norm: nn.Module = nn.Identity()
        self.projection = conv1x1(channels_in, width, stride) if channels_in != width else None
        self.channels_out = width

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.norm1(x))
        residual = self.conv2(self.relu2(self.norm2(self.conv1(activated))))
        shortcut = x if self.projection is None else self.projection(activated)
        return self.end_norm(residual) + shortcut


class PreBottleneckBlock(nn.Module):
    """BN - ReLU1 - 1x1(w) - BN - ReLU2 - 3x3(w) - BN - ReLU3 - 1x1(4w), + shortcut.

    In PyramidNet one more BN is at the end of the branch. The shortcut is the identity. If the
    width changes, it is a 1x1 conv without BN of the input after BN and ReLU1. The first
    convolution has the stride.
    """

    sites: ClassVar[Sites] = {"relu1": "norm1", "relu2": "norm2", "relu3": "norm3"}
    expansion: ClassVar[int] = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = width * self.expansion
        self.norm1 = batch_norm(channels_in)
        self.relu1 = nn.ReLU()
        self.conv1 = conv1x1(channels_in, width, stride)
        self.norm2 = batch_norm(width)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(width, width)
        self.norm3 = batch_norm(width)
        self.relu3 = nn.ReLU()
        self.conv3 = conv1x1(width, channels_out)
        self.end_norm: nn.Module = nn.Identity()
        self.projection = (
            conv1x1(channels_in, channels_out, stride) if channels_in != channels_out else None
        )
        self.channels_out = channels_out

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.norm1(x))
        residual = self.conv1(activated)
        residual = self.conv2(self.relu2(self.norm2(residual)))
        residual = self.conv3(self.relu3(self.norm3(residual)))
        shortcut = x if self.projection is None else self.projection(activated)
        return self.end_norm(residual) + shortcut


class Branch(nn.Module):
    """conv3x3 - BN - ReLU - conv3x3 - BN: a residual branch F of a merge-and-run block."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels_in, width, stride)
        self.norm1 = batch_norm(width)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(width, width)
        self.norm2 = batch_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))


class MergeRunBlock(nn.Module):
    """s = (P1(x1) + P2(x2)) / 2; out1 = ReLU1(s + F1(x1)), out2 = ReLU2(s + F2(x2)).

    P is the identity, or 1x1 conv - BN if the width changes. Source: arXiv:1611.07718.
    """

    sites: ClassVar[Sites] = {
        "branch1.relu": "branch1.norm1",
        "relu1": None,
        "branch2.relu": "branch2.norm1",
        "relu2": None,
    }

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch1 = Branch(channels_in, width, stride)
        self.shortcut1 = _normed_projection(channels_in, width, stride)
        self.relu1 = nn.ReLU()
        self.branch2 = Branch(channels_in, width, stride)
        self.shortcut2 = _normed_projection(channels_in, width, stride)
        self.relu2 = nn.ReLU()

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x1, x2 = inputs
        shared = (self.shortcut1(x1) + self.shortcut2(x2)) / 2
        return self.relu1(shared + self.branch1(x1)), self.relu2(shared + self.branch2(x2))


class MergeRunLastBlock(nn.Module):
    """s = (P1(x1) + P2(x2)) / 2; out = ReLU(s + F1(x1) + F2(x2)): both branches are added."""

    sites: ClassVar[Sites] = {
        "branch1.relu": "branch1.norm1",
        "branch2.relu": "branch2.norm1",
        "relu": None,
    }

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch1 = Branch(channels_in, width, stride)
        self.shortcut1 = _normed_projection(channels_in, width, stride)
        self.branch2 = Branch(channels_in, width, stride)
        self.shortcut2 = _normed_projection(channels_in, width, stride)
        self.relu = nn.ReLU()

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        x1, x2 = inputs
        shared = (self.shortcut1(x1) + self.shortcut2(x2)) / 2
        return self.relu(shared + self.branch1(x1) + self.branch2(x2))


class Fork(nn.Module):
    """x -> (x, x): both inputs of the first merge-and-run block are the output of the stem."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def _normed_projection(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(conv1x1(channels_in, channels_out, stride), batch_norm(channels_out))
