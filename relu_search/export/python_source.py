"""Writes a network as one readable Python file of plain `torch.nn`, and runs that file.

The docstrings and forward methods of the blocks are copied from their classes. The modules of each
block are written out. So a reader sees the paper's order of operations and every kept or dropped
ReLU, and the file does not need this project.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from relu_search.export.equivalence import Forward
from search_spaces.networks.blocks import batch_norm, conv1x1, conv3x3
from trials.files.scratch import scratch_folder

_LINE = 100
_HEAD = '''\
"""{title}

Plain PyTorch, written by relu-search: needs torch and safetensors. The weights are in
{weights}, beside this file.

    from model import load

    network = load()  # in eval mode
    logits = network(images)  # float32 (N, {channels}, {height}, {width}) -> (N, {classes})
"""

from __future__ import annotations

from pathlib import Path

{torch}from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("{weights}")
{constants}

def load(weights: str | Path = WEIGHTS) -> Network:
    """The trained network, in eval mode."""
    network = Network()
    network.load_state_dict(load_file(weights))
    return network.eval()

'''
_NORMALISE = '''
def normalise(images: Tensor) -> Tensor:
    """uint8 (N, H, W, C), 0-255 -> float32 (N, C, H, W), as the network was trained."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)

'''
_PARTS = '''
class Parts(nn.Module):
    """A module that holds the parts it is given, each under its name."""

    def __init__(self, **parts: nn.Module | None) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
