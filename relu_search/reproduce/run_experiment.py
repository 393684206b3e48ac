"""Run an experiment of the paper by the paper's protocol, and write `runs.csv`, `curves.csv`.

An interrupted reproduction continues in its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w

from relu_search.analysis.leaderboard import rows_of
from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.reproduce.paper_experiments import PlannedRun, ReproduceSettings, planned_runs
from relu_search.reproduce.protocol import PaperEpoch
from relu_search.run_folder.folder import RUNS as RUN_FOLDERS
from relu_search.run_folder.new_folders import fresh_folder
from relu_search.run_folder.tables import append_rows, read_table, write_table
from relu_search.run_folder.time_spent import save_time, time_spent
from relu_search.search.training_lists import check_machines, run_trainings
from relu_search.settings.limits import seconds_of
from relu_search.settings.machines import Machines
from relu_search.settings.option_files import read_toml
from relu_search.settings.search_options import RECIPE_OPTIONS
from search_spaces import InputError
from trials.data.held_out import load_paper_protocol
from trials.data.image_sets import TrainingData
from trials.files.durable import remove_partial_files, write_whole
from trials.files.locks import locked
from trials.files.paths import absolute_data, user_path
from trials.running.time_budget import TimeBudget
from trials.running.trial import TrialResult, run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList
from trials.training.metrics import DIVERGED, EpochMetrics
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

RUNS, CURVES, SETTINGS = "runs.csv", "curves.csv", "reproduce.toml"


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """The outcome of a reproduction.

    Attributes:
        folder: its folder, with `runs.csv` and `curves.csv`.
        is_complete: whether every planned run has finished or failed.
        num_classes: data name -> number of its classes.
    """

    folder: Path
    is_complete: bool
    num_classes: dict[str, int]


def reproduce(
    settings: ReproduceSettings,
    *,
    out: str | None = None,
    compute: Machines | None = None,
    time_budget: str | None = None,
    since: float | None = None,
    report: Callable[[str], None] = lambda line: None,
    runner: Callable[..., TrialResult] = run_trial,
    begun: Callable[[Path], None] = lambda folder: None,
) -> Reproduction:
    """Run an experiment of the paper, or what is left of it.

    A folder with the same settings is continued: finished runs are kept. `seeds` and `depths` may
    be larger than before.

    Args:
        out: folder; None: a new one under `./runs`.
        compute: where to train; None: on Ray with its defaults.
        time_budget: how long the runs may take, such as `2h`, those of earlier calls with a time
            budget included; None: there is no limit.
        since: moment of `time.monotonic` from which the time budget counts, such as the start of a
            program; None: when the data have been read.
        report: is called with each line of progress.
        runner: the function that trains a spec; tests replace it.
        begun: is told the folder before Ray starts.

    Raises:
        InputError: bad settings, data that cannot be read, a network that does not fit into
            memory, a folder with other settings, or a folder that another process is using.
    """
    limit = None if time_budget is None else seconds_of(time_budget, "time budget")
    plan = planned_runs(settings)
    machines = compute or Machines()
    if settings.deterministic:
        runner = partial(runner, deterministic=True)
    check_machines(machines, settings.training_recipe.precision)
    sets = {
        name: load_paper_protocol(
            name,
            data_dir=settings.data_dir,
            train_limit=settings.train_limit,
            image_size=settings.image_size,
            augment=settings.augment,
            download=settings.download,
            say=report,
        )
        for name in dict.fromkeys(run.data for run in plan)
    }
    for data, backbone in dict.fromkeys((run.data, run.backbone) for run in plan):
        facts = PlacementFacts.on(sets[data], backbone)
        facts.require_trainable(len(sets[data].train), settings.training_recipe.batch_size)
    folder = _open_folder(settings, out)
    begun(folder)
    with locked(folder):
        budget = TimeBudget()
        if limit is not None:
            budget = TimeBudget(limit, spent=time_spent(folder, "reproduce"), since=since)
            budget.save = partial(save_time, folder, "reproduce")
        done = _keep_finished(folder)
        left = [run for run in plan if run.key not in done]
        report(f"{settings.definition.title}: {len(plan)} runs, {len(left)} to do, in {folder}")
        is_complete = all(
            _train(
                [run for run in left if run.data == name],
                data,
                settings=settings,
                folder=folder,
                compute=machines,
                budget=budget,
                report=report,
                runner=runner,
            )
            for name, data in sets.items()
        )
        budget.record()
    return Reproduction(
        folder=folder,
        is_complete=is_complete,
        num_classes={name: data.num_classes for name, data in sets.items()},
    )


def _keep_finished(folder: Path) -> set[tuple[Any, ...]]:
    """Remove the rows and curves of all runs that are not finished; keys of the finished runs."""
    remove_partial_files(folder)
    if not (folder / RUNS).exists() and not (folder / CURVES).exists():  # a new folder
        write_table(folder / CURVES, [])
        write_table(folder / RUNS, [])
    runs, curves = (
        [_with_absolute_data(row) for row in rows_of(read_table(folder / table))]
        for table in (RUNS, CURVES)
    )
    runs = [row for row in runs if row["state"] != "FAIL"]
    done = {_key(row) for row in runs}
    curves = [row for row in curves if _key(row) in done]
    write_table(folder / RUNS, runs)
    write_table(folder / CURVES, curves)
    return done


def _with_absolute_data(values: dict[str, Any]) -> dict[str, Any]:
    """Values of a folder whose `data` may be a relative path, as older versions wrote it."""
    data = values.get("data")
    return {**values, "data": absolute_data(data)} if isinstance(data, str) else values


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["data"], row["backbone"], row["module"], row["seed"])


def _train(
    runs: Sequence[PlannedRun],
    data: TrainingData,
    *,
    settings: ReproduceSettings,
    folder: Path,
    compute: Machines,
    budget: TimeBudget,
    report: Callable[[str], None],
    runner: Callable[..., TrialResult],
) -> bool:
    """Train the runs of one data set; whether all have finished or failed."""
    if not runs:
        return True
    recorder = _Recorder(folder, runs, 1 / data.num_classes, report)
    specs = [_spec(run, settings.training_recipe) for run in runs]
    trials = TrialList(specs, ended=recorder.ended, budget=budget)
    files = TrialFiles(checkpoints=folder.resolve() / "checkpoints")
    run_trainings(
        compute,
        trials,
        data,
        precision=settings.training_recipe.precision,
        files=files,
        name=folder.name,
        say=report,
        runner=runner,
    )
    return trials.is_complete


class _Recorder:
    """Writes the rows of the runs of one data set. A diverged run gets the accuracy of chance."""

    def __init__(
        self, folder: Path, runs: Sequence[PlannedRun], chance: float, report: Callable[[str], None]
    ) -> None:
        self._runs = runs
        self._folder = folder
        self._chance = chance
        self._report = report
        self._count = 0

    def ended(self, number: int, epochs: tuple[EpochMetrics, ...], failure: str | None) -> None:
        """Record the end of a run.

        Args:
            number: of the run in the list of runs.
            epochs: its epochs.
            failure: why it failed or diverged; None: it finished.
        """
        run = self._runs[number]
        curve = [PaperEpoch.of(epoch) for epoch in epochs]
        diverged = failure is not None and failure.startswith(DIVERGED)
        last = curve[-1] if curve else None
        who = {
            "data": run.data,
            "backbone": run.backbone.name,
            "module": run.module,
            "seed": run.seed,
        }
        row = {
            **who,
            "placement": run.placement.text,
            "state": "COMPLETE" if failure is None else "DIVERGED" if diverged else "FAIL",
            "epochs": len(curve),
            "test_accuracy": self._chance if diverged else last.test_accuracy if last else None,
            "test_loss": last.test_loss if last and not diverged else None,
            "train_loss": last.train_loss if last else None,
            "seconds": round(sum(epoch.seconds for epoch in curve), 3),
            "reason": failure or "",
        }
        rows = [
            {
                **who,
                "epoch": epoch.epoch,
                "train_loss": epoch.train_loss,
                "train_accuracy": epoch.train_accuracy,
                "test_loss": epoch.test_loss,
                "test_accuracy": epoch.test_accuracy,
            }
            for epoch in curve
        ]
        if row["state"] != "FAIL":  # the next call trains a failed run again
            append_rows(self._folder / CURVES, rows)
        # The row comes last: a run is finished once its row is written.
        append_rows(self._folder / RUNS, [row])
        self._count += 1
        score = f"test acc {last.test_accuracy:.1%}" if last else "no epoch finished"
        self._report(
            f"{self._count}/{len(self._runs)}  {run.backbone.name}  {run.module}  seed {run.seed}  "
            f"{score}" + (f"  ({failure})" if failure else "")
        )


def _spec(run: PlannedRun, recipe: Recipe) -> TrialSpec:
    return TrialSpec(
        backbone=run.backbone,
        placement=run.placement,
        recipe=recipe,
        seed=run.seed,
    )


def _open_folder(settings: ReproduceSettings, out: str | None) -> Path:
    folder = user_path(out) if out else Path(RUN_FOLDERS)
    wanted = _identity(settings)
    if out and (folder / SETTINGS).is_file():
        written = {"deterministic": False, **read_toml(folder / SETTINGS)}
        found = _with_absolute_data(written)
        if found != wanted:
            differ = sorted(k for k in found.keys() | wanted if found.get(k) != wanted.get(k))
            details = ", ".join(f"{k} {found.get(k)!r:.200}" for k in differ)
            raise InputError(
                f"{folder} has a reproduction with other settings ({details}); use the same "
                "settings to continue it, or another --out"
            )
        if found != written:
            write_whole(folder / SETTINGS, tomli_w.dumps(found))
        return folder
    if out and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"output {folder} exists and has other content; use another --out")
    try:
        if out:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = fresh_folder(folder, f"{settings.experiment}-")
        write_whole(folder / SETTINGS, tomli_w.dumps(wanted))
    except OSError as error:
        raise InputError(
            f"output folder {folder} cannot be written ({error.strerror or error}); use another "
            "--out"
        ) from error
    return folder


def _identity(settings: ReproduceSettings) -> dict[str, Any]:
    """The settings that all runs of a folder share, as `reproduce.toml` has them."""
    recipe = settings.training_recipe
    values = {
        **asdict(settings),
        "epochs": recipe.epochs,
        "precision": recipe.precision,
        "recipe": None if recipe.text == "paper" else recipe.to_json(),
    }
    for name in ("experiment", "seeds", "first_seed", "depths", "data_dir", "download"):
        values.pop(name)
    for name in RECIPE_OPTIONS:
        values.pop(name)
    values = {"study": settings.experiment, **values}  # the name of the key in older folders
    return {name: value for name, value in values.items() if value is not None}
