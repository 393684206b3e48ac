"""The trainings of a confirmation: finished, failed, left to do. Writes `confirm.csv`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from relu_search.analysis.leaderboard import rows_of
from relu_search.confirmation.arms import Arm
from relu_search.confirmation.racing import newly_dropped
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import append_rows, read_table, write_table
from relu_search.search.training_lists import run_trainings
from relu_search.settings.machines import Machines
from relu_search.settings.resolved_config import ResolvedConfig
from trials.data.splits import Splits
from trials.files.durable import storage_errors
from trials.running.time_budget import TimeBudget
from trials.running.trial import TrialResult
from trials.running.trial_list import TrialList
from trials.training.metrics import DIVERGED, EpochMetrics
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

RUNS, CURVES = "confirm.csv", "confirm_epochs.csv"


class Trainings:
    """The trainings of a confirmation: every arm on every seed.

    Attributes:
        dropped_after: arm -> number of seeds after which the race dropped it.
    """

    def __init__(
        self,
        run: RunFolder,
        config: ResolvedConfig,
        recipe: Recipe,
        arms: list[Arm],
        seeds: Sequence[int],
        *,
        racing: bool,
        report: Callable[[str], None],
        budget: TimeBudget,
    ) -> None:
        self._run = run
        self._config = config
        self._recipe = recipe
        self._arms = {arm.name: arm for arm in arms}
        self._seeds = seeds
        self._racing = racing
        self._report = report
        self._budget = budget
        self.dropped_after: dict[str, int] = {}
        self._done: dict[tuple[str, int], dict[str, Any]] = {}
        self._failed: dict[tuple[str, int], dict[str, Any]] = {}
        self._read_earlier_runs()
        self._plan = [
            (arm, seed) for seed in seeds for arm in arms if (arm.name, seed) not in self._done
        ]
        self._race()

    @property
    def is_complete(self) -> bool:
        """Whether every training of the arms that still race has finished or failed."""
        left = (pair for pair in self._plan if pair[0].name not in self.dropped_after)
        return all(self._has_ended(arm, seed) for arm, seed in left)

    @property
    def failed(self) -> int:
        """Number of failed trainings; the next call trains them again."""
        return len(self._failed)

    def train(self, splits: Splits, compute: Machines, runner: Callable[..., TrialResult]) -> None:
        """Train what is left, seed by seed, until all is done or the user interrupts."""
        if self.is_complete:
            return
        self._report(
            f"confirming {len(self._arms)} arms on seeds {self._seeds[0]} to {self._seeds[-1]}, "
            f"{self._recipe.epochs} epochs each, {self._config.start_text}: {len(self._plan)} "
            "trainings to do"
        )
        trials = TrialList(
            [self._spec(arm, seed) for arm, seed in self._plan],
            ended=self._ended,
            wanted=lambda number: self._plan[number][0].name not in self.dropped_after,
            budget=self._budget,
        )
        run_trainings(
            compute,
            trials,
            splits,
            precision=self._recipe.precision,
            files=self._run.confirm_files,
            name=self._run.read_config()[1]["study"] + "-confirm",
            say=self._report,
            runner=runner,
            weights=self._config.start,
        )
        self._write_runs()

    @property
    def is_out_of_time(self) -> bool:
        """Whether the time budget lets none of the trainings start that are left."""
        arm, seed = self._plan[0]
        return not self._budget.may_start(self._spec(arm, seed))

    def keep_complete_seeds(self) -> int:
        """Leave out the seeds that not all arms have which still race; the number of the others."""
        open_seeds = {
            seed
            for arm, seed in self._plan
            if arm.name not in self.dropped_after and not self._has_ended(arm, seed)
        }
        self._seeds = [seed for seed in self._seeds if seed not in open_seeds]
        return len(self._seeds)

    def unscored(self) -> list[dict[str, Any]]:
        """Rows of the finished trainings of this call's arms and seeds without a test score."""
        return [
            row
            for (arm, seed), row in self._done.items()
            if row["test_accuracy"] is None and arm in self._arms and seed in self._seeds
        ]

    def save_score(self, row: dict[str, Any], loss: float | None, accuracy: float) -> None:
        """Write the test score of a row that `unscored` gave.

        Args:
            loss: mean cross-entropy in nats.
            accuracy: in 0 to 1.
        """
        row["test_loss"], row["test_accuracy"] = loss, accuracy
        self._write_runs()

    def weights_of(self, arm: Arm, seed: int) -> Path:
        """Where the weights of a finished training are."""
        return weights_file(self._run, arm.placement.text, seed)

    @cached_property
    def arms_by_text(self) -> dict[str, Arm]:
        """Placement text -> arm."""
        return {arm.placement.text: arm for arm in self._arms.values()}

    def _has_ended(self, arm: Arm, seed: int) -> bool:
        key = arm.name, seed
        return key in self._done or key in self._failed

    def _read_earlier_runs(self) -> None:
        """Keep the rows of earlier calls, except those of failed trainings."""
        if not self._run.has_confirmation():
            self._write_runs()
            write_table(self._run.table(CURVES), [])
            return
        names: dict[tuple[str, int], str] = {}  # written arm name -> name now
        for row in rows_of(read_table(self._run.table(RUNS))):
            if row["state"] == "FAIL":
                continue
            known = self.arms_by_text.get(row["placement"])
            written = row["arm"]
            row["arm"] = names[written, row["seed"]] = known.name if known else written
            if row["search_trial"] is not None:  # pandas reads a column with gaps as floats
                row["search_trial"] = int(row["search_trial"])
            self._done[row["arm"], row["seed"]] = row
        curves = rows_of(read_table(self._run.table(CURVES)))
        write_table(
            self._run.table(CURVES),
            [
                {**row, "arm": names[row["arm"], row["seed"]]}
                for row in curves
                if (row["arm"], row["seed"]) in names
            ],
        )
        self._write_runs()

    def _spec(self, arm: Arm, seed: int) -> TrialSpec:
        spec = self._config.trial_spec(arm.placement)
        return replace(spec, recipe=self._recipe, seed=seed)

    def _ended(self, number: int, epochs: tuple[EpochMetrics, ...], failure: str | None) -> None:
        arm, seed = self._plan[number]
        state = _state(failure)
        last = epochs[-1].to_json() if epochs else {}
        row = {
            "arm": arm.name,
            "origin": arm.origin,
            "placement": arm.placement.text,
            "ratio": arm.ratio,
            "relus": arm.placement.kept,
            "search_trial": arm.search_trial,
            "seed": seed,
            "state": state,
            "epochs": len(epochs),
            "test_accuracy": None,
            "test_loss": None,
            **{key: last.get(key) for key in ("val_accuracy", "val_loss", "train_loss")},
            "seconds": round(sum(metrics.seconds for metrics in epochs), 3),
            "start": self._config.start_text,
            "reason": failure or "",
        }
        if state == "COMPLETE":
            written = self._run.confirm_files.weights_of(number)
            assert written is not None
            with storage_errors(written):
                written.replace(self.weights_of(arm, seed))
        if state == "FAIL":  # the next call trains it again, so its curve is not kept
            self._failed[arm.name, seed] = row
        else:
            self._done[arm.name, seed] = row
            who = {"arm": arm.name, "seed": seed}
            curve = [who | metrics.to_json() for metrics in epochs]
            append_rows(self._run.table(CURVES), curve)
        # The row comes last: a training is finished once its row is written.
        append_rows(self._run.table(RUNS), [row])
        score = f"val acc {last['val_accuracy']:.1%}" if epochs else "no epoch finished"
        self._report(
            f"{len(self._done)}/{len(self._arms) * len(self._seeds)}  {arm.name}  seed {seed}  "
            + score
            + ("  failed: " if state == "FAIL" else "  ")
            + (failure or "")
        )
        self._race()

    def _race(self) -> None:
        """Drop arms that can no longer win."""
        if not self._racing:
            return
        scores: dict[str, dict[int, float]] = {name: {} for name in self._arms}
        for (name, seed), row in self._done.items():
            if name in scores and seed in self._seeds:
                scores[name][seed] = 0.0 if row["state"] == "DIVERGED" else row["val_accuracy"]
        for drop in newly_dropped(
            scores,
            designed={name for name, arm in self._arms.items() if arm.origin == "module"},
            dropped=self.dropped_after,
            planned_seeds=len(self._seeds),
        ):
            self.dropped_after[drop.name] = drop.after
            self._report(
                f"{drop.name} gets no more seeds after {drop.after}: it is at least "
                f"{-100 * drop.bound:.1f} points behind the leading arm (validation)"
            )

    def _write_runs(self) -> None:
        order = {name: i for i, name in enumerate(self._arms)}
        rows = sorted(
            [*self._done.values(), *self._failed.values()],
            key=lambda row: (row["seed"], order.get(row["arm"], len(order))),
        )
        write_table(self._run.table(RUNS), rows)


def weights_file(run: RunFolder, placement: str, seed: int) -> Path:
    """Where the weights of a training are that has finished."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", placement)[:60]
    digest = hashlib.sha256(placement.encode()).hexdigest()[:8]  # long texts may start alike
    return run.confirm_weights / f"{slug}-{digest}-seed{seed}.safetensors"


def _state(failure: str | None) -> str:
    if failure is None:
        return "COMPLETE"
    return "DIVERGED" if failure.startswith(DIVERGED) else "FAIL"
