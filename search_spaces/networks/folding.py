"""Fold a network for inference: BatchNorm into convolutions, and two convolutions into one.

```python
folded = fold_norms(model)                  # a torch.fx graph in eval mode
for pair in find_pairs(folded):             # two convolutions with nothing between them
    fold_pair(folded, pair)                 # exact, also at the image borders
```

Two 3x3 convolutions with zero padding equal one 5x5 convolution in the interior of the image only.
At the border the second convolution reads zeros, but the 5x5 convolution reads what the first one
would compute from the padding. `FoldedPair` subtracts this difference. No correction is needed if
the second convolution has no padding, as every 1x1 convolution (border mode `front-padded`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from search_spaces.errors import InputError, one_line

Border = Literal["exact", "front-padded"]


@dataclass(frozen=True)
class Pair:
    """Two convolutions of a folded network with nothing between them.

    Attributes:
        first, second: their module paths; `fold_pair` puts the folded convolution at `first`.
        border: `exact` (border terms are subtracted) or `front-padded` (none are needed).
    """

    first: str
    second: str
    border: Border


class FoldedPair(nn.Module):
    """conv1 - conv2 as one convolution, with a correction at the border if conv2 has padding.

    For kernel sizes k1, k2, strides s1, s2 and paddings p1, p2 the one convolution has kernel size
    s1*(k2 - 1) + k1, stride s1*s2 and padding s1*p2 + p1. Just outside the output of conv1, conv2
    reads zeros but the one convolution reads `bias1 + conv1(padded x)`. On each side this excess is
    a 1-D convolution of the outermost line of x. A corner is part of two lines, so its excess is
    subtracted twice and added back once.

    Input (N, C_in, H, W); output as of conv2(conv1(x)).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d) -> None:
        super().__init__()
        self.border: Border = _border_of(first, second)
        self.strides = first.stride[0], second.stride[0]
        self.paddings = _padding_of(first), _padding_of(second)
        self.kernels = first.kernel_size[0], second.kernel_size[0]
        w1, b1 = _weight_and_bias(first)
        w2, b2 = _weight_and_bias(second)
        self._keep("", w1, b1, w2, first.weight)
        self.bias += b2.to(self.bias)
        if self.border == "exact":
            # At the start, tap 0 of conv2 reads the last tap of conv1; at the end, the reverse.
            ends: dict[str, tuple[int | None, int | None]] = {
                "all": (None, None),
                "start": (0, -1),
                "end": (-1, 0),
            }
            for y in ends:
                for x in ends:
                    if (y, x) == ("all", "all"):
                        continue
                    part1 = _taps(_taps(w1, 2, ends[y][1]), 3, ends[x][1])
                    part2 = _taps(_taps(w2, 2, ends[y][0]), 3, ends[x][0])
                    self._keep(f"_{y}_{x}", part1, b1, part2, first.weight)

    def _keep(self, suffix: str, w1: Tensor, b1: Tensor, w2: Tensor, like: Tensor) -> None:
        """Register the kernel and bias of conv2(conv1(.)), computed in float64."""
        weight = _compose(w1, w2, self.strides[0]).to(like.dtype)
        self.register_buffer(f"weight{suffix}", weight)
        self.register_buffer(f"bias{suffix}", (w2.sum((2, 3)) @ b1).to(like.dtype))

    def forward(self, x: Tensor) -> Tensor:
        stride, padding = self._stride, self._padding
        y = F.conv2d(x, self.weight, self.bias, stride, padding)
        if self.border == "front-padded":
            return y
        height, width = y.shape[2:]
        sides = {
            axis: [side for side in ("start", "end") if self._reaches(side, x.shape[axis])]
            for axis in (2, 3)
        }
        for side in sides[2]:
            y = y - _at(side, 2, self._excess(x, side, "all", width), height)
        for side in sides[3]:
            line = self._excess(x, "all", side, height)
            for corner in sides[2]:
                line = line - _at(corner, 2, self._excess(x, corner, side, 1), height)
            y = y - _at(side, 3, line, width)
        return y

    @property
    def _stride(self) -> int:
        return self.strides[0] * self.strides[1]

    @property
    def _padding(self) -> int:
        return self.strides[0] * self.paddings[1] + self.paddings[0]

    def _reaches(self, side: str, size: int) -> bool:
        """Whether conv2 reads beyond this side of the output of conv1; `size` is the input size."""
        if side == "start":
            return True
        inner = (size + 2 * self.paddings[0] - self.kernels[0]) // self.strides[0] + 1
        return (inner - 1) % self.strides[1] == 0

    def _touches(self, side: str, size: int) -> bool:
        """Whether conv1, one step beyond this side of its output, reads a line of the input."""
        if self.kernels[0] == 1:
            return False
        if side == "start":
            return self.strides[0] == 1
        return size % self.strides[0] == 0

    def _excess(self, x: Tensor, y_part: str, x_part: str, length: int) -> Tensor:
        """The excess of the one convolution in a row, a column or a corner of the output.

        Returns:
            (N or 1, C_out, 1 or length, 1 or length): `length` on the axis whose part is `all`.
        """
        weight = getattr(self, f"weight_{y_part}_{x_part}")
        bias = getattr(self, f"bias_{y_part}_{x_part}")
        parts = {2: y_part, 3: x_part}
        if any(part != "all" and not self._touches(part, x.shape[a]) for a, part in parts.items()):
            shape = [1, len(bias), 1, 1]
            for axis, part in parts.items():
                shape[axis] = length if part == "all" else 1
            return bias.view(1, -1, 1, 1).expand(shape)
        padding = [0, 0]
        for axis, part in parts.items():
            if part == "all":
                padding[axis - 2] = self._padding
            else:
                x = x.narrow(axis, 0 if part == "start" else x.shape[axis] - 1, 1)
        return F.conv2d(x, weight, bias, self._stride, padding)

    def extra_repr(self) -> str:
        out, channels_in, kernel, _ = self.weight.shape
        return f"{channels_in}, {out}, kernel_size={kernel}, stride={self._stride}, {self.border}"


