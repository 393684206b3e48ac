"""Small networks as users write them, with every habit that a search of ReLUs has to survive."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 6


def conv(channels_in: int = CHANNELS, channels: int = CHANNELS, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, stride, padding=1)


class Head(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean((2, 3)))


class Odd(nn.Module):
    """A stem and a head; what is between them differs."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = conv(in_channels)
        self.head = Head(num_classes)


class SharedBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(), conv()
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv2(self.relu(self.conv1(x))))
        return self.relu(y + x)


class SharedRelu(Odd):
    """One ReLU object for both ReLUs of a block, working in place."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.block1, self.block2 = SharedBlock(), SharedBlock()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block2(self.block1(F.relu(self.stem(x)))))


class OneReluForAll(Odd):
    """One ReLU object that three modules know under three paths, called five times."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        relu = nn.ReLU()
        self.first = nn.Sequential(conv(), relu)
        self.second = nn.Sequential(conv(), relu)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.second(self.first(x))
        return self.head(self.relu(self.second(x)))


class Functional(Odd):
    """Functions and methods instead of modules, one of them in place."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.conv1, self.conv2, self.conv3 = conv(), conv(), conv()
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x), inplace=True)
        x = torch.relu(self.conv1(x))
        x = self.drop(self.conv2(x).relu())
        return self.head(F.relu6(self.conv3(x)))


class Looped(Odd):
    """ReLUs in a ModuleList, called in a loop, and convolutions that are called twice."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.convs = nn.ModuleList(conv() for _ in range(3))
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            for layer, relu in zip(self.convs, self.relus, strict=True):
                x = x + relu(layer(x))
        return self.head(x)


class Nested(Odd):
    """Sequential in Sequential, with ReLU6 and dropout."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.body = nn.Sequential(
            nn.Sequential(conv(), nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.ReLU6())),
            nn.Dropout2d(0.2),
            nn.Sequential(nn.Sequential(nn.Sequential(conv(stride=2), nn.ReLU()))),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


class Flat(Odd):
    """Ten convolutions in one Sequential: no module repeats."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.body = nn.Sequential(*(m for _ in range(10) for m in (conv(), nn.ReLU())))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


class TwoHeads(Odd):
    """Logits and auxiliary logits in training, logits alone in evaluation."""

    def __init__(self, num_classes: int = 10, **given: int) -> None:
        super().__init__(num_classes, **given)
        self.body = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU())
        self.extra = nn.Sequential(conv(), nn.ReLU(), Head(num_classes))

    def forward(self, x: Tensor) -> Any:
        x = self.body(self.stem(x))
        return (self.head(x), self.extra(x)) if self.training else self.head(x)


class NeverCalled(Odd):
    """A ReLU and a convolution that no forward pass uses."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.relu, self.conv, self.unused = nn.ReLU(), conv(), nn.ReLU()
        self.frozen = conv().requires_grad_(False)
        self.idle = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.frozen(self.relu(self.conv(self.stem(x)))))


class Gated(Odd):
    """A squeeze-and-excitation gate in each of two blocks."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.relu1 = conv(), nn.ReLU()
            self.conv2, self.relu2 = conv(), nn.ReLU()
            self.se = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(CHANNELS, 2, 1), nn.ReLU(),
                nn.Conv2d(2, CHANNELS, 1), nn.Sigmoid(),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv2(self.relu1(self.conv1(x)))
            return self.relu2(y * self.se(y) + x)

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.block1, self.block2 = Gated.Block(), Gated.Block()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block2(self.block1(self.act(self.stem(x)))))


class Smooth(Odd):
    """No ReLU at all."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.silu(torch.tanh(self.stem(x))))


class Gelus(Odd):
    """Both forms of GELU, as functions and as a module of the user's own."""

    def __init__(self, *args: int) -> None:
        super().__init__(*args)
        self.own = _OwnGelu()

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.stem(x), approximate="tanh")
        return self.head(self.own(F.gelu(x)) - F.gelu(input=x))


class _OwnGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x)


# The networks below are refused.


class MoreInTraining(Odd):
    """A ReLU that is called twice in training and once in evaluation."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        return self.head(self.relu(-x) if self.training else x)


class DataDependent(Odd):
    """A ReLU whose number of calls depends on the images."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.conv, self.relu = conv(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.stem(x))
        for _ in range(int(len(x) > 1) + 1):
            y = self.relu(self.conv(y))
        return self.head(y)


class FixedBatch(Odd):
    """A forward pass for one image alone."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.stem(x)).view(1, CHANNELS, *x.shape[2:]))


class UsedAgain(Odd):
    """The input of a ReLU that works in place is used again."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.relu(x)
        return self.head(x)


class Untraceable(Odd):
    """A functional ReLU beside control flow that depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(x if x.sum() >= 0 else -x)


def shared_relu(num_classes: int, in_channels: int) -> nn.Module:
    return SharedRelu(num_classes=num_classes, in_channels=in_channels)


def wants_depth(num_classes: int, depth: int) -> nn.Module:
    return Nested(num_classes=num_classes) if depth else nn.Identity()


def without_classes() -> nn.Module:
    return Nested()


def fails() -> nn.Module:
    raise RuntimeError("no luck today")


def no_module() -> str:
    return "a text"


def scripted(num_classes: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        return torch.jit.script(Head(num_classes))


def wants_large_images(num_classes: int) -> nn.Module:
    return nn.Sequential(
        conv(3, CHANNELS, 2), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 16), nn.ReLU(),
        Head(num_classes),
    )  # fmt: skip
