"""Run a study of the paper by its own protocol, resumably.

Protocol (Section IV and arXiv:1611.07718): train on all training images, no early stopping, the
figure is the last epoch's test accuracy. So what a run calls validation is here the test split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from relu_search.analysis.leaderboard import rows_of
from relu_search.reproduce.experiments import Run, Settings, planned_runs
from relu_search.run_folder.folder import fresh_path
from relu_search.run_folder.tables import append_rows, read_table, write_table
from relu_search.search.machines import Compute
from relu_search.settings.toml_files import read_toml
from search_spaces import InputError
from trials.data.held_out import load_paper_protocol
from trials.data.splits import TrainingData
from trials.files.durable import write_whole
from trials.files.locks import locked
from trials.files.paths import user_path
from trials.running.trial import TrialResult, run_trial
from trials.running.trial_files import TrialFiles
from trials.running.trial_list import TrialList
from trials.training.metrics import DIVERGED, EpochMetrics
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

RUNS, CURVES, SETTINGS = "runs.csv", "curves.csv", "reproduce.toml"


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a reproduction ended.

    Attributes:
        folder: with `runs.csv` and `curves.csv`.
        is_complete: whether every run that was asked for has ended.
        num_classes: data name -> its classes.
    """

    folder: Path
    is_complete: bool
    num_classes: dict[str, int]


def reproduce(
    settings: Settings,
    *,
    out: str | None = None,
    compute: Compute | None = None,
    report: Callable[[str], None] = lambda line: None,
    runner: Callable[..., TrialResult] = run_trial,
) -> Reproduction:
    """Run a study of the paper, or what is left of it.

    A folder with equal settings is continued: finished runs stay. More `seeds` may be asked for.

    Raises:
        InputError: bad settings, data that cannot be read, a folder with other settings, or one
            in which another process is at work.
    """
    plan = planned_runs(settings)
    sets = {
        name: load_paper_protocol(
            name,
            data_dir=settings.data_dir,
            train_limit=settings.train_limit,
            download=settings.download,
        )
        for name in dict.fromkeys(run.data for run in plan)
    }
    folder = _open_folder(settings, out)
    with locked(folder):
        done = _take_over(folder)
        left = [run for run in plan if run.key not in done]
        report(f"{settings.definition.title}: {len(plan)} runs, {len(left)} to do, in {folder}")
        is_complete = all(
            _train(
                [run for run in left if run.data == name],
                data,
                settings=settings,
                folder=folder,
                compute=compute or Compute(),
                report=report,
                runner=runner,
            )
            for name, data in sets.items()
        )
    return Reproduction(
        folder=folder,
        is_complete=is_complete,
        num_classes={name: data.num_classes for name, data in sets.items()},
    )


def _take_over(folder: Path) -> set[tuple[Any, ...]]:
    """Keys of the finished runs; of all others the rows and curves are dropped."""
    if not (folder / RUNS).exists() and not (folder / CURVES).exists():  # a new folder
        write_table(folder / CURVES, [])
        write_table(folder / RUNS, [])
    runs = [row for row in rows_of(read_table(folder / RUNS)) if row["state"] != "FAIL"]
    done = {_key(row) for row in runs}
    curves = [row for row in rows_of(read_table(folder / CURVES)) if _key(row) in done]
    write_table(folder / RUNS, runs)
    write_table(folder / CURVES, curves)
    return done


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["data"], row["backbone"], row["module"], row["seed"])


def _train(
    runs: Sequence[Run],
    data: TrainingData,
    *,
    settings: Settings,
    folder: Path,
    compute: Compute,
    report: Callable[[str], None],
    runner: Callable[..., TrialResult],
) -> bool:
    """Train what is left on one data set; whether all of it has ended."""
    if not runs:
        return True
    recorder = _Recorder(folder, runs, 1 / data.num_classes, report)
    batch = TrialList([_spec(run, settings.recipe) for run in runs], ended=recorder.ended)
    files = TrialFiles(checkpoints=folder.resolve() / "checkpoints")
    compute.run(
        batch,
        data,
        precision=settings.precision,
        files=files,
        name=folder.name,
        runner=runner,
    )
    return batch.is_complete


class _Recorder:
    """Writes the rows of one batch. A diverged run is scored at chance level, not left out."""

    def __init__(
        self, folder: Path, runs: Sequence[Run], chance: float, report: Callable[[str], None]
    ) -> None:
        self._runs = runs
        self._folder = folder
        self._chance = chance
        self._report = report
        self._count = 0

    def ended(self, number: int, epochs: tuple[EpochMetrics, ...], failure: str | None) -> None:
        run = self._runs[number]
        diverged = failure is not None and failure.startswith(DIVERGED)
        last = epochs[-1] if epochs else None
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
            "epochs": len(epochs),
            "test_accuracy": self._chance if diverged else last.val_accuracy if last else None,
            "test_loss": last.val_loss if last and not diverged else None,
            "train_loss": last.train_loss if last else None,
            "seconds": round(sum(metrics.seconds for metrics in epochs), 3),
            "reason": failure or "",
        }
        curve = [
            {
                **who,
                "epoch": metrics.epoch,
                "train_loss": metrics.train_loss,
                "train_accuracy": metrics.train_accuracy,
                "test_loss": metrics.val_loss,
                "test_accuracy": metrics.val_accuracy,
            }
            for metrics in epochs
        ]
        if row["state"] != "FAIL":  # a failed run is tried again
            append_rows(self._folder / CURVES, curve)
        append_rows(self._folder / RUNS, [row])  # last: with its row a run is finished
        self._count += 1
        score = f"test acc {last.val_accuracy:.1%}" if last else "no epoch finished"
        self._report(
            f"{self._count}/{len(self._runs)}  {run.backbone.name}  {run.module}  seed {run.seed}  "
            f"{score}" + (f"  ({failure})" if failure else "")
        )


def _spec(run: Run, recipe: Recipe) -> TrialSpec:
    return TrialSpec(
        backbone=run.backbone,
        placement=run.placement,
        recipe=recipe,
        seed=run.seed,
    )


def _open_folder(settings: Settings, out: str | None) -> Path:
    folder = user_path(out) if out else fresh_path(Path("runs"), f"{settings.study}-")
    wanted = _identity(settings)
    if (folder / SETTINGS).is_file():
        found: dict[str, Any] = read_toml(folder / SETTINGS)
        if found != wanted:
            differ = sorted(k for k in found.keys() | wanted if found.get(k) != wanted.get(k))
            details = ", ".join(f"{k} {found.get(k)!r:.60}" for k in differ)
            raise InputError(
                f"{folder} holds a reproduction with other settings ({details}); give the same to "
                "go on, or another --out"
            )
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"output {folder} exists and holds other things; give another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / SETTINGS, tomli_w.dumps(wanted))
    except OSError as error:
        raise InputError(
            f"output folder {folder} cannot be written ({error.strerror or error}); give another "
            "with --out"
        ) from error
    return folder


def _identity(settings: Settings) -> dict[str, Any]:
    """What runs of one folder have in common; seeds, depths and places may differ."""
    values = {**asdict(settings), "epochs": settings.recipe.epochs}
    for name in ("seeds", "first_seed", "depths", "data_dir", "download"):
        values.pop(name)
    return {name: value for name, value in values.items() if value is not None}