def fold_norms(model: nn.Module) -> fx.GraphModule:
    """A copy in eval mode: each `conv - BN` becomes one convolution, and identities are removed.

    Exact to rounding. A BatchNorm stays if it does not directly follow a convolution, or if another
    module also reads the output of that convolution, or if one of the two is called several times
    or has no fixed weights. A randomised leaky ReLU, which ONNX does not have, becomes a leaky ReLU
    with its slope in eval mode.

    Raises:
        InputError: `torch.fx` cannot trace the model.
    """
    network = _traced(copy.deepcopy(model).eval())
    modules = dict(network.named_modules(remove_duplicate=False))
    for node in list(network.graph.nodes):
        if node.op != "call_module":
            continue
        if isinstance(modules[node.target], nn.Identity):
            node.replace_all_uses_with(node.args[0])
            network.graph.erase_node(node)
            continue
        if isinstance(module := modules[node.target], nn.RReLU):
            slope = (module.lower + module.upper) / 2
            network.set_submodule(str(node.target), nn.LeakyReLU(slope))
        conv = _only_source(node, modules)
        if _is_foldable_norm(modules[node.target]) and conv is not None:
            network.set_submodule(
                str(conv.target), _conv_with_norm(modules[str(conv.target)], modules[node.target])
            )
            modules[str(conv.target)] = network.get_submodule(str(conv.target))
            node.replace_all_uses_with(conv)
            network.graph.erase_node(node)
    return _tidy(network)


def find_pairs(network: fx.GraphModule) -> tuple[Pair, ...]:
    """Pairs of convolutions that `fold_pair` can fold; longer chains are cut into pairs."""
    modules = dict(network.named_modules(remove_duplicate=False))
    pairs: list[Pair] = []
    taken: set[str] = set()
    for node in network.graph.nodes:
        if node.op != "call_module" or not _is_conv(modules[node.target]):
            continue
        source = _only_source(node, modules)
        if source is None or str(source.target) in taken:
            continue
        first, second = modules[str(source.target)], modules[str(node.target)]
        if _is_foldable(first, second):
            pairs.append(Pair(str(source.target), str(node.target), _border_of(first, second)))
            taken |= {str(source.target), str(node.target)}
    return tuple(pairs)


def fold_pair(network: fx.GraphModule, pair: Pair) -> None:
    """Replace the two convolutions of a pair by one `FoldedPair`, in place."""
    first, second = network.get_submodule(pair.first), network.get_submodule(pair.second)
    if not (isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)):
        raise TypeError(f"{pair} does not name two convolutions of this network")
    network.set_submodule(pair.first, FoldedPair(first, second).eval())
    for node in network.graph.nodes:
        if node.op == "call_module" and node.target == pair.second:
            node.replace_all_uses_with(node.args[0])
            network.graph.erase_node(node)
            break
    _tidy(network)


