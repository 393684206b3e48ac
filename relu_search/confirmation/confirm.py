"""Confirm what a search found: the best placements against the hand-designed modules.

Every arm is trained from scratch on the same fresh seeds. Only when all training is done is the
test split read, once per finished model, and the statistics turn it into verdicts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tomli_w

from relu_search.analysis.leaderboard import rows_of
from relu_search.confirmation.arms import PAIRED, Arm, choose_arms
from relu_search.confirmation.statistics import MARGIN, losers
from relu_search.confirmation.verdicts import verdict_rows
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import append_rows, read_table, write_table
from relu_search.search.machines import Compute, local_device
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.toml_files import read_toml
from search_spaces import InputError, build
from trials.data.held_out import check_test_split, load_test_split
from trials.data.splits import Splits, load_splits
from trials.files.durable import storage_errors, write_whole
from trials.running.trial import TrialResult, run_trial
from trials.running.trial_list import TrialList
from trials.training.checkpoint import load_weights
from trials.training.evaluation import score_on_test
from trials.training.metrics import DIVERGED, EpochMetrics
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

RUNS, CURVES, VERDICTS, SETTINGS = (
    "confirm.csv",
    "confirm_epochs.csv",
    "verdict.csv",
    "confirm.toml",
)
MOST_SEEDS = 1_000
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """How a confirmation ended.

    Attributes:
        run: its folder, with `confirm.csv` and `verdict.csv`.
        ending: `complete`, or `interrupted` with trainings left to do.
        verdicts: rows of `verdict.csv`; empty when interrupted.
        failed: trainings that failed, and are tried again on the next call.
    """

    run: RunFolder
    ending: Literal["complete", "interrupted"]
    verdicts: list[dict[str, Any]]
    failed: int


def confirm(
    folder: str | Path,
    *,
    top: int = 3,
    modules: Sequence[str] | None = None,
    seeds: int = 6,
    first_seed: int | None = None,
    epochs: int | None = None,
    margin: float = MARGIN,
    racing: bool = True,
    compute: Compute | None = None,
    report: Report = lambda line: None,
    runner: Callable[..., TrialResult] = run_trial,
) -> Confirmation:
    """Retrain the best found placements and the hand-designed modules; compare on the test split.

    ```python
    confirm("runs/first", top=3, seeds=6).verdicts
    ```

    Call it again to go on after an interruption, or with more `seeds` to add some: what is trained
    stays, and a model's test figures are taken once.

    Args:
        folder: run folder of a search.
        top: found placements to retrain.
        modules: hand-designed ones; None: those of the search. Paired is always among them.
        seeds: how many fresh seeds each arm gets.
        first_seed: they count from here; None: one above the search's.
        epochs: of a training; None: as in the search.
        margin: of equivalence, as a difference of accuracies in 0 to 1.
        racing: drop arms that can no longer win (`statistics.losers`, on validation accuracy);
            paired and the best hand-designed module always get every seed.
        compute: where to train; None: as the search did.
        report: told of the progress, line by line.
        runner: what trains a spec; `run_trial`, or a replay.

    Raises:
        InputError: no run folder, no finished trial, seeds of the search, settings that contradict
            earlier ones, or data that are no longer the same.
    """
    run = RunFolder.open(folder)
    config, record = run.read_config()
    seed_list = _fresh_seeds(config, seeds, first_seed)
    if not 0 < margin < 1:
        raise InputError(f"margin is {margin}; it must be between 0 and 1, such as 0.003")
    if top < 0:
        raise InputError(f"top is {top}; it must be at least 0")
    arms = choose_arms(run, top=top, modules=modules)
    with run.lock():
        recipe = _settled_recipe(run, config, epochs)
        splits = load_splits(
            config.data,
            (config.seed, *seed_list),
            data_dir=config.data_dir,
            train_limit=config.train_limit,
            validation_images=config.validation_images,
        )
        original = splits.of(config.seed)
        if original.split_digest != record["data"]["split_digest"]:
            raise InputError(
                f"data {config.data!r} are not those that {run.path} was searched with; restore "
                "them or search anew"
            )
        check_test_split(original, data_dir=config.data_dir)
        write_whole(run.path / SETTINGS, tomli_w.dumps({"epochs": recipe.epochs}))
        contest = _Contest(run, config, recipe, arms, seed_list, racing=racing, report=report)
        contest.train(splits, compute or Compute.of(config), runner)
        if not contest.is_complete:
            return Confirmation(run=run, ending="interrupted", verdicts=[], failed=contest.failed)
        contest.read_test_split(splits)
        rows = verdict_rows(
            read_table(run.table(RUNS)), arms, margin=margin, dropped_after=contest.dropped_after
        )
        write_table(run.table(VERDICTS), rows)
    return Confirmation(run=run, ending="complete", verdicts=rows, failed=contest.failed)


class _Contest:
    """The trainings of a confirmation: what is done, what is left, who is out of the race."""

    def __init__(
        self,
        run: RunFolder,
        config: ResolvedConfig,
        recipe: Recipe,
        arms: list[Arm],
        seeds: Sequence[int],
        *,
        racing: bool,
        report: Report,
    ) -> None:
        self._run = run
        self._config = config
        self._recipe = recipe
        self._arms = {arm.name: arm for arm in arms}
        self._seeds = seeds
        self._racing = racing
        self._report = report
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
        """Whether every training that is still wanted has been done, or has failed."""
        left = ((arm.name, seed) for arm, seed in self._plan if arm.name not in self.dropped_after)
        return all(key in self._done or key in self._failed for key in left)

    @property
    def failed(self) -> int:
        return len(self._failed)

    def train(self, splits: Splits, compute: Compute, runner: Callable[..., TrialResult]) -> None:
        """Train every arm on every seed that it lacks, seed by seed, until done or interrupted."""
        if self.is_complete:
            return
        self._report(
            f"confirming {len(self._arms)} arms on seeds {self._seeds[0]} to {self._seeds[-1]}, "
            f"{self._recipe.epochs} epochs each: {len(self._plan)} trainings to do"
        )
        batch = TrialList(
            [self._spec(arm, seed) for arm, seed in self._plan],
            ended=self._ended,
            wanted=lambda number: self._plan[number][0].name not in self.dropped_after,
        )
        compute.run(
            batch,
            splits,
            precision=self._recipe.precision,
            files=self._run.confirm_files,
            name=self._run.read_config()[1]["study"] + "-confirm",
            runner=runner,
        )

    def read_test_split(self, splits: Splits) -> None:
        """Take the test figures of every finished model that has none yet, once each.

        A diverged run is scored at chance level: it is counted, never left out.
        """
        unread = [
            row
            for (arm, seed), row in self._done.items()
            if row["test_accuracy"] is None and arm in self._arms and seed in self._seeds
        ]
        if unread:
            training = splits.of(self._seeds[0])
            test = load_test_split(training, data_dir=self._config.data_dir)
            self._report(f"reading the test split: {len(test):,} images, {len(unread)} models")
        for row in unread:
            if row["state"] == "DIVERGED":
                row["test_accuracy"] = 1 / len(splits.classes)
                continue
            training = splits.of(row["seed"])
            arm = self._arms_by_text[row["placement"]]
            model = build(
                self._config.network,
                arm.placement,
                num_classes=training.num_classes,
                in_channels=training.in_channels,
                activation=self._config.activation,
            )
            load_weights(model, self._weights_of(arm, row["seed"]))
            loss, accuracy = score_on_test(model, test, training, self._recipe, local_device())
            row["test_loss"], row["test_accuracy"] = loss, accuracy
            self._write_runs()  # taken once, also when the next model is never reached
        self._write_runs()

    @cached_property
    def _arms_by_text(self) -> dict[str, Arm]:
        return {arm.placement.text: arm for arm in self._arms.values()}

    def _read_earlier_runs(self) -> None:
        """Take over the rows of earlier calls; failed runs are trained again."""
        if not self._run.has_confirmation():
            self._write_runs()
            write_table(self._run.table(CURVES), [])
            return
        names: dict[tuple[str, int], str] = {}  # the arm of a finished run, once and now
        for row in rows_of(read_table(self._run.table(RUNS))):
            if row["state"] == "FAIL":
                continue
            known = self._arms_by_text.get(row["placement"])
            written = row["arm"]
            row["arm"] = names[written, row["seed"]] = known.name if known else written
            if row["search_trial"] is not None:  # a column with gaps is read as floats
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

    def _weights_of(self, arm: Arm, seed: int) -> Path:
        text = arm.placement.text
        slug = re.sub(r"[^A-Za-z0-9]+", "-", text)[:60]
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]  # long texts begin alike
        return self._run.confirm_weights / f"{slug}-{digest}-seed{seed}.safetensors"

    def _ended(self, number: int, epochs: tuple[EpochMetrics, ...], failure: str | None) -> None:
        arm, seed = self._plan[number]
        state = "COMPLETE" if failure is None else "DIVERGED" if _diverged(failure) else "FAIL"
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
            "reason": failure or "",
        }
        if state == "COMPLETE":
            written = self._run.confirm_files.weights_of(number)
            assert written is not None
            with storage_errors(written):
                written.replace(self._weights_of(arm, seed))
        if state == "FAIL":  # it is tried again, so its epochs are not kept
            self._failed[arm.name, seed] = row
        else:
            self._done[arm.name, seed] = row
            who = {"arm": arm.name, "seed": seed}
            curve = [who | metrics.to_json() for metrics in epochs]
            append_rows(self._run.table(CURVES), curve)
        append_rows(self._run.table(RUNS), [row])  # last: with its row a training is finished
        score = f"val acc {last['val_accuracy']:.1%}" if epochs else "no epoch finished"
        self._report(
            f"{len(self._done)}/{len(self._arms) * len(self._seeds)}  {arm.name}  seed {seed}  "
            + score
            + (f"  {state.lower()}: {failure}" if failure else "")
        )
        self._race()

    def _race(self) -> None:
        """Drop arms that can no longer win, on validation accuracy.

        The rule is stricter when more seeds are planned, so that an arm may come back when seeds
        are added to an earlier confirmation.
        """
        if not self._racing:
            return
        scores: dict[str, dict[int, float]] = {name: {} for name in self._arms}
        for (name, seed), row in self._done.items():
            if name in scores and seed in self._seeds:
                scores[name][seed] = 0.0 if row["state"] == "DIVERGED" else row["val_accuracy"]
        out: dict[str, float] = {"": 0.0}
        while out:  # without those that are out, the others may have more seeds in common
            racing = {n: s for n, s in scores.items() if n not in self.dropped_after}
            shared = set.intersection(*map(set, racing.values()))
            designed = [n for n in racing if self._arms[n].origin == "module"]
            best = max(designed, key=lambda n: sum(racing[n][seed] for seed in shared))
            out = losers(
                racing, protected=frozenset({PAIRED, best}), planned_seeds=len(self._seeds)
            )
            for name, bound in out.items():
                self.dropped_after[name] = len(shared)
                self._report(
                    f"{name} is out of the race after {len(shared)} seeds: at best "
                    f"{-100 * bound:.1f} points behind the leader (validation)"
                )

    def _write_runs(self) -> None:
        order = {name: i for i, name in enumerate(self._arms)}
        rows = sorted(
            [*self._done.values(), *self._failed.values()],
            key=lambda row: (row["seed"], order.get(row["arm"], len(order))),
        )
        write_table(self._run.table(RUNS), rows)


def _fresh_seeds(config: ResolvedConfig, seeds: int, first: int | None) -> list[int]:
    if not 2 <= seeds <= MOST_SEEDS:
        raise InputError(f"seeds is {seeds}; a comparison needs 2 to {MOST_SEEDS}, better 6")
    start = config.seed + 1 if first is None else first
    if not 0 <= start < 2**31 - seeds:
        raise InputError(f"first seed is {start}; it must be at least 0 and below {2**31 - seeds}")
    chosen = list(range(start, start + seeds))
    if config.seed in chosen:
        raise InputError(
            f"seeds {start} to {chosen[-1]} hold {config.seed}, the search's own; a confirmation "
            f"needs fresh ones, so leave --first-seed out or give {config.seed + 1}"
        )
    return chosen


def _settled_recipe(run: RunFolder, config: ResolvedConfig, epochs: int | None) -> Recipe:
    """The recipe of this run's confirmation: settled by its first call, kept ever after."""
    recipe = config.training_recipe
    path = run.path / SETTINGS
    if path.is_file():
        settled = read_toml(path).get("epochs")
        if type(settled) is not int:
            raise InputError(f"{path} has no whole number of epochs; the run folder is damaged")
        if epochs not in (None, settled):
            raise InputError(
                f"{run.path} was confirmed with {settled} epochs, and {epochs} cannot join them; "
                f"leave --epochs out, or remove {RUNS} and {SETTINGS} there to begin anew"
            )
        return replace(recipe, epochs=settled)
    return recipe if epochs is None else replace(recipe, epochs=epochs)


def _diverged(failure: str) -> bool:
    return failure.startswith(DIVERGED)
