"""Confirm what a search found: the best placements against the hand-designed modules.

1. Choose the arms: paired, the hand-designed modules, and the best found placements.
2. Train every arm on the same fresh seeds, as the search did: from scratch or from its weights.
3. When all training is done, score every finished model once on the test split.
4. Compare the arms and write the verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

import tomli_w

from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.confirmation.arms import Arm, choose_arms
from relu_search.confirmation.looks import OLD_VERDICTS, Looks
from relu_search.confirmation.scoring import check_data, score_on_test_split
from relu_search.confirmation.seeds_plan import MOST_SEEDS
from relu_search.confirmation.trainings import RUNS, Trainings
from relu_search.confirmation.verdict_rule import MARGIN
from relu_search.confirmation.verdict_table import verdict_rows
from relu_search.ratios.curve import RatioCurve, ratio_curve
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table, write_table
from relu_search.run_folder.time_spent import save_time, time_spent
from relu_search.search.resuming import contradicting_data, require_same_weights
from relu_search.search.training_lists import check_machines
from relu_search.settings.limits import seconds_of
from relu_search.settings.machines import Machines
from relu_search.settings.option_files import (
    absolute_weights,
    changed_recipe,
    read_toml,
    recipe_of_table,
)
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_options import MAX_SEED
from relu_search.statistics.paired_tests import FEWEST_SEEDS
from search_spaces import InputError
from search_spaces.errors import require_type, shown
from trials.data.image_sets import TrainingData
from trials.files.durable import write_whole
from trials.files.paths import absolute_data
from trials.running.time_budget import TimeBudget
from trials.running.trial import TrialResult, run_trial
from trials.training.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

VERDICTS, SETTINGS = "verdict.csv", "confirm.toml"
Report = Callable[[str], None]


_Kind = type | tuple[type, ...]
_TYPES: Mapping[str, tuple[_Kind, str]] = {
    **dict.fromkeys(("top", "seeds"), (Integral, "a whole number")),
    **dict.fromkeys(("ratios", "first_seed", "epochs"), ((Integral, NoneType), "a whole number")),
    "modules": ((list, tuple, NoneType), "a list of texts, such as ['2:1', '01*18']"),
    "margin": (Real, "a number between 0 and 1"),
    "recipe": ((str, Recipe, NoneType), "a Recipe, its name or a file"),
    "time_budget": ((str, NoneType), "a text such as '2h'"),
    "data": ((str, TrainingData, NoneType), "a name such as 'digits', or TrainingData"),
    **dict.fromkeys(("data_dir", "weights"), ((str, Path, NoneType), "a path")),
    "backbone": ((str, NoneType), "a text such as 'my_models.py:make_model'"),
    "compute": ((Machines, NoneType), "Machines"),
}


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The outcome of a confirmation.

    Attributes:
        run: its folder, with `confirm.csv` and `verdict.csv`.
        ending: `complete`; with trainings left to do, `out of time` or `interrupted`.
        verdicts: rows of `verdict.csv`; empty when interrupted. When out of time, they are those of
            the seeds that are complete, empty if these are fewer than two.
        failed: number of trainings that failed; the next call trains them again.
        curve: the ratios that were compared; None: none were.
    """

    run: RunFolder
    ending: Literal["complete", "out of time", "interrupted"]
    verdicts: list[dict[str, Any]]
    failed: int
    curve: RatioCurve | None = None


