"""FunctionNetwork: a user's network in which each site is a module that can be replaced."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, fx, nn

from search_spaces.any_network.layout import Layout
from search_spaces.any_network.recording import (
    FUNCTIONS,
    first_tensor,
    without_call_number,
)
from search_spaces.any_network.source import described
from search_spaces.architecture import Architecture
from search_spaces.backbones import Activation
from search_spaces.errors import InputError
from search_spaces.placement import Placement

_MODULE_OF: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
}
"""Kind of a functional activation -> the module that takes its place."""


class Calls(nn.ModuleList):
    """An activation that is called several times in one forward pass: one module for each call."""

    def __init__(self, activation: nn.Module, count: int) -> None:
        super().__init__(copy.deepcopy(activation) for _ in range(count))
        self.next = 0

    def forward(self, x: Tensor) -> Tensor:
        number = self.next
        self.next = number + 1
        return self[number](x)


class FunctionNetwork(nn.Module):
    """A network that a function made, as `Network` is one of the six families.

    Input (N, in_channels, H, W) float; output (N, num_classes) logits; of several outputs the
    first. Its `state_dict` is that of the user's network.

    Attributes:
        backbone: the backbone of this network.
        num_classes, in_channels: number of classes, and of channels of the images.
        layout: which calls are sites.
        model: the user's network. Every site is a module of its own.
        site_paths: path of the module of each site, in forward order.
    """

    activation: Activation = "relu"
    """Kept sites have their own activation; `relu` stands for it, as no other is offered."""

    def __init__(
        self,
        backbone: Architecture,
        layout: Layout,
        model: nn.Module,
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.layout = layout
        self.model, paths = _one_module_per_site(model, layout, backbone.name)
        self.site_paths = tuple(f"model.{path}" for path in paths)
        self._calls = [module for module in self.model.modules() if isinstance(module, Calls)]
        self._own = {path: self.get_submodule(path) for path in self.site_paths}

    @property
    def placement(self) -> Placement:
        """The current placement, read from the modules."""
        modules = map(self.get_submodule, self.site_paths)
        return Placement("".join("01"[not isinstance(m, nn.Identity)] for m in modules))

    def new_activation(self, site: str) -> nn.Module:
        """A module for a site that is kept."""
        return copy.deepcopy(self._own[site])

    def place(self, placement: Placement) -> None:
        """Put the own activation at kept sites and `nn.Identity` at dropped sites.

        Raises:
            InputError: the placement does not fit.
        """
        self.backbone.check(placement)
        for site, kept in zip(self.site_paths, placement, strict=True):
            module = self.new_activation(site) if kept else nn.Identity()
            self.set_submodule(site, module.train(self.training))

    def forward(self, x: Tensor) -> Tensor:
        self._count_from_start()
        output = first_tensor_or_proxy(self.model(x))
        self._count_from_start()  # a compiled graph then finds what it was compiled with
        return output

    def _count_from_start(self) -> None:
        for calls in self._calls:
            calls.next = 0

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of the user's network."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load what `state_dict` returned, or weights of the user's network.

        Some networks look for the versions of their modules, which files of weights do not have.
        """
        versioned: Any = OrderedDict(state_dict)
        versioned._metadata = getattr(self.model.state_dict(), "_metadata", None)
        return self.model.load_state_dict(versioned, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionNetwork:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__ = {
            name: value if name == "backbone" else copy.deepcopy(value, memo)
            for name, value in self.__dict__.items()
        }
        return twin

    def __reduce__(self) -> Any:
        """Pickled as what makes it: other processes may lack the module of a user's file."""
        what = self.backbone, self.placement, self.num_classes, self.in_channels
        return _rebuilt, (*what, self.training), self.state_dict(), None, None, _load


def first_tensor_or_proxy(output: Any) -> Any:
    """`first_tensor`, also while `torch.fx` traces."""
    return output if isinstance(output, fx.Proxy) else first_tensor(output)


def _rebuilt(
    backbone: Any,  # a FunctionBackbone, whose module imports this one
    placement: Placement,
    num_classes: int,
    in_channels: int,
    training: bool,
) -> FunctionNetwork:
    network: FunctionNetwork = backbone.build(num_classes, in_channels)
    network.place(placement)
    return network.train(training)


def _load(network: FunctionNetwork, state: Mapping[str, Any]) -> None:
    network.load_state_dict(state)


def _one_module_per_site(
    model: nn.Module, layout: Layout, name: str
) -> tuple[nn.Module, tuple[str, ...]]:
    """The network, changed such that each site is a module, and the paths of these modules.

    Raises:
        InputError: a function is called in code that `torch.fx` cannot trace.
    """
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            setattr(module, "inplace", False)  # noqa: B010 (a tensor, to the type checker)
    chosen = [layout.places[i] for i in layout.sites]
    functions: dict[tuple[str, int], str] = {}
    if any(site.is_function for site in chosen):
        model, functions = _functions_as_modules(model, layout, name)
    totals = Counter(place.path for place in layout.places if not place.is_function)
    aliases: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        aliases.setdefault(module, []).append(path)
    wrapped = set()
    for path in dict.fromkeys(site.path for site in chosen if not site.is_function):
        same = aliases[model.get_submodule(path)]
        if totals[path] > 1 or len(same) > 1:
            calls = Calls(model.get_submodule(path), totals[path])
            for alias in same:
                model.set_submodule(alias, calls)
            wrapped.add(path)
    paths = {}
    seen = Counter[tuple[str, bool]]()
    for place in layout.places:
        number = seen[place.path, place.is_function]
        seen[place.path, place.is_function] += 1
        if place.is_function:
            paths[place.path, True, number] = functions.get((place.path, number), "")
        else:
            suffix = f".{number}" if place.path in wrapped else ""
            paths[place.path, False, number] = place.path + suffix
    of_places = tuple(paths.values())
    for i in layout.sites:
        if not of_places[i]:
            raise InputError(
                f"{name}: the site {layout.names[i]} calls a function that no module can replace; "
                "use an nn module for it, or leave it out with --exclude"
            )
    return model, tuple(of_places[i] for i in layout.sites)


def _functions_as_modules(
    model: nn.Module, layout: Layout, name: str
) -> tuple[nn.Module, dict[tuple[str, int], str]]:
    """The network as a graph in which every functional activation is a module.

    Traced in training mode, in which auxiliary outputs are computed.

    Returns:
        The graph, and (path of the caller, number of the call) -> path of the module.
    """
    training = model.training
    try:
        graph = fx.symbolic_trace(model.train())
    except Exception as error:
        first = next(p for p in (layout.places[i] for i in layout.sites) if p.is_function)
        raise InputError(
            f"{name}: {first.path or 'the network'} calls {first.kind} as a function, in code that "
            f"torch.fx cannot trace ({described(error)}); use an nn module for it, or leave it out "
            f"with --exclude"
        ) from error
    finally:
        model.train(training)
    owners = _owners(model)
    found: dict[tuple[str, int], str] = {}
    seen = Counter[str]()
    for node in list(graph.graph.nodes):
        kind = _function_kind(node)
        if kind is None:
            continue
        owner = _owner_of(node, owners)
        number = seen[owner]
        seen[owner] += 1
        path = f"{owner}.{kind}_{number}" if owner else f"{kind}_{number}"
        graph.add_submodule(path, _MODULE_OF[kind](**_options(node)))
        with graph.graph.inserting_after(node):
            new = graph.graph.call_module(path, (node.args or (node.kwargs["input"],))[:1])
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
        found[owner, number] = path
    graph.recompile()
    return graph.train(training), found


def _function_kind(node: fx.Node) -> str | None:
    if node.op == "call_function" and callable(node.target):
        return FUNCTIONS.get(node.target)
    if node.op == "call_method" and node.target in ("relu", "relu_"):
        return "relu"
    return None


def _options(node: fx.Node) -> dict[str, Any]:
    """The form of a GELU; no other activation has one beside `inplace`."""
    return {name: value for name, value in node.kwargs.items() if name == "approximate"}


def _owners(model: nn.Module) -> set[str]:
    return {path for path, _ in model.named_modules(remove_duplicate=False)}


def _owner_of(node: fx.Node, known: set[str]) -> str:
    """Path of the module whose code has this node."""
    stack = node.meta.get("nn_module_stack") or {}
    for key in reversed(list(stack)):
        path = without_call_number(str(key))
        if path in known:
            return path
    return ""
