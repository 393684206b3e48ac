"""The six networks as plain functions of a state dict, written from their definitions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from search_spaces import build

# Blocks in each stage, counted by hand from the depth.
SMALL = {
    "plain-9": (2, 2, 3),
    "preplain-9": (2, 2, 3),
    "resnet-12": (1, 2, 2),
    "preresnet-12": (1, 2, 2),
    "preresnet-bottleneck-17": (1, 2, 2),
    "dfn-22": (1, 2, 2),
}
# Placements of every family that keep no ReLU before an identity shortcut.
FITTING = {
    "plain-9": ["1111111", "0110101"],
    "preplain-9": ["1111111", "0110101"],
    "resnet-12": ["10" * 5, "0010001000", "10" * 4 + "11"],
    "preresnet-12": ["1" * 10, "0110110001"],
    "preresnet-bottleneck-17": ["1" * 15, "011101110010001"],
    "dfn-22": ["1010" * 4 + "110", "1010" * 4 + "111", "1000" * 4 + "010"],
}


def look_trained(model, generator):
    """In float64, with BN statistics and weights that all differ from their defaults."""
    model = model.double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ):
                tensor.uniform_(low, high, generator=generator)
        elif isinstance(module, nn.PReLU):
            module.weight.data.uniform_(-0.5, 0.5, generator=generator)
    nn.init.normal_(model.classifier.bias, generator=generator)
    return model


def trained_looking(name, placement, **options):
    generator = torch.Generator().manual_seed(7)
    return look_trained(build(name, placement, width=4, generator=generator, **options), generator)


def images():
    return torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1)).double()


class Textbook:
    """Reads the placement's bits one by one; `rectify(x, path)` is what a kept site computes."""

    def __init__(self, state, placement, training, rectify=lambda x, _: F.relu(x)):
        self.state = state
        bits, *suffixes = placement.split("@")
        self.bits = iter(bits)
        self.end = "end-norm" in suffixes
        self.drop = "drop-norm" in suffixes
        self.training = training
        self.rectify = rectify

    def relu(self, x, path):
        return self.rectify(x, path) if next(self.bits) == "1" else x

    def norm_relu(self, x, norm, relu):
        """A site that a BatchNorm stands directly before: dropped with it, or without it."""
        if next(self.bits) == "1":
            return self.rectify(self.norm(x, norm), relu)
        return x if self.drop else self.norm(x, norm)

    def conv(self, x, name, stride=1):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding={3: 1, 1: 0}[weight.shape[-1]])

    def norm(self, x, name):
        mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        if self.training:
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=2e-5)
        return F.batch_norm(x, mean, var, weight, bias, eps=2e-5)

    def plain(self, x, at, stride, _):
        return self.norm_relu(self.conv(x, f"{at}.conv", stride), f"{at}.norm", f"{at}.relu")

    def preplain(self, x, at, stride, _):
        return self.conv(self.norm_relu(x, f"{at}.norm", f"{at}.relu"), f"{at}.conv", stride)

    def resnet(self, x, at, stride, _):
        y = self.norm_relu(self.conv(x, f"{at}.conv1", stride), f"{at}.norm1", f"{at}.relu1")
        y = self.norm(self.conv(y, f"{at}.conv2"), f"{at}.norm2")
        return self.relu(y + self.projected(x, f"{at}.shortcut", stride), f"{at}.relu2")

    def projected(self, x, at, stride):
        """Identity in the first stage's blocks and inside stages, else 1x1 conv and BN."""
        if stride == 1:
            return x
        return self.norm(self.conv(x, f"{at}.0", stride), f"{at}.1")

    def preresnet(self, x, at, stride, _):
        pre = self.norm_relu(x, f"{at}.norm1", f"{at}.relu1")
        y = self.norm_relu(self.conv(pre, f"{at}.conv1", stride), f"{at}.norm2", f"{at}.relu2")
        y = self.conv(y, f"{at}.conv2")
        if self.end:
            y = self.norm(y, f"{at}.end_norm")
        return y + (x if stride == 1 else self.conv(pre, f"{at}.projection", stride))

    def bottleneck(self, x, at, stride, first):
        pre = self.norm_relu(x, f"{at}.norm1", f"{at}.relu1")
        y = self.norm_relu(self.conv(pre, f"{at}.conv1", stride), f"{at}.norm2", f"{at}.relu2")
        y = self.norm_relu(self.conv(y, f"{at}.conv2"), f"{at}.norm3", f"{at}.relu3")
        y = self.conv(y, f"{at}.conv3")
        if self.end:
            y = self.norm(y, f"{at}.end_norm")
        widens = stride == 2 or first
        return y + (self.conv(pre, f"{at}.projection", stride) if widens else x)

    def branch(self, x, at, stride):
        y = self.norm_relu(self.conv(x, f"{at}.conv1", stride), f"{at}.norm1", f"{at}.relu")
        return self.norm(self.conv(y, f"{at}.conv2"), f"{at}.norm2")

    def dfn(self, xs, at, stride, _, *, last=False):
        x1, x2 = xs if isinstance(xs, tuple) else (xs, xs)
        p1 = self.projected(x1, f"{at}.shortcut1", stride)
        p2 = self.projected(x2, f"{at}.shortcut2", stride)
        shared = 0.5 * p1 + 0.5 * p2
        if last:
            f1 = self.branch(x1, f"{at}.branch1", stride)
            f2 = self.branch(x2, f"{at}.branch2", stride)
            return self.relu(shared + f1 + f2, f"{at}.relu")
        out1 = self.relu(shared + self.branch(x1, f"{at}.branch1", stride), f"{at}.relu1")
        out2 = self.relu(shared + self.branch(x2, f"{at}.branch2", stride), f"{at}.relu2")
        return out1, out2

    def network(self, x, name):
        family = name.rpartition("-")[0]
        x = self.conv(x, "stem.0")
        if not family.startswith("pre"):
            x = F.relu(self.norm(x, "stem.1"))
        block = getattr(self, family.removeprefix("preresnet-"))
        layout = [(stage, i) for stage, count in enumerate(SMALL[name]) for i in range(count)]
        for index, (stage, i) in enumerate(layout):
            stride = 2 if stage > 0 and i == 0 else 1
            last = {"last": True} if family == "dfn" and index == len(layout) - 1 else {}
            x = block(x, f"blocks.{index}", stride, index == 0, **last)
        if family.startswith("pre"):
            x = F.relu(self.norm(x, "final.0"))
        assert next(self.bits, None) is None, "the textbook used every bit"
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return F.linear(x, self.state["classifier.weight"], self.state["classifier.bias"])