def confirm(
    folder: str | Path,
    *,
    top: int = 3,
    ratios: int | None = None,
    modules: Sequence[str] | None = None,
    seeds: int = 6,
    first_seed: int | None = None,
    epochs: int | None = None,
    recipe: str | Recipe | None = None,
    margin: float = MARGIN,
    racing: bool = True,
    time_budget: str | None = None,
    since: float | None = None,
    deterministic: bool | None = None,
    data: str | TrainingData | None = None,
    data_dir: str | None = None,
    weights: str | None = None,
    test: Any = None,
    backbone: str | None = None,
    compute: Machines | None = None,
    report: Report = lambda line: None,
    runner: Callable[..., TrialResult] = run_trial,
) -> Confirmation:
    """Retrain the best found placements and the hand-designed modules; compare on the test split.

    ```python
    confirm("runs/first", top=3, seeds=6).verdicts
    ```

    Call it again to continue after an interruption, or with more `seeds` to add seeds. Finished
    trainings are kept, and each model is scored once on the test split.

    Args:
        folder: run folder of a search.
        top: number of found placements to retrain.
        ratios: instead of the top, retrain the best placement of each of so many ratios, at least
            two, spread over the ratios that the search has tried, and compare these ratios.
        modules: hand-designed modules; None: those of the search. Paired is always added.
        seeds: number of fresh seeds for each arm.
        first_seed: the first fresh seed; None: the search's seed plus one.
        epochs: epochs of each training; None: as in the recipe.
        recipe: how to train, a `Recipe`, its name or a TOML file; None: as in the search.
        margin: margin of equivalence, a difference of accuracies in 0 to 1.
        racing: stop training arms that can no longer win (`racing.losers`, on validation accuracy).
            Paired and the best hand-designed module always get every seed.
        time_budget: how long the trainings may take, such as `2h`, those of earlier calls with a
            time budget included; None: there is no limit.
        since: moment of `time.monotonic` from which the time budget counts, such as the start of a
            program; None: this call.
        deterministic: repeat to the last bit on GPUs too; None: as in the search.
        data: where the data of the search are now; None: where they were. Data that were given in
            Python are given again.
        data_dir: where torchvision's data are now; None: where they were.
        weights: where the weights from which the trainings start are now; None: where they were.
        test: the test split of such data: a pair of images and labels, or a data set.
        backbone: the backbone, named again if it is code, which runs only then.
        compute: where to train; None: as the search did.
        report: is called with each line of progress.
        runner: the function that trains a spec; tests replace it.

    Raises:
        InputError: no run folder, no finished trial, seeds that include the search's, settings
            that contradict earlier ones, data that have changed, or a network that does not fit
            into memory.
    """
    _check_types(
        top=top,
        ratios=ratios,
        modules=modules,
        seeds=seeds,
        first_seed=first_seed,
        epochs=epochs,
        recipe=recipe,
        margin=margin,
        time_budget=time_budget,
        data=data,
        data_dir=data_dir,
        weights=weights,
        backbone=backbone,
        compute=compute,
    )
    run = RunFolder.open(folder)
    budget = _time_budget(run, time_budget, since)
    config, record = run.read_config(backbone)
    config.network.require_runnable()
    config = _moved(run, config, data, data_dir, weights)
    seed_list = _fresh_seeds(config, seeds, first_seed)
    _check_numbers(margin, top, ratios)
    arms = choose_arms(run, top=top, modules=modules, ratios=ratios)
    with run.lock():
        chosen = None if recipe is None else changed_recipe(recipe, {})
        settled, deterministic = settled_training(run, config, chosen, epochs, deterministic)
        machines = compute or Machines.of(config)
        check_machines(machines, settled.precision)
        splits = config.load_splits((config.seed, *seed_list), report)
        facts = _facts(config, record["data"])
        facts.require_trainable(len(splits.split[config.seed][0]), settled.batch_size)
        given_test = check_data(run, config, splits, record["data"]["split_digest"], test)
        config = config.with_weights(splits.facts_of(config.seed))
        require_same_weights(run, config)
        if not (run.path / SETTINGS).is_file():
            settings: dict[str, Any] = {"epochs": settled.epochs, "deterministic": deterministic}
            if settled != replace(config.training_recipe, epochs=settled.epochs):
                settings["recipe"] = settled.to_json()
            write_whole(run.path / SETTINGS, tomli_w.dumps(settings))
        trainings = Trainings(
            run, config, settled, arms, seed_list, racing=racing, report=report, budget=budget
        )
        if seeds < FEWEST_SEEDS:
            report(
                f"{seeds} seeds allow no verdict, only intervals; a verdict needs {FEWEST_SEEDS}"
                f" or more: add them with --seeds {FEWEST_SEEDS}"
            )
        if deterministic:
            runner = partial(runner, deterministic=True)
        # The names of checkpoints depend on the name of the data, so it stays if they are moved.
        trainings.train(replace(splits, name=record["data"]["name"]), machines, runner)
        budget.record()
        ending: Literal["complete", "out of time"] = "complete"
        if not trainings.is_complete:
            failed = trainings.failed
            if not trainings.is_out_of_time:
                return Confirmation(run=run, ending="interrupted", verdicts=[], failed=failed)
            ending = "out of time"
            if trainings.keep_complete_seeds() < 2:
                return Confirmation(run=run, ending=ending, verdicts=[], failed=failed)
        score_on_test_split(
            trainings,
            config,
            settled,
            splits,
            given_test=given_test,
            machines=machines,
            deterministic=deterministic,
            report=report,
        )
        looks, is_old = Looks.read(run)
        if is_old:
            report(OLD_VERDICTS)
        runs = read_table(run.table(RUNS))
        rows = verdict_rows(
            runs,
            arms,
            margin=margin,
            dropped_after=trainings.dropped_after,
            looks=looks,
            start=config.start_text,
        )
        looks.write(run)  # first: a verdict that was read is a look
        write_table(run.table(VERDICTS), rows)
    curve = None if ratios is None else _curve(runs, arms)
    return Confirmation(run=run, ending=ending, verdicts=rows, failed=trainings.failed, curve=curve)


def _check_types(**arguments: Any) -> None:
    """Check the types of arguments of `confirm`, which a program may give in any type."""
    for name, value in arguments.items():
        kind, rule = _TYPES[name]
        require_type(name, value, kind, rule)
    for one in arguments["modules"] or ():
        require_type("an item of modules", one, str, "a text such as '2:1'")


def _check_numbers(margin: float, top: int, ratios: int | None) -> None:
    if not 0 < margin < 1:
        raise InputError(f"margin is {shown(margin)}; it must be between 0 and 1, such as 0.003")
    if top < 0:
        raise InputError(f"top is {shown(top)}; it must be at least 0")
    if ratios is not None and ratios < 2:
        raise InputError(f"ratios is {shown(ratios)}; it must be at least 2")


