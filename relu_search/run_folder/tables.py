"""The tables of a run folder: their columns, and how a CSV file is written and read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces import InputError
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
    "back_end",
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
    "margin",
    "verdict",
    "more_seeds",
    "diverged",
    "dropped_after",
    "search_accuracy",
    "confirmed_val_accuracy",
    "shrinkage",
)
SUPERNET_COLUMNS = ("placement", "val_loss", "val_accuracy")
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
    "confirm.csv": CONFIRM_COLUMNS,
    "confirm_epochs.csv": CONFIRM_EPOCH_COLUMNS,
    "verdict.csv": VERDICT_COLUMNS,
    "supernet.csv": SUPERNET_COLUMNS,
    "runs.csv": RUN_COLUMNS,
    "curves.csv": CURVE_COLUMNS,
    "comparison.csv": COMPARISON_COLUMNS,
}
TEXTS = {
    *("state", "module", "placement", "ratio", "back_end", "reason"),
    *("arm", "origin", "versus", "verdict"),
    *("data", "backbone", "sign"),
}


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

    An incomplete last line, which a crash leaves, is ignored.

    Raises:
        InputError: the table is missing or damaged.
    """
    import pandas as pd

    try:
        table = pd.read_csv(io.StringIO(read_lines(path)), dtype=str, keep_default_na=False)
        missing = [column for column in COLUMNS[path.name] if column not in table]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        unknown = [column for column in table if column not in COLUMNS[path.name]]
        if unknown:
            raise ValueError(f"column {unknown[0]!r:.60} is unknown, of another version")
        for column in COLUMNS[path.name]:
            if column not in TEXTS:
                table[column] = pd.to_numeric(table[column])  # also in a table without rows
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); the run folder is damaged"
        ) from error
    return table


def _one_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without line breaks in its texts, so that every line of a table is a row."""
    return {
        name: " ".join(value.split()) if isinstance(value, str) else value
        for name, value in row.items()
    }
