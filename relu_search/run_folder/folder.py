"""The run folder: its files, and how they are written and read. Reading needs no Ray, no torch.

config.toml     all options, resolved, and a `[record]` of versions, split and space
study.journal   the Optuna study (unless a storage URL was given)
trials.csv      one row per finished trial
epochs.csv      one row per finished epoch
events.csv      when the search began or was resumed, when trials started and ended
time.toml       seconds that the search and the confirmation have taken
supernet.csv    the ranking of a supernet, with --warm-start supernet
earlier.csv     what was taken from an earlier run, with --from
weights/        weights of every full-length trial
checkpoints/    of running trials, written after each epoch
best/           card.json and model.safetensors of the best trial so far
report.html     the report; figures/ has its figures as PNG and PDF
trackers/       with --log: what trackers write, and what they have been sent

after a confirmation also

confirm.toml        its settings
confirm.csv         one row per arm and seed
confirm_epochs.csv  their learning curves
confirm/            their weights
verdict.csv         one row per arm and reference
looks.csv           one row per comparison and look

after `discover` also

discover.toml   its budget, and how it is divided
winner/         card.json and model.safetensors of the confirmed model

and, if Ray or a library has printed something, ray.log
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from relu_search.run_folder.new_folders import fresh_folder, refused, remove
from relu_search.run_folder.record import NETWORK, check_record, recorded_network
from relu_search.run_folder.tables import Event, append_rows, read_table, write_table
from relu_search.settings.option_files import read_toml
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_config import RECORD, SearchConfig
from search_spaces import Architecture, InputError, Placement
from trials.early_stopping.rule import SIGNALS
from trials.files.durable import remove_partial_files, write_whole
from trials.files.locks import locked
from trials.files.paths import absolute_path, user_path
from trials.files.scratch import STAGING, sweep

if TYPE_CHECKING:
    import pandas as pd

    from trials.running.trial_files import TrialFiles

# All entries that a search, a confirmation and a report write; --overwrite removes them.
# config.toml is removed last, so that a partly removed folder still counts as a run.
_ENTRIES = (
    "study.journal",
    "study.journal.lock",
    "trials.csv",
    "epochs.csv",
    "events.csv",
    "supernet.csv",
    "earlier.csv",
    "weights",
    "checkpoints",
    "best",
    "confirm.toml",
    "confirm.csv",
    "confirm_epochs.csv",
    "confirm/checkpoints",
    "confirm",
    "verdict.csv",
    "looks.csv",
    "report.html",
    "figures",
    "trackers",
    "time.toml",
    "winner",
    "discover.toml",
    "ray.log",
    "config.toml",
)
RUNS = "runs"
"""The folder of run folders without a name."""
DISCOVERY = "discover.toml"
"""The file that says that `discover` has begun a run."""
_UNUSED = {".lock", "ray.log", DISCOVERY}
"""Files in a folder in which a search has not begun."""
_MAY_BE_LINKS = ("study.journal.lock",)  # Optuna's lock


class RunFolder:
    """One search on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def check_free(cls, out: str | None, *, overwrite: bool = False) -> Path:
        """The path of a new run folder; if `out` is None, that of `runs`. Writes nothing.

        Raises:
            InputError: the folder exists and is not empty, or cannot be written.
        """
        path = user_path(out) if out else Path(RUNS)
        existing = next(p for p in (path, *path.absolute().parents) if p.exists())
        if not existing.is_dir():
            raise InputError(f"output {existing} is a file; give a new folder with --out")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(
                f"output folder {path} cannot be written: {existing} is read-only for you; give "
                "another with --out"
            )
        if out and path.exists() and any(p.name not in _UNUSED for p in path.iterdir()):
            if not cls(path).is_run():
                raise InputError(
                    f"output folder {path} exists and holds files that are no search's; give "
                    "another with --out"
                )
            if not overwrite:
                raise InputError(
                    f"output folder {path} holds a search; go on with --resume {path}, replace it "
                    "with --overwrite, or give another with --out"
                )
        return path

    @classmethod
    @contextlib.contextmanager
    def create(cls, out: str | None, *, overwrite: bool = False) -> Iterator[RunFolder]:
        """Create and lock a new run folder; `out` None means a new one named `runs/DATE-TIME`.

        With `overwrite` it may hold an earlier run, which stays until `clear`. A new folder that is
        not used in the block is removed again.

        Raises:
            InputError: as `check_free`; or the disk refuses, or another process uses the folder.
        """
        path = cls.check_free(out, overwrite=overwrite)
        with refused(path):
            missing = [folder for folder in (path, *path.parents) if not folder.exists()]
            if out:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path = fresh_folder(path)
                missing.insert(0, path)
        with locked(path):
            try:
                yield cls(path)
            finally:
                with contextlib.suppress(OSError):
                    if missing and {entry.name for entry in path.iterdir()} <= _UNUSED:
                        for name in _UNUSED:
                            remove(path / name)
                        for folder in missing:
                            folder.rmdir()

    def clear(self) -> None:
        """Remove an earlier run from a new run folder.

        Raises:
            InputError: the disk refuses.
        """
        with refused(self.path):
            for name in _ENTRIES:
                if name != "ray.log":  # this search may have printed into it already
                    remove(self.path / name)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run folder.

        Raises:
            InputError: there is no run folder at this path.
        """
        folder = user_path(path)
        if not (folder / "config.toml").is_file():
            raise InputError(
                f"{folder} is not a run folder: it has no config.toml; give the folder that "
                "relu-search search wrote"
            )
        return cls(folder)

    def is_run(self) -> bool:
        """Whether a search wrote this folder: its `config.toml` has a `[record]`."""
        try:
            return RECORD in read_toml(self.path / "config.toml")
        except InputError:
            return False

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Lock the folder for this process; the system unlocks it when the process ends.

        Raises:
            InputError: another process has locked it, or what is written lies elsewhere.
        """
        self.require_no_links()
        return locked(self.path)

    def require_no_links(self) -> None:
        """Check that no file or folder that is written is a link: it may lead anywhere.

        Raises:
            InputError: one is.
        """
        for name in _ENTRIES:
            if name not in _MAY_BE_LINKS and (self.path / name).is_symlink():
                raise InputError(
                    f"{self.path / name} is a link, and nothing is written through it; put what it "
                    "points to in its place"
                )

    def sweep(self) -> None:
        """Remove files that a killed process left incomplete; those of a living one stay."""
        for folder in (self.path, self.figures):
            remove_partial_files(folder)
        for folder in (self.path, self.best):
            sweep(folder, STAGING)

    @property
    def weights(self) -> Path:
        return self.path / "weights"

    @property
    def trial_files(self) -> TrialFiles:
        """Folders for weights and checkpoints, as absolute paths for workers."""
        from trials.running.trial_files import TrialFiles  # torch

        path = self.path.resolve()
        return TrialFiles(weights=path / "weights", checkpoints=path / "checkpoints")

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def winner(self) -> Path:
        return self.path / "winner"

    @property
    def resumed_by(self) -> str:
        """The verb that goes on with this run by `--resume`."""
        return "discover" if (self.path / DISCOVERY).is_file() else "search"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    def trial_weights(self, trial: int) -> Path:
        return self.weights / f"trial-{trial:04d}.safetensors"

    def write_config(self, config: ResolvedConfig, record: Mapping[str, Any]) -> None:
        """Write all options, `out` as absolute path, and the facts of this run as `[record]`."""
        if config.out is not None:
            config = replace(config, out=absolute_path(config.out))
        made = {k: v for k, v in config.network.to_json().items() if k == NETWORK}
        text = tomli_w.dumps({**config.to_toml(), RECORD: {**record, **made}})
        write_whole(self.path / "config.toml", text)

    def add_to_record(self, config: ResolvedConfig, facts: Mapping[str, Any]) -> None:
        """Write further facts of this run; `config` are its options."""
        record = self.read_config(config.network.code)[1]
        self.write_config(config, {**record, **facts})

    def read_config(self, backbone: str | None = None) -> tuple[ResolvedConfig, dict[str, Any]]:
        """The options of this run, and its `[record]`. Runs no code that they name.

        Args:
            backbone: the backbone as the user names it again; its code may then be run later.

        Raises:
            InputError: `config.toml` is damaged, or the backbone is another one.
        """
        file = self.path / "config.toml"
        values = read_toml(file)
        record = check_record(values.get(RECORD), str(file))
        network = recorded_network(values.get("backbone"), record, str(file))
        if network is not None:
            network = network.named_again(backbone)
        before = {}
        if "stop_on" not in values:  # a run of version 0.1, which stopped trials by its metric
            signal = str(values.get("metric", "")).replace("_", "-")
            before = {"stop_on": signal} if signal in SIGNALS else {}
        config = SearchConfig.from_options(before, file, network=network).resolve()
        if network is None and backbone not in (None, config.backbone):
            raise InputError(f"backbone {backbone!r:.80} is not {config.backbone}, that of the run")
        return config, record

    def start_tables(
        self,
        trials: Iterable[Mapping[str, Any]] = (),
        epochs: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Replace `trials.csv` and `epochs.csv` by these rows."""
        write_table(self.path / "trials.csv", trials)
        write_table(self.path / "epochs.csv", epochs)

    def add_trial(self, row: Mapping[str, Any]) -> None:
        append_rows(self.path / "trials.csv", [row])

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        append_rows(self.path / "epochs.csv", [row])

    def add_event(self, event: Event, trial: int | None = None, placement: str = "") -> None:
        """Write what happens now into `events.csv`, which is made where it is missing."""
        file = self.table("events.csv")
        if not file.is_file():
            write_table(file, ())
        row = {"time": round(time.time(), 3), "event": event, "trial": trial}
        append_rows(file, [row | {"placement": placement}])

    def read_trials(self) -> pd.DataFrame:
        """`trials.csv`, one row per finished trial.

        Raises:
            InputError: the table is missing or damaged.
        """
        return read_table(self.path / "trials.csv")

    def read_some_trials(self, network: Architecture) -> pd.DataFrame:
        """`trials.csv` with at least one row, and with placements of this network.

        Raises:
            InputError: the table is missing, damaged or empty, or has another network's placements.
        """
        trials = self.read_trials()
        if trials.empty:
            raise InputError(f"{self.path} has no finished trial yet; let the search run longer")
        for placement in trials["placement"].unique():
            network.check(Placement.parse(placement))
        return trials

    def count_trials(self) -> int:
        """Number of finished trials, for a progress display; 0 if the table cannot be read."""
        try:
            return len(self.read_trials())
        except InputError:
            return 0

    def read_epochs(self) -> pd.DataFrame:
        """`epochs.csv`, one row per finished epoch.

        Raises:
            InputError: the table is missing or damaged.
        """
        return read_table(self.path / "epochs.csv")

    @property
    def confirm_weights(self) -> Path:
        return self.path / "confirm"

    @property
    def confirm_files(self) -> TrialFiles:
        """As `trial_files`, for the trainings of a confirmation."""
        from trials.running.trial_files import TrialFiles

        weights = self.confirm_weights.resolve()
        return TrialFiles(weights=weights, checkpoints=weights / "checkpoints")

    def has_confirmation(self) -> bool:
        return (self.path / "confirm.csv").is_file()

    def read_supernet(self) -> pd.DataFrame | None:
        """`supernet.csv`; None if there was no warm start.

        Raises:
            InputError: the table is damaged.
        """
        file = self.table("supernet.csv")
        return read_table(file) if file.is_file() else None

    def table(self, name: str) -> Path:
        """Path of a table by its file name, a key of `relu_search.run_folder.tables.COLUMNS`."""
        return self.path / name
