"""Which placement next, and what did we learn? Names are loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relu_search.cli.live_view import LiveView as LiveView
    from relu_search.confirmation.confirm import Confirmation as Confirmation
    from relu_search.confirmation.confirm import confirm as confirm
    from relu_search.discovery.discover import Discovery as Discovery
    from relu_search.discovery.discover import discover as discover
    from relu_search.discovery.discover import resume_discovery as resume_discovery
    from relu_search.export.exported_model import export_model as export_model
    from relu_search.export.exported_model import load_exported as load_exported
    from relu_search.run_folder.folder import RunFolder as RunFolder
    from relu_search.search.run_search import SearchOutcome as SearchOutcome
    from relu_search.search.run_search import resume_search as resume_search
    from relu_search.search.run_search import run_search as run_search
    from relu_search.settings.search_config import SearchConfig as SearchConfig
    from relu_search.trackers.listener import SearchListener as SearchListener

_HOME = {
    "SearchConfig": "settings.search_config",
    "SearchListener": "trackers.listener",
    "LiveView": "cli.live_view",
    "Confirmation": "confirmation.confirm",
    "confirm": "confirmation.confirm",
    "Discovery": "discovery.discover",
    "discover": "discovery.discover",
    "resume_discovery": "discovery.discover",
    "export_model": "export.exported_model",
    "load_exported": "export.exported_model",
    "RunFolder": "run_folder.folder",
    "SearchOutcome": "search.run_search",
    "resume_search": "search.run_search",
    "run_search": "search.run_search",
}

__all__ = [
    "Confirmation",
    "Discovery",
    "LiveView",
    "RunFolder",
    "SearchConfig",
    "SearchListener",
    "SearchOutcome",
    "confirm",
    "discover",
    "export_model",
    "load_exported",
    "resume_discovery",
    "resume_search",
    "run_search",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"relu_search.{_HOME[name]}"), name)
    raise AttributeError(f"module 'relu_search' has no attribute {name!r}")