def _only_source(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node | None:
    """The convolution whose output only this node reads, or None.

    Both are called once: a module that is called again cannot be changed for one of its calls.
    """
    source = node.args[0] if node.args else None
    if (
        isinstance(source, fx.Node)
        and source.op == "call_module"
        and _is_conv(modules[str(source.target)])
        and len(source.users) == 1
        and _calls(node, modules) == _calls(source, modules) == 1
    ):
        return source
    return None


def _calls(node: fx.Node, modules: dict[str, nn.Module]) -> int:
    """How often the graph calls the module of a node, under any of its paths."""
    module = modules[str(node.target)]
    nodes = (other for other in node.graph.nodes if other.op == "call_module")
    return sum(modules[str(other.target)] is module for other in nodes)


def _is_conv(module: nn.Module) -> bool:
    """A plain convolution: none whose weights are computed from others in each call."""
    return type(module) is nn.Conv2d and not module._forward_pre_hooks


def _is_foldable_norm(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and module.affine and module.running_mean is not None


def _traced(model: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(model)
    except Exception as error:
        raise InputError(
            f"torch.fx cannot trace this network ({one_line(str(error))[:160]}), so nothing in it "
            "can be folded"
        ) from error


def _is_foldable(first: nn.Conv2d, second: nn.Conv2d) -> bool:
    """Both 1x1 or 3x3, stride 1 or 2; no padding in the second, or `k // 2` in both."""
    for conv in (first, second):
        regular = (
            conv.kernel_size in ((1, 1), (3, 3))
            and conv.stride in ((1, 1), (2, 2))
            and conv.groups == 1
            and conv.dilation == (1, 1)
            and conv.padding_mode == "zeros"
            and isinstance(conv.padding, tuple)
            and conv.padding[0] == conv.padding[1]
        )
        if not regular:
            return False
    return second.padding[0] == 0 or all(
        conv.padding[0] == conv.kernel_size[0] // 2 for conv in (first, second)
    )


def _border_of(first: nn.Conv2d, second: nn.Conv2d) -> Border:
    if not _is_foldable(first, second):
        raise ValueError(f"{first} - {second} cannot be folded exactly")
    return "front-padded" if second.padding[0] == 0 else "exact"


def _compose(w1: Tensor, w2: Tensor, stride1: int) -> Tensor:
    """The kernel of conv2(conv1(.)): (C_out, C_in, s1*(kh2 - 1) + kh1, s1*(kw2 - 1) + kw1)."""
    (_, channels_in, h1, wide1), (out, _, h2, wide2) = w1.shape, w2.shape
    kernel = w1.new_zeros(out, channels_in, stride1 * (h2 - 1) + h1, stride1 * (wide2 - 1) + wide1)
    for i in range(h2):
        for j in range(wide2):
            top, left = stride1 * i, stride1 * j
            kernel[:, :, top : top + h1, left : left + wide1] += torch.einsum(
                "om,mchw->ochw", w2[:, :, i, j], w1
            )
    return kernel


def _at(side: str, axis: int, line: Tensor, size: int) -> Tensor:
    """Pad with zeros to `size` along an axis: the line is the first (`start`) or the last."""
    before, after = (0, size - 1) if side == "start" else (size - 1, 0)
    return F.pad(line, (0, 0, before, after) if axis == 2 else (before, after, 0, 0))


def _padding_of(conv: nn.Conv2d) -> int:
    return int(conv.padding[0])


def _taps(weight: Tensor, axis: int, which: int | None) -> Tensor:
    """One line of the taps of a kernel, or all of them (None)."""
    if which is None:
        return weight
    return weight.narrow(axis, which % weight.shape[axis], 1)


def _weight_and_bias(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    weight = conv.weight.detach().double()
    bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().double()
    return weight, bias


def _conv_with_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """conv - BN in eval mode as one convolution with a bias, computed in float64."""
    weight, bias = _weight_and_bias(conv)
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics cannot be folded")
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    folded = copy.deepcopy(conv)
    folded.weight = nn.Parameter((weight * scale[:, None, None, None]).to(conv.weight))
    shift = norm.bias.detach().double() + (bias - norm.running_mean.double()) * scale
    folded.bias = nn.Parameter(shift.to(conv.weight))
    return folded.eval()


def _tidy(network: fx.GraphModule) -> fx.GraphModule:
    network.graph.lint()
    network.delete_all_unused_submodules()
    network.recompile()
    return network
