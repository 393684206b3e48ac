"""What a tracker must show of a search, and what it has been sent already."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trials.files.durable import write_whole

SEARCH = "search"
"""Key of the run of the search itself; those of its trials have their numbers as keys."""


@dataclass(kw_only=True)
class FollowedTrial:
    """What is known of a trial.

    Attributes:
        facts: columns of `trials.csv`; those of its end are missing while it is trained.
        epochs: epoch -> its metrics.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def state(self) -> str | None:
        """COMPLETE, PRUNED or FAIL; None while it is trained."""
        return self.facts.get("state")


class FollowedSearch:
    """A search as its run folder and the events say. An event that comes twice changes nothing.

    Attributes:
        path: the run folder.
        name: of the study, which no other search has.
        options: option -> value, as in `config.toml`.
        trials: number -> trial.
        ending: how the search ended; None before.
    """

    def __init__(self, path: Path) -> None:
        config = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
        self.path = path
        self.name: str = config.pop("record")["study"]
        self.options: dict[str, Any] = dict(_flat(config))
        self.trials: dict[int, FollowedTrial] = {}
        self.ending: str | None = None
        self._read_tables()

    def _read_tables(self) -> None:
        """Take over the trials that had ended before."""
        if (self.path / "trials.csv").read_bytes().count(b"\n") < 2:
            return
        from relu_search.analysis.leaderboard import rows_of  # loads pandas
        from relu_search.run_folder.tables import read_table

        for row in rows_of(read_table(self.path / "trials.csv")):
            self.hear("finished", row)
        for metrics in rows_of(read_table(self.path / "epochs.csv")):
            self.hear("epoch", int(metrics.pop("trial")), metrics)

    def hear(self, event: str, *facts: Any) -> None:
        """Take over an event of a `SearchListener`."""
        if event == "ended":
            self.ending = facts[0]
        elif event == "epoch":
            number, metrics = facts
            self._trial(number).epochs[int(metrics["epoch"])] = metrics
        else:
            self._trial(int(facts[0]["trial"])).facts.update(facts[0])

    def _trial(self, number: int) -> FollowedTrial:
        return self.trials.setdefault(number, FollowedTrial())


@dataclass(kw_only=True)
class SentRun:
    """What a tracker has of one run.

    Attributes:
        id: of the run in the tracker; None before it has begun there.
        epoch: last one that was sent.
        ended: whether its end was sent.
    """

    id: str | None = None
    epoch: int = 0
    ended: bool = False


class Sent:
    """What a tracker has been sent, as a file; so a resumed search continues the same runs.

    Args:
        file: JSON; it may be missing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._saved = file.read_text(encoding="utf-8") if file.exists() else "{}"
        self._runs = {key: SentRun(**run) for key, run in json.loads(self._saved).items()}

    def __getitem__(self, key: str) -> SentRun:
        return self._runs.setdefault(key, SentRun())

    def forget(self) -> None:
        """Take it that nothing was sent."""
        self._runs.clear()

    def save(self) -> None:
        """Write the file anew, if anything has changed."""
        text = json.dumps({key: vars(run) for key, run in self._runs.items()}, indent=1)
        if text != self._saved:
            write_whole(self._file, text)
            self._saved = text


def _flat(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The options with `recipe.epochs` for a key of a table."""
    flat: list[tuple[str, Any]] = []
    for key, value in options.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{key}.")
        else:
            flat.append((prefix + key, value))
    return flat
