"""All that a report is made of, read from the run folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from relu_search.config import SearchConfig
from relu_search.results import RunFolder
from search_spaces import InputError

_TEXTS = {"arm", "origin", "placement", "ratio", "state", "reason", "versus", "verdict"}
_CONFIRM = ("arm", "state", "test_accuracy", "val_accuracy")
_VERDICT = (
    *("arm", "versus", "placement", "ratio", "relus", "n", "mean", "std", "difference"),
    *("t_low", "t_high", "bca_low", "bca_high", "p_t_holm", "p_sign_flip", "margin", "verdict"),
    *("more_seeds", "diverged", "dropped_after", "search_accuracy", "confirmed_val_accuracy"),
)


@dataclass(frozen=True)
class Findings:
    """All that a report is made of; the tables of a confirmation are None where there is none."""

    run: RunFolder
    config: SearchConfig
    record: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    runs: pd.DataFrame | None
    verdicts: pd.DataFrame | None

    @classmethod
    def read(cls, run: RunFolder) -> Findings:
        config, record = run.read_config()
        trials = run.read_trials()
        if trials.empty:
            raise InputError(f"{run.path} has no finished trial yet; let the search run longer")
        return cls(
            run,
            config,
            record,
            trials,
            run.read_epochs().drop_duplicates(["trial", "epoch"], keep="last"),
            read_optional_table(run.path / "confirm.csv", _CONFIRM),
            read_optional_table(run.path / "verdict.csv", _VERDICT),
        )


def read_optional_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame | None:
    """A table of a confirmation, or None if there is none or it has no row yet.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [column for column in columns if column not in found]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        numbers = [column for column in found.columns if column not in _TEXTS]
        found[numbers] = found[numbers].apply(pd.to_numeric)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}); the run folder is damaged") from error
    return None if found.empty else found
