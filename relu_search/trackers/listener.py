"""What a program is told of a search, and how its faults are kept out of the search."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from search_spaces.errors import InputError, one_line, require_type, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from relu_search.run_folder.folder import RunFolder
    from relu_search.settings.resolved_config import ResolvedConfig
    from trials.training.metrics import EpochMetrics

Ending = Literal["budget spent", "decided", "interrupted", "stopped"]
"""How a search ended; `stopped`: by an error, which is raised."""
Event = Literal["began", "started", "epoch", "finished", "ended"]


class SearchListener:
    """Is told what happens in a search. A subclass overrides the methods that it needs.

    ```python
    class Ends(SearchListener):
        def finished(self, trial):
            print(trial["placement"], trial["state"], trial["val_accuracy"])

    run_search(config, listeners=[Ends()])
    ```

    `began` is the first call and `ended` the last one. The search waits for every call, so work
    that takes long belongs into a thread. The first exception of a listener is reported as a
    warning on stderr; the search goes on, and the listener is told the further events.
    """

    def began(self, run: RunFolder, config: ResolvedConfig) -> None:
        """The search begins or is resumed. The folder has `config.toml` and all earlier trials."""

    def started(self, trial: Mapping[str, Any]) -> None:
        """A trial starts, or goes on after an interruption.

        Args:
            trial: the columns of `trials.csv` that are known before it is trained: trial (its
                number), module, placement, ratio, relus, relu_elements, params, macs, seed.
        """

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """An epoch of a trial is finished. A trial that goes on repeats its earlier epochs.

        Args:
            number: of the trial.
            metrics: after this epoch.
        """

    def finished(self, trial: Mapping[str, Any]) -> None:
        """A trial has ended; `trial` is its row of `trials.csv`, which is written already."""

    def ended(self, ending: Ending) -> None:
        """The search has ended, Ray is shut down, and the folder is complete."""


class Listeners:
    """All listeners of a search.

    Args:
        listeners: in the order in which they are told.
        say: is told the first fault of each of them.

    Attributes:
        ending: what they are told at the end.
    """

    def __init__(self, listeners: Sequence[SearchListener], say: Callable[[str], None]) -> None:
        self.ending: Ending = "stopped"
        self._listeners = tuple(listeners)
        self._say = say
        self._faulty: set[int] = set()
        self._has_begun = False

    def tell(self, event: Event, *facts: Any) -> None:
        """Call the method of this name of every listener; each gets its own copy of a row."""
        self._has_begun = True
        for index, listener in enumerate(self._listeners):
            own = [dict(fact) if isinstance(fact, dict) else fact for fact in facts]
            try:
                getattr(listener, event)(*own)
            except Exception as error:  # of any kind; it is no fault of the search
                if index not in self._faulty:
                    self._faulty.add(index)
                    self._say(_warning(listener, event, error))

    def end(self) -> None:
        """Tell how the search ended, if it has begun."""
        if self._has_begun:
            self.tell("ended", self.ending)


def require_listeners(listeners: Sequence[SearchListener]) -> None:
    """Check the listeners that a program gives.

    Raises:
        InputError: one of them is no `SearchListener`.
    """
    require_type("listeners", listeners, (list, tuple), "a list of SearchListener")
    for listener in listeners:
        if not isinstance(listener, SearchListener):
            raise InputError(
                f"listener {shown(listener)} is no SearchListener; give an object of a subclass of "
                "relu_search.SearchListener"
            )


def _warning(listener: SearchListener, event: str, error: Exception) -> str:
    where = ""
    if frames := traceback.extract_tb(error.__traceback__)[1:]:
        where = f", {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return (
        f"WARNING: the listener {type(listener).__name__} failed in {event}{where} "
        f"({type(error).__name__}: {one_line(str(error))}); the search goes on"
    )
