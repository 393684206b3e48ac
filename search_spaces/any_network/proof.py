"""Proves before any training that the placements of a network do what they say.

The oracle is the user's own network: a run in which one call of an activation returns its input.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from search_spaces.any_network.function_network import FunctionNetwork
from search_spaces.any_network.layout import Layout
from search_spaces.any_network.recording import (
    FUNCTIONS,
    first_tensor,
    on_one_thread,
    record,
)
from search_spaces.any_network.source import described
from search_spaces.errors import InputError
from search_spaces.placement import Placement

BATCHES = (2, 3)
MOST_DROPS = 6
_RUNS = ((True, 2), (True, 3), (False, 2), (False, 3))
"""In training mode or not, with how many images."""
_SEED = 20
_Key = tuple[str, bool, int]


def prove(original: nn.Module, network: FunctionNetwork, image_size: tuple[int, int]) -> None:
    """Check that sites are the same in training and evaluation, and for every batch size; that
    the network with all ReLUs equals the user's to the bit; and that a dropped ReLU equals a run of
    the user's network in which this one call returns its input.

    Args:
        original: the user's network. Its BatchNorm statistics change.
        network: the same, made again with the same initial weights; its placement changes.
        image_size: (height, width) in pixels.

    Raises:
        InputError: one of these does not hold; the message has the site.
    """
    channels, name = network.in_channels, network.backbone.name
    generator = torch.Generator().manual_seed(_SEED)
    images = torch.randn(max(BATCHES), channels, *image_size, generator=generator)
    if network.state_dict().keys() != original.state_dict().keys():
        raise InputError(
            f"{name} has weights that no forward pass in training mode uses, and ReLUs that are "
            "functions; use nn modules for these ReLUs"
        )
    try:
        with on_one_thread():
            _require_same_sites(network, original, images)
            network.load_state_dict(original.state_dict())
            _require_equal(original, network, images, dropped=None)
            for index in _few(len(network.site_paths)):
                kept = ["1"] * len(network.site_paths)
                kept[index] = "0"
                network.place(Placement("".join(kept)))
                _require_equal(original, network, images, dropped=index)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{name} fails on batches of {' and '.join(map(str, BATCHES))} images of "
            f"{channels}x{image_size[0]}x{image_size[1]} pixels: {described(error)}; correct the "
            "network, or use larger images"
        ) from error


def _require_same_sites(network: FunctionNetwork, model: nn.Module, images: Tensor) -> None:
    """Check that each site is called as often in both modes and for each batch size."""
    layout, names = network.layout, network.layout.names
    sites = {(layout.places[i].path, layout.places[i].is_function): names[i] for i in layout.sites}
    wanted = Counter((place.path, place.is_function) for place in layout.places)
    state = copy.deepcopy(model.state_dict())
    for training in (False, True):
        for size in BATCHES:
            calls = record(model.train(training), images[:size]).calls
            found = Counter((call.path, call.is_function) for call in calls)
            for key, name in sites.items():
                if found[key] != wanted[key]:
                    mode = "training" if training else "evaluation"
                    raise InputError(
                        f"{network.backbone.name}: the site {name} is called {found[key]} times "
                        f"in {mode} with {size} images, but {wanted[key]} times in evaluation with "
                        "one; leave it out with --exclude"
                    )
    model.load_state_dict(state)


def _require_equal(
    original: nn.Module,
    network: FunctionNetwork,
    images: Tensor,
    *,
    dropped: int | None,
) -> None:
    """Compare both networks to the bit, with every ReLU or without one."""
    key = None if dropped is None else _key_of(network.layout, dropped)
    for training, size in _RUNS if dropped is None else _RUNS[::3]:
        original.train(training)
        network.train(training)
        with torch.no_grad():
            with _returns_input(original, key):
                expected = _seeded(original, images[:size])
            found = _seeded(network, images[:size])
        if not torch.allclose(found, expected, rtol=0, atol=0, equal_nan=True):
            mode = "training" if training else "evaluation"
            what = (
                "with every ReLU"
                if dropped is None
                else f"without {network.backbone.sites[dropped].name}"
            )
            raise InputError(
                f"{network.backbone.name} cannot be searched: {what}, the network with replaceable "
                f"ReLUs differs in {mode} from the original; perhaps a ReLU works in place on a "
                "tensor that is used again. Leave it out with --exclude"
            )


def _seeded(model: nn.Module, images: Tensor) -> Tensor:
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(_SEED)
        output = first_tensor(model(images.clone()))
    assert isinstance(output, Tensor)
    return output


def _key_of(layout: Layout, index: int) -> _Key:
    """Path, whether it is a function, and number of the call of a site."""
    at = layout.sites[index]
    place = layout.places[at]
    same = [(p.path, p.is_function) for p in layout.places[:at]]
    return place.path, place.is_function, same.count((place.path, place.is_function))


@contextmanager
def _returns_input(model: nn.Module, key: _Key | None) -> Iterator[None]:
    """In this context one call of an activation of a network returns its input."""
    if key is None:
        yield
        return
    path, is_function, number = key
    if not is_function:
        module = model.get_submodule(path)
        usual, count = module.forward, 0

        def forward(x: Tensor) -> Any:
            nonlocal count
            count += 1
            return x.clone() if count == number + 1 else usual(x)

        module.forward = forward
        try:
            yield
        finally:
            del module.forward
        return
    owner = model.get_submodule(path)
    with _IdentityFunction(owner, number) as mode, mode.watching():
        yield


class _IdentityFunction(TorchFunctionMode):
    """The functional activation that a module calls as its n-th returns its input."""

    def __init__(self, owner: nn.Module, number: int) -> None:
        super().__init__()
        self._owner, self._left = owner, number
        self._stack: list[nn.Module] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Knows in this context which module is being called."""

        def leave(*_: Any) -> None:
            self._stack.pop()

        handles = [
            hooks.register_module_forward_pre_hook(lambda m, _: self._stack.append(m)),
            hooks.register_module_forward_hook(leave),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in FUNCTIONS and self._stack and self._stack[-1] is self._owner:
            self._left -= 1
            if self._left == -1:
                return (args[0] if args else given["input"]).clone()
        return func(*args, **given)


def _few(count: int) -> list[int]:
    """At most `MOST_DROPS` indices, spread from the first to the last."""
    if count <= MOST_DROPS:
        return list(range(count))
    return [i * (count - 1) // (MOST_DROPS - 1) for i in range(MOST_DROPS)]
