"""Source: which function makes a network, and with which arguments.

A name is text: `torchvision:resnet18`, `timm:resnet18`, `my_models.py:make_model` or
`package.module:make_model`. To read a name runs no code.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from search_spaces.errors import InputError, require_type, shown

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["torchvision", "timm", "file", "package"]
FORMS = "torchvision:NAME, timm:NAME, FILE.py:FUNCTION or package.module:FUNCTION"

_LIBRARIES = ("torchvision", "timm")
_PLAIN = (int, float, bool, type(None))
_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]{0,99}"
_MODEL = re.compile(r"[a-z0-9_]{1,100}")
_LONGEST_ARGUMENTS = 10_000
_FROM_FILE = "relu_search_own_"
"""Begin of the name under which a user's file is imported; the digest of the file follows."""
_WEIGHTS = {
    "weights": "it loads weights",
    "weights_backbone": "it loads weights",
    "pretrained": "it loads weights",
    "checkpoint_path": "it loads weights",
    "pretrained_cfg": "it loads weights",
    "pretrained_cfg_overlay": "it loads weights",
    "cache_dir": "it loads weights",
    "num_classes": "the data decide it",
    "in_channels": "the data decide it",
    "in_chans": "the data decide it",
}
"""Arguments that are not the user's to give to a library, and why."""


@dataclass(frozen=True)
class Source:
    """A function that makes a network, with its arguments.

    Attributes:
        kind: a library, a file, or an importable module.
        place: absolute path of the file, name of the module, or empty for a library.
        function: its name; in a library the name of the model.
        arguments: a JSON object, its keys sorted.
        digest: SHA-256 of the file or of the module's file; empty for a library.
    """

    kind: Kind
    place: str
    function: str
    arguments: str = "{}"
    digest: str = ""

    @property
    def text(self) -> str:
        """The name, which `read_source` reads, with an absolute path."""
        return f"{self.place or self.kind}:{self.function}"

    @property
    def name(self) -> str:
        """The name without the folder of a file."""
        if self.kind == "file":
            return f"{Path(self.place).name}:{self.function}"
        return self.text

    @property
    def label(self) -> str:
        """The name and the arguments."""
        return self.name if self.arguments == "{}" else f"{self.name} {self.arguments}"

    @property
    def is_code(self) -> bool:
        """Whether the name leads to code beyond the models of an installed library."""
        values = json.loads(self.arguments).values()
        return self.kind not in _LIBRARIES or any(type(v) not in _PLAIN for v in values)

    def make(self, num_classes: int, in_channels: int) -> nn.Module:
        """Call the function. It gets `num_classes` and `in_channels` where it takes them.

        Raises:
            InputError: the file or function is missing, it wants other arguments, it fails, or it
                makes no `nn.Module`.
        """
        from torch import jit, nn

        function = self._function()
        given: dict[str, Any] = json.loads(self.arguments)
        wanted = {"num_classes": num_classes, "in_channels": in_channels, "in_chans": in_channels}
        if self.kind == "torchvision":
            given["num_classes"] = num_classes
        elif self.kind == "timm":
            given |= {"num_classes": num_classes, "in_chans": in_channels}
        else:
            taken = inspect.signature(function).parameters
            given = {n: v for n, v in wanted.items() if n in taken and n != "in_chans"} | given
        try:
            inspect.signature(function).bind(**given)
        except TypeError as error:
            raise InputError(
                f"{self.name} wants other arguments than {', '.join(given) or 'none'}: {error}; "
                "give them with --backbone-args, such as --backbone-args '{\"depth\": 3}'"
            ) from error
        try:
            with warnings.catch_warnings():
                if self.kind in _LIBRARIES:
                    warnings.simplefilter("ignore")  # of how they will initialise in future
                model = function(**given)
        except Exception as error:
            raise InputError(
                f"{self.name} makes no network: {described(error)}; correct the function or "
                "--backbone-args"
            ) from error
        if not isinstance(model, nn.Module):
            raise InputError(f"{self.name} returns {shown(model)}; it must return an nn.Module")
        if any(isinstance(module, jit.ScriptModule) for module in model.modules()):
            raise InputError(
                f"{self.name} is TorchScript, whose ReLUs cannot be replaced; give the nn.Module "
                "from which it was made"
            )
        return model

    def _function(self) -> Callable[..., Any]:
        if self.kind == "torchvision":
            return _from_torchvision(self.function)
        if self.kind == "timm":
            return _from_timm(self.function)
        module = _imported_file(self) if self.kind == "file" else _imported_module(self)
        function = getattr(module, self.function, None)
        if not callable(function):
            raise InputError(
                f"{self.place} has no function {self.function!r}; name one that returns the network"
            )
        return function

    def to_json(self) -> dict[str, str]:
        return {
            "kind": self.kind,
            "place": self.place,
            "function": self.function,
            "arguments": self.arguments,
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, value: object) -> Source:
        """Read what `to_json` wrote, perhaps by a stranger. Runs and opens nothing.

        Raises:
            InputError: it is not that.
        """
        names = tuple(cls.__dataclass_fields__)
        if not (
            isinstance(value, Mapping)
            and sorted(value, key=str) == sorted(names)
            and all(isinstance(text, str) for text in value.values())
            and value["kind"] in get_args(Kind)
        ):
            raise InputError(
                f"the source of a network is {shown(value)}; it must have the texts "
                f"{', '.join(names)}"
            )
        source = cls(**value)
        if _split(source.text) != (source.kind, source.place, source.function):
            raise InputError(f"the source {shown(source.text)} names no network; use {FORMS}")
        return cls(**{**value, "arguments": _arguments(source.arguments, source.kind)})


