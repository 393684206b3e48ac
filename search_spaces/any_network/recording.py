"""A dry run of a network: which activations and convolutions are called, in which order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

ActivationKind = Literal["relu", "relu6", "silu", "gelu", "hardswish"]
ACTIVATION_KINDS: tuple[ActivationKind, ...] = get_args(ActivationKind)

MODULES: dict[type[nn.Module], ActivationKind] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.GELU: "gelu",
    nn.Hardswish: "hardswish",
}
FUNCTIONS: dict[Callable[..., Any], ActivationKind] = {
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    Tensor.relu: "relu",
    Tensor.relu_: "relu",
    F.relu6: "relu6",
    F.silu: "silu",
    F.gelu: "gelu",
    F.hardswish: "hardswish",
}
_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@dataclass(frozen=True)
class Call:
    """One call of an activation.

    Attributes:
        kind: of the activation.
        path: of the module that is called; of the module that calls a function.
        number: counts the calls with this path and `is_function`, from 0.
        is_function: a function is called, such as `F.relu`.
        shape: of the input, without the batch.
        convs: convolutions called before it.
    """

    kind: ActivationKind
    path: str
    number: int
    is_function: bool
    shape: tuple[int, ...]
    convs: int

    @property
    def key(self) -> tuple[str, bool, int]:
        """Identifies the call among all calls of a network."""
        return self.path, self.is_function, self.number


@dataclass(frozen=True)
class Recording:
    """What a forward pass of one batch called.

    Attributes:
        calls: of activations, in order.
        macs: multiply-accumulates of convolutions and linear layers, for one image.
        output: (N, ...) what the network returned, as `first_tensor` takes it.
    """

    calls: tuple[Call, ...]
    macs: int
    output: object


def kind_of(module: nn.Module) -> ActivationKind | None:
    """The kind of an activation module; None for other modules."""
    return next((kind for cls, kind in MODULES.items() if isinstance(module, cls)), None)


def first_tensor(output: Any) -> Any:
    """The logits in what a network returns: of several outputs the first, or the one so named."""
    while not isinstance(output, Tensor):
        if isinstance(output, dict) and "logits" in output:
            output = output["logits"]
        elif isinstance(output, tuple | list) and output:
            output = output[0]
        else:
            break
    return output


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Small forward passes on one CPU thread: beside other processes more are slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def record(model: nn.Module, images: Tensor) -> Recording:
    """Run a network on images and record its calls.

    Raises:
        Exception: raised by the network.
    """
    with on_one_thread(), _modules_called(model) as stack:
        mode = _Recorder(stack, len(images))
        with mode, _activation_modules(model, stack, mode):
            output = first_tensor(model(images))
    return Recording(tuple(mode.calls), mode.macs, output)


class _Recorder(TorchFunctionMode):
    """Notes activations, convolutions and linear layers."""

    def __init__(self, stack: list[str], batch: int) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.macs = 0
        self.inside = 0  # activation modules that are being called
        self._stack, self._batch, self._convs = stack, batch, 0

    def note(self, kind: ActivationKind, path: str, is_function: bool, x: Tensor) -> None:
        number = sum((call.path, call.is_function) == (path, is_function) for call in self.calls)
        shape = tuple(x.shape[1:])
        self.calls.append(Call(kind, path, number, is_function, shape, self._convs))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        kind = FUNCTIONS.get(func)
        if kind is not None and not self.inside:
            self.note(kind, self._stack[-1], True, args[0] if args else given["input"])
        output = func(*args, **given)
        if func in _CONVOLUTIONS or func in _TRANSPOSED or func is F.linear:
            x = args[0] if args else given["input"]
            weight = args[1] if len(args) > 1 else given["weight"]
            counted = x if func in _TRANSPOSED else output
            self.macs += counted.numel() // self._batch * weight.shape[1:].numel()
            self._convs += func is not F.linear
        return output


@contextmanager
def _modules_called(model: nn.Module) -> Iterator[list[str]]:
    """In this context the list has the paths of the modules that are being called."""
    paths = {module: path for path, module in model.named_modules()}
    stack: list[str] = []

    def enter(module: nn.Module, _inputs: Any) -> None:
        stack.append(paths.get(module, stack[-1] if stack else ""))

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        stack.pop()

    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave),
    ]
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _activation_modules(model: nn.Module, stack: list[str], mode: _Recorder) -> Iterator[None]:
    """In this context the mode notes each call of an activation module, but nothing inside it."""

    def enter(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kind = kind_of(module)
        assert kind is not None
        if not mode.inside:
            mode.note(kind, stack[-1], False, inputs[0])
        mode.inside += 1

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        mode.inside -= 1

    handles = []
    for module in model.modules():
        if kind_of(module) is not None:
            handles += [
                module.register_forward_pre_hook(enter),
                module.register_forward_hook(leave),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def without_call_number(path: str) -> str:
    """The path of a module as `torch.fx` writes it, without its suffix for repeated calls."""
    return re.sub(r"@\d+$", "", path)
