"""The tables of a run folder: their columns, and how a CSV file is written and read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relu_search.settings.resolved_config import FROM_SCRATCH
from search_spaces import InputError, Placement
from search_spaces.errors import printable
from trials.files.durable import append_lines, read_lines, write_whole

if TYPE_CHECKING:
    import pandas as pd

TRIAL_COLUMNS = (
    "trial",
    "state",
    "module",
    "placement",
    "ratio",
    "relus",
    "relu_elements",
    "params",
    "macs",
    "seed",
    "epochs",
    "val_accuracy",
    "val_loss",
    "train_loss",
    "seconds",
    *("latency_ms", "latency_q25_ms", "latency_q75_ms"),
    "back_end",
    "start",
    "reason",
)
EPOCH_COLUMNS = (
    "trial",
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "seconds",
)
Event = Literal["search begun", "search resumed", "trial started", "trial ended", "new best"]
EVENT_COLUMNS = ("time", "event", "trial", "placement")
CONFIRM_COLUMNS = (
    "arm",
    "origin",
    "placement",
    "ratio",
    "relus",
    "search_trial",
    "seed",
    "state",
    "epochs",
    "test_accuracy",
    "test_loss",
    "val_accuracy",
    "val_loss",
    "train_loss",
    "seconds",
    "start",
    "reason",
)
CONFIRM_EPOCH_COLUMNS = ("arm", "seed", *EPOCH_COLUMNS[1:])
VERDICT_COLUMNS = (
    "arm",
    "versus",
    "placement",
    "ratio",
    "relus",
    "n",
    "mean",
    "std",
    "reference_mean",
    "difference",
    "spread",
    "t_low",
    "t_high",
    "bca_low",
    "bca_high",
    "p_t",
    "p_t_holm",
    "p_sign_flip",
    "hedges_g",
    "p_superior",
    "p_tost",
    "p_tost_holm",
    "margin",
    "look",
    "level",
    "least_seeds",
    "verdict",
    "more_seeds",
    "diverged",
    "dropped_after",
    "search_accuracy",
    "confirmed_val_accuracy",
    "shrinkage",
    "start",
)
LOOK_COLUMNS = ("placement", "versus", "n", "verdict", "margin")
SUPERNET_COLUMNS = ("placement", "val_loss", "val_accuracy")
EARLIER_COLUMNS = ("placement", "use", "val_accuracy", "val_loss", "search_seed")
RUN_COLUMNS = (
    "data",
    "backbone",
    "module",
    "placement",
    "seed",
    "state",
    "epochs",
    "test_accuracy",
    "test_loss",
    "train_loss",
    "seconds",
    "reason",
)
CURVE_COLUMNS = (
    *("data", "backbone", "module", "seed"),
    *("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"),
)
COMPARISON_COLUMNS = (
    *("data", "backbone", "module", "n", "mean", "std", "published_mean", "published_std"),
    *("difference", "low", "high"),
    *("published_difference", "published_low", "published_high", "sign"),
)
COLUMNS = {
    "trials.csv": TRIAL_COLUMNS,
    "epochs.csv": EPOCH_COLUMNS,
    "events.csv": EVENT_COLUMNS,
    "confirm.csv": CONFIRM_COLUMNS,
    "confirm_epochs.csv": CONFIRM_EPOCH_COLUMNS,
    "verdict.csv": VERDICT_COLUMNS,
    "looks.csv": LOOK_COLUMNS,
    "supernet.csv": SUPERNET_COLUMNS,
    "earlier.csv": EARLIER_COLUMNS,
    "runs.csv": RUN_COLUMNS,
    "curves.csv": CURVE_COLUMNS,
    "comparison.csv": COMPARISON_COLUMNS,
}
TEXTS = {
    *("state", "module", "placement", "ratio", "back_end", "start", "reason"),
    *("arm", "origin", "versus", "verdict", "event"),
    *("data", "backbone", "sign", "use"),
}
COUNTS = {"trial", "epoch", "epochs", "seed", "relus", "n"}
"""Columns of whole numbers without a gap; events of the whole search have no trial."""
_NEW_IN_VERDICTS = ("spread", "p_tost_holm", "look", "level", "least_seeds")
_ADDED = {
    "trials.csv": {
        **dict.fromkeys(("latency_ms", "latency_q25_ms", "latency_q75_ms"), ""),
        "start": FROM_SCRATCH,
    },
    "confirm.csv": {"start": FROM_SCRATCH},
    "verdict.csv": {**dict.fromkeys(_NEW_IN_VERDICTS, ""), "start": FROM_SCRATCH},
}
"""Columns that tables of earlier versions lack, and as what they are read."""
_LARGEST_COUNT, _LARGEST_NUMBER = 2**53, 1e40  # a loss of float32 is below


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the whole table; the file's name determines its columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS[path.name])
    writer.writeheader()
    writer.writerows(map(_one_line, rows))
    write_whole(path, text.getvalue())


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows at the end, all or none; they are on the disk when this returns.

    Raises:
        StorageError: the disk refuses.
    """
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS[path.name]).writerows(map(_one_line, rows))
    append_lines(path, text.getvalue())


def read_table(path: Path) -> pd.DataFrame:
    """Read a table; columns in `TEXTS` are texts, all others numbers.

    An incomplete last line, which a crash leaves, is ignored. Control characters in texts are
    escaped.

    Raises:
        InputError: the table is missing or damaged, or a number, or the placement of a trial, is
            impossible.
    """
    import pandas as pd

    try:
        table = pd.read_csv(io.StringIO(read_lines(path)), dtype=str, keep_default_na=False)
        for column, value in _ADDED.get(path.name, {}).items():
            if column not in table:
                table[column] = value
        missing = [column for column in COLUMNS[path.name] if column not in table]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        unknown = [column for column in table if column not in COLUMNS[path.name]]
        if unknown:
            raise ValueError(f"column {unknown[0]!r:.60} is unknown, of another version")
        for column in COLUMNS[path.name]:  # also in a table without rows
            if column in TEXTS:
                table[column] = table[column].map(printable)
            else:
                may_lack = path.name == "events.csv"
                table[column] = _numbers(table[column], is_count=column in COUNTS and not may_lack)
        if path.name == "trials.csv":
            for placement in table["placement"].unique():
                Placement.parse(placement)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path} cannot be read ({reason.splitlines()[0]}); the run folder is damaged"
        ) from error
    return table


def _numbers(texts: pd.Series[str], *, is_count: bool) -> pd.Series[Any]:
    """A column as numbers; an empty cell is a missing one.

    Raises:
        ValueError: a text that is no number, a number too large to be measured, or a fraction or a
            gap in a column of counts.
    """
    import numpy as np
    import pandas as pd

    values = pd.to_numeric(texts)
    sizes = values.astype(float).abs()
    if (sizes > (_LARGEST_COUNT if is_count else _LARGEST_NUMBER)).any():
        raise ValueError(f"column {texts.name} has a number of {sizes.max():.0e}")
    known = values.dropna()
    if is_count and not (
        len(known) == len(values) and (known.astype(float) == np.floor(known.astype(float))).all()
    ):
        raise ValueError(f"column {texts.name} must have whole numbers")
    return values


def _one_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without line breaks in its texts, so that every line of a table is a row."""
    return {
        name: printable(" ".join(value.split())) if isinstance(value, str) else value
        for name, value in row.items()
    }