def is_source(name: str) -> bool:
    """Whether a backbone's name is that of a function, not of one of the six families."""
    return ":" in name


def names_code(name: str, arguments: str | None) -> bool:
    """`Source.is_code` of a name, perhaps of a stranger. Runs and opens nothing.

    Raises:
        InputError: malformed.
    """
    kind, place, function = _split(name.strip())
    return Source(kind, place, function, _arguments(arguments or "{}", kind)).is_code


def read_source(name: str, arguments: str | None = None) -> Source:
    """The source that a user named. A file is read for its digest, but not run.

    Args:
        name: such as `torchvision:resnet18`.
        arguments: a JSON object; None: no arguments.

    Raises:
        InputError: malformed, or a file or module that does not exist.
    """
    kind, place, function = _split(name.strip())
    if kind == "file":
        path = Path(place).expanduser().absolute()
        if not path.is_file():
            raise InputError(f"backbone {name!r:.200}: there is no file {path}; correct the path")
        place = str(path)
    digest = _digest_of(kind, place)
    return Source(kind, place, function, _arguments(arguments or "{}", kind), digest)


def source_of(function: Callable[..., nn.Module], arguments: str | None = None) -> Source:
    """The source of a function of Python, by its import path; of a script by its file.

    Raises:
        InputError: other processes could not import it, as with a lambda.
    """
    name, module = getattr(function, "__qualname__", ""), getattr(function, "__module__", "")
    if not re.fullmatch(_IDENTIFIER, name) or not module:
        raise InputError(
            f"backbone {shown(name or function)} cannot be imported by other processes; give a "
            "function that is defined at the top of a file"
        )
    if module == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        if file is None:
            raise InputError(
                f"backbone {name} is defined in an interactive session, from which other processes "
                "cannot import; write it to a file"
            )
        module = file
    return read_source(f"{module}:{name}", arguments)


def described(error: BaseException) -> str:
    """Type and first line of an error, for a message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _split(name: str) -> tuple[Kind, str, str]:
    place, _, function = name.rpartition(":")
    if place == "torchvision" and _MODEL.fullmatch(function):
        return "torchvision", "", function
    if place == "timm" and re.fullmatch(r"[a-z0-9_.]{1,100}", function):
        return "timm", "", function
    if re.fullmatch(_IDENTIFIER, function):
        if place.endswith(".py") and len(place) < 4096 and place.isprintable():
            return "file", place, function
        if len(place) < 300 and re.fullmatch(rf"{_IDENTIFIER}(\.{_IDENTIFIER})*", place):
            return "package", place, function
    raise InputError(f"backbone {name[:80]!r} is unknown; write {FORMS}")


def _arguments(text: str, kind: Kind) -> str:
    require_type("backbone_args", text, str, "a JSON object such as '{\"width_mult\": 0.5}'")
    try:
        value = json.loads(text) if len(text) <= _LONGEST_ARGUMENTS else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(re.fullmatch(_IDENTIFIER, key) for key in value):
        raise InputError(
            f"backbone_args is {shown(text)}; it must be a JSON object whose keys are names of "
            "arguments, such as '{\"width_mult\": 0.5}'"
        )
    for key in value:
        if kind in _LIBRARIES and key in _WEIGHTS:
            raise InputError(f"backbone_args has {key!r}, and {_WEIGHTS[key]}; leave it out")
    return json.dumps(value, sort_keys=True)


def _digest_of(kind: Kind, place: str) -> str:
    if kind in _LIBRARIES:
        return ""
    file: str | None = place
    if kind == "package":
        try:
            spec = importlib.util.find_spec(place)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None:
            raise InputError(
                f"backbone: there is no module {place!r} to import; install it, or name a file as "
                "FILE.py:FUNCTION"
            )
        file = spec.origin
    if file is None or not Path(file).is_file():
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _imported_file(source: Source) -> Any:
    """The module of a user's file; it is imported once per process and content."""
    name = _FROM_FILE + source.digest
    if name in sys.modules:
        return sys.modules[name]
    found = Path(source.place)
    if not found.is_file() or _digest_of("file", source.place) != source.digest:
        raise InputError(
            f"{source.place} is missing here or has other content than when it was named; every "
            "machine needs the same file at this path"
        )
    if str(found.parent) not in sys.path:
        sys.path.append(str(found.parent))  # for the imports of the file
    spec = importlib.util.spec_from_file_location(name, found)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise InputError(f"{source.place} cannot be imported: {described(error)}") from error
    return module


def _imported_module(source: Source) -> Any:
    try:
        return importlib.import_module(source.place)
    except Exception as error:
        raise InputError(f"{source.place} cannot be imported: {described(error)}") from error


@lru_cache(maxsize=256)
def _from_torchvision(name: str) -> Callable[..., Any]:
    from importlib import import_module

    models: Any = import_module("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise InputError(
            f"torchvision has no classification model {name!r}; similar: {_similar(name, known)}"
        )
    builder: Callable[..., Any] = models.get_model_builder(name)
    return builder


@lru_cache(maxsize=256)
def _from_timm(name: str) -> Callable[..., Any]:
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise InputError(
            f"backbone timm:{name} needs timm, which is not installed; run: pip install "
            "'relu-search[timm]'"
        ) from error
    known = timm.list_models()
    if name not in known:
        raise InputError(f"timm has no model {name!r}; similar: {_similar(name, known)}")

    def make(**arguments: Any) -> Any:
        return timm.create_model(name, pretrained=False, **arguments)

    return make


def _similar(name: str, known: list[str]) -> str:
    import difflib

    return (
        ", ".join(difflib.get_close_matches(name, known, 3, 0.3)) or f"{', '.join(known[:3])} ..."
    )
