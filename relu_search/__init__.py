"""Which placement next, and what did we learn? Names are loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relu_search.config import SearchConfig as SearchConfig
    from relu_search.confirmation import Confirmation as Confirmation
    from relu_search.confirmation import confirm as confirm
    from relu_search.export import export_model as export_model
    from relu_search.export import load_exported as load_exported
    from relu_search.results import RunFolder as RunFolder
    from relu_search.search import SearchOutcome as SearchOutcome
    from relu_search.search import resume_search as resume_search
    from relu_search.search import run_search as run_search

_HOME = {
    "SearchConfig": "config",
    "Confirmation": "confirmation",
    "confirm": "confirmation",
    "export_model": "export",
    "load_exported": "export",
    "RunFolder": "results",
    "SearchOutcome": "search",
    "resume_search": "search",
    "run_search": "search",
}

__all__ = [
    "Confirmation",
    "RunFolder",
    "SearchConfig",
    "SearchOutcome",
    "confirm",
    "export_model",
    "load_exported",
    "resume_search",
    "run_search",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"relu_search.{_HOME[name]}"), name)
    raise AttributeError(f"module 'relu_search' has no attribute {name!r}")