'''

# Runs in a separate process that cannot import this project.
_ELSEWHERE = """
import importlib.util, sys
BLOCKED = {"search_spaces", "trials", "relu_search"}
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, Block())
import torch
from safetensors.torch import load_file, save_file
source, inputs, outputs, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
spec = importlib.util.spec_from_file_location("model", source)
model = importlib.util.module_from_spec(spec)
sys.modules["model"] = model
spec.loader.exec_module(model)
network = model.load()
with torch.no_grad():
    save_file({k: network(v) for k, v in load_file(inputs).items()}, outputs)
"""


def python_source(
    network: nn.Module,
    *,
    title: str,
    weights: str,
    size: tuple[int, int],
    normalisation: tuple[Sequence[float], Sequence[float]] | None,
    classes: Sequence[str] | None,
) -> str:
    """The text of a Python module with a class `Network` and a function `load()`.

    Args:
        title: first line of the module's docstring, at most 85 characters.
        weights: name of the safetensors file in the same folder.
        size: (height, width) of the images in pixels, for the docstring.
        normalisation: mean and std per channel in 0-255; written as constants, with a function
            `normalise`.
        classes: class names in label order, written as a constant.
    """
    constants = ""
    if normalisation is not None:
        constants += f"MEAN = {_tuple(normalisation[0])}\nSTD = {_tuple(normalisation[1])}\n"
    if classes is not None:
        constants += f"CLASSES = {_tuple(classes)}\n"
    body = _PARTS
    for kind in _own_classes(network):
        if kind is not type(network):
            body += "\n\n" + _class_text(kind)
    for function in (conv3x3, conv1x1):
        body += "\n\n" + inspect.getsource(function)
    # One line, so that the file does not need our constants.
    eps, momentum = batch_norm(1).eps, batch_norm(1).momentum
    body += (
        "\n\ndef batch_norm(channels: int) -> nn.BatchNorm2d:\n"
        f"    return nn.BatchNorm2d(channels, eps={eps}, momentum={momentum})\n"
    )
    body += "\n\n" + _network_text(network)
    if normalisation is not None:
        body = _NORMALISE + body
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    conv = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    head = _HEAD.format(
        title=title,
        weights=weights,
        channels=conv.in_channels,
        height=size[0],
        width=size[1],
        classes=linear.out_features,
        torch="import torch\n" if "torch." in body else "",
        constants=constants,
    )
    return head + body


def run_python(source: Path) -> Forward:
    """The Python file, imported in a new process that cannot import this project."""

    def run(images: Tensor) -> Tensor:
        with scratch_folder() as folder:
            inputs, outputs = Path(folder, "in.safetensors"), Path(folder, "out.safetensors")
            save_file({"images": images.contiguous()}, inputs)
            arguments = [source.absolute(), inputs, outputs, torch.get_num_threads()]
            done = subprocess.run(
                [sys.executable, "-I", "-B", "-c", _ELSEWHERE, *map(str, arguments)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise RuntimeError(f"the exported Python file does not run: {reason}")
            return load_file(outputs)["images"]

    return run


def _own_classes(network: nn.Module) -> list[type[nn.Module]]:
    """The classes of this project in a network; a class comes after the classes of its parts."""
    kinds: dict[type[nn.Module], None] = {}
    for module in reversed(list(network.modules())):
        if not _is_torch(module) and not isinstance(module, nn.Identity):
            kinds[type(module)] = None
    return list(kinds)


def _class_text(kind: type[nn.Module]) -> str:
    doc = inspect.getdoc(kind) or kind.__name__
    quoted = f'"""{doc}"""' if "\n" not in doc else f'"""{doc}\n"""'
    forward = textwrap.dedent(inspect.getsource(kind.forward))
    body = f"{quoted}\n\n{forward}"
    return f"class {kind.__name__}(Parts):\n{textwrap.indent(body, '    ')}"


def _network_text(network: nn.Module) -> str:
    forward = textwrap.indent(textwrap.dedent(inspect.getsource(type(network).forward)), "    ")
    lines = ["class Network(nn.Module):", "    def __init__(self) -> None:"]
    lines.append("        super().__init__()")
    for name, part in network.named_children():
        prefix = f"        self.{name} = "
        lines.append(prefix + _expression(part, len(prefix), 8))
    return "\n".join(lines) + "\n\n" + forward


def _expression(module: nn.Module | None, column: int, indent: int, after: int = 0) -> str:
    """The call that constructs a module; over several lines if one would be too long.

    Args:
        column: column at which the call starts.
        indent: indentation of the line on which it starts.
        after: number of characters that follow it on its last line.
    """
    name, arguments = _call(module)
    flat = _flat(module)
    if column + len(flat) + after <= _LINE or not arguments:
        return flat
    inner = indent + 4
    lines = []
    for key, value in arguments:
        prefix = " " * inner + (f"{key}=" if key else "")
        lines.append(f"{prefix}{_expression(value, len(prefix), inner, after=1)},")
    return f"{name}(\n" + "\n".join(lines) + "\n" + " " * indent + ")"


def _flat(module: nn.Module | None) -> str:
    name, arguments = _call(module)
    if arguments is None:
        return name
    return f"{name}({', '.join((f'{k}=' if k else '') + _flat(v) for k, v in arguments)})"


def _call(module: nn.Module | None) -> tuple[str, list[tuple[str, nn.Module | None]] | None]:
    """(name, arguments) of the call that constructs a module; (expression, None) without parts."""
    if module is None:
        return "None", None
    if isinstance(module, nn.Identity):
        return "nn.Identity()", None
    if isinstance(module, nn.Sequential):
        return "nn.Sequential", [("", part) for part in module]
    if _is_torch(module):
        return _leaf(module), None
    absent = [(k, None) for k, v in vars(module).items() if v is None and not k.startswith("_")]
    return type(module).__name__, [*module.named_children(), *absent]


def _leaf(module: nn.Module) -> str:
    if isinstance(module, nn.BatchNorm2d):
        short = batch_norm(module.num_features)
        if repr(short) == repr(module):
            return f"batch_norm({module.num_features})"
    if isinstance(module, nn.Conv2d):
        for function in (conv3x3, conv1x1):
            stride = int(module.stride[0])
            if repr(function(module.in_channels, module.out_channels, stride)) == repr(module):
                ending = f", stride={stride}" if stride > 1 else ""
                return f"{function.__name__}({module.in_channels}, {module.out_channels}{ending})"
    return f"nn.{module!r}"  # the repr of a torch module is the call that constructs it


def _is_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _literal(value: float | str) -> str:
    """A Python literal as formatters write it: text in double quotes unless it contains one."""
    if isinstance(value, str) and '"' not in value:
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _tuple(values: Sequence[float | str]) -> str:
    texts = [_literal(value) for value in values]
    flat = f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"
    if len(flat) <= _LINE - len("CLASSES = "):
        return flat
    return "(\n" + "".join(f"    {text},\n" for text in texts) + ")"