def _curve(runs: pd.DataFrame, arms: Sequence[Arm]) -> RatioCurve | None:
    """The ratios of the arms that stand for one, if two of them have a test accuracy."""
    scored = runs[runs["test_accuracy"].notna()]
    of_arms = {
        arm.ratio: scored[scored["placement"] == arm.placement.text]
        for arm in sorted(arms, key=lambda arm: -arm.placement.kept)
        if arm.for_ratio
    }
    scores = {
        ratio: dict(zip(table["seed"].astype(int), table["test_accuracy"], strict=True))
        for ratio, table in of_arms.items()
        if len(table)
    }
    return ratio_curve(scores) if len(scores) > 1 else None


def _time_budget(run: RunFolder, text: str | None, since: float | None) -> TimeBudget:
    """The time of this call, and of the earlier ones that had a time budget."""
    if text is None:
        return TimeBudget()
    seconds = seconds_of(text, "time budget")
    budget = TimeBudget(seconds, spent=time_spent(run.path, "confirm"), since=since)
    budget.save = partial(save_time, run.path, "confirm")
    return budget


def _moved(
    run: RunFolder,
    config: ResolvedConfig,
    data: str | TrainingData | None,
    data_dir: str | None,
    weights: str | None,
) -> ResolvedConfig:
    """The options of the search, with other places of its data and weights.

    Raises:
        InputError: other data than those of the search are named.
    """
    given = data if isinstance(data, TrainingData) else None
    name = data.name if isinstance(data, TrainingData) else data
    place = absolute_data(name) if name else config.data
    moved = replace(config, data=place, given=given, data_dir=data_dir or config.data_dir)
    if weights is not None:
        moved = replace(moved, weights=absolute_weights(weights))
    if contradictions := contradicting_data(config, moved.data):
        raise InputError(
            f"{contradictions[0]} contradicts {run.path}; a confirmation uses the data of its "
            "search, though they may be in another folder"
        )
    return moved


def _facts(config: ResolvedConfig, data: Mapping[str, Any]) -> PlacementFacts:
    height, width = data["image_size"]
    return PlacementFacts(
        backbone=config.network,
        num_classes=len(data["classes"]),
        in_channels=data["in_channels"],
        image_size=(height, width),
        activation=config.activation,
    )


def _fresh_seeds(config: ResolvedConfig, seeds: int, first: int | None) -> list[int]:
    if not 2 <= seeds <= MOST_SEEDS:
        raise InputError(
            f"seeds is {shown(seeds)}; it must be 2 to {MOST_SEEDS}, and a verdict needs "
            f"{FEWEST_SEEDS}"
        )
    start = config.seed + 1 if first is None else first
    if not 0 <= start <= MAX_SEED + 1:
        raise InputError(f"first seed is {shown(start)}; it must be 0 to {MAX_SEED + 1}")
    chosen = list(range(start, start + seeds))
    if config.seed in chosen:
        raise InputError(
            f"seeds {start} to {chosen[-1]} include {config.seed}, the seed of the search; a "
            f"confirmation needs fresh seeds: omit --first-seed or use {config.seed + 1}"
        )
    return chosen


def settled_training(
    run: RunFolder,
    config: ResolvedConfig,
    recipe: Recipe | None = None,
    epochs: int | None = None,
    deterministic: bool | None = None,
) -> tuple[Recipe, bool]:
    """The recipe, and whether trainings are deterministic. The first call fixes both."""
    path = run.path / SETTINGS
    if path.is_file():
        settings: dict[str, Any] = {"deterministic": False, **read_toml(path)}  # not in older files
        settled: Any = settings.get("epochs")
        repeats: Any = settings["deterministic"]
        for name, value, kind, text in (
            ("epochs", settled, int, "a whole number"),
            ("deterministic", repeats, bool, "true or false"),
        ):
            if type(value) is not kind:
                raise InputError(
                    f"{path} has {name} = {value!r:.40}, not {text}; the file is damaged: "
                    f"restore it, or remove {RUNS} and {SETTINGS} to start again"
                )
        if epochs not in (None, settled):
            raise InputError(
                f"epochs is {shown(epochs)}; {run.path} was confirmed with {settled} epochs: omit "
                f"--epochs, or remove {RUNS} and {SETTINGS} there to start again"
            )
        if deterministic not in (None, repeats):
            raise InputError(
                f"deterministic is {deterministic}; {run.path} was confirmed with {repeats}: omit "
                f"--deterministic, or remove {RUNS} and {SETTINGS} there to start again"
            )
        table = settings.get("recipe")
        known = config.training_recipe if table is None else recipe_of_table(table)
        known = replace(known, epochs=settled)
        if recipe is not None and replace(recipe, epochs=settled) != known:
            raise InputError(
                f"recipe is {recipe.text}; {run.path} was confirmed with {known.text}: omit "
                f"--recipe and its options, or remove {RUNS} and {SETTINGS} there to start again"
            )
        return known, repeats
    recipe = recipe or config.training_recipe
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    return recipe, config.deterministic if deterministic is None else deterministic
