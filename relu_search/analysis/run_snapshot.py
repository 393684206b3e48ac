"""All tables of a run folder at once, as a report needs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table
from relu_search.settings.resolved_config import ResolvedConfig


@dataclass(frozen=True)
class RunSnapshot:
    """The config and the tables of a run; those of a confirmation are None if there is none.

    Attributes:
        run: the folder.
        config: options of the search.
        record: the `[record]` of `config.toml`.
        trials: `trials.csv`.
        epochs: `epochs.csv`; of an epoch that was written twice, the last row.
        runs: `confirm.csv`.
        verdicts: `verdict.csv`.
    """

    run: RunFolder
    config: ResolvedConfig
    record: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    runs: pd.DataFrame | None
    verdicts: pd.DataFrame | None

    @classmethod
    def read(cls, run: RunFolder) -> RunSnapshot:
        """The tables of a run folder.

        Raises:
            InputError: the folder is damaged or has no finished trial yet.
        """
        config, record = run.read_config()
        return cls(
            run,
            config,
            record,
            run.read_some_trials(config.network),
            run.read_epochs().drop_duplicates(["trial", "epoch"], keep="last"),
            _optional_table(run.table("confirm.csv")),
            _optional_table(run.table("verdict.csv")),
        )


def _optional_table(path: Path) -> pd.DataFrame | None:
    """A table of a confirmation, or None if it does not exist or has no row yet.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    found = read_table(path)
    return None if found.empty else found
