"""Scores of finished models on the test split. No other module of a confirmation reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from relu_search.confirmation.trainings import Trainings
from relu_search.run_folder.folder import RunFolder
from relu_search.search.training_lists import calls_on
from relu_search.settings.machines import Machines
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError, build
from search_spaces.networks.build import AnyNetwork
from trials.data.held_out import check_test_split, load_test_split
from trials.data.image_sets import ImageFacts, ImageSet
from trials.data.splits import Splits
from trials.running.devices import Say
from trials.running.faults import RunStoppedError, full_gpu_raises
from trials.training.checkpoint import load_network
from trials.training.evaluation import score_on_test
from trials.training.process import deterministic_algorithms
from trials.training.recipe import Recipe

MODELS_AT_ONCE = 32
"""Models in memory at once while they are scored."""


def check_data(
    run: RunFolder, config: ResolvedConfig, splits: Splits, split_digest: str, test: Any
) -> ImageSet | None:
    """Check that the data are those of the search and that the test split fits them.

    Args:
        splits: with a split for the seed of the search.
        split_digest: of the search's split, as its run folder has it.
        test: a test split that was given in Python; None: that of the data's name.

    Returns:
        The given test split as images; None: none was given.

    Raises:
        InputError: the data have changed, or the test split is missing or has other classes.
    """
    if splits.digest_of(config.seed) != split_digest:
        raise InputError(
            f"data {config.data!r} are not those of the search in {run.path}; restore them, give "
            "the place to which they have moved with --data or --data-dir, or search again"
        )
    facts = splits.facts_of(config.seed)
    if test is not None:
        return load_test_split(facts, given=test)
    check_test_split(facts, data_dir=config.data_dir)
    return None


def score_on_test_split(
    trainings: Trainings,
    config: ResolvedConfig,
    recipe: Recipe,
    splits: Splits,
    *,
    given_test: ImageSet | None = None,
    machines: Machines,
    deterministic: bool,
    report: Callable[[str], None],
) -> None:
    """Score every finished model that has no score yet. Each score is saved at once.

    A diverged training gets the accuracy of chance. It is counted, not left out.

    Args:
        given_test: a test split that was given in Python; None: that of the data's name.
        machines: see `calls_on`.
        deterministic: repeat to the last bit on GPUs too.

    Raises:
        RunStoppedError: the GPU has too little memory.
    """
    unscored = trainings.unscored()
    if not unscored:
        return
    facts = {seed: splits.facts_of(seed) for seed in dict.fromkeys(row["seed"] for row in unscored)}
    any_facts = next(iter(facts.values()))
    test = given_test or load_test_split(any_facts, data_dir=config.data_dir, say=report)
    report(f"reading the test split: {len(test):,} images, {len(unscored)} models")
    for row in unscored:
        if row["state"] == "DIVERGED":
            trainings.save_score(row, None, 1 / facts[row["seed"]].num_classes)
    finished = [row for row in unscored if row["state"] != "DIVERGED"]
    if not finished:
        return
    with calls_on(machines) as call:
        for start in range(0, len(finished), MODELS_AT_ONCE):
            rows = finished[start : start + MODELS_AT_ONCE]
            models = [
                (_trained(trainings, config, row, facts[row["seed"]]), facts[row["seed"]])
                for row in rows
            ]
            left = iter(rows)
            with full_gpu_raises(
                lambda why: RunStoppedError(f"{why}, with models on the test split")
            ):
                call(
                    _scores,
                    models,
                    test,
                    recipe,
                    deterministic,
                    say=lambda score, left=left: trainings.save_score(next(left), *score),
                )


def _trained(
    trainings: Trainings, config: ResolvedConfig, row: dict[str, Any], training: ImageFacts
) -> AnyNetwork:
    """The network of a finished training, with its weights."""
    arm = trainings.arms_by_text[row["placement"]]
    network = partial(
        build,
        config.network,
        arm.placement,
        num_classes=training.num_classes,
        in_channels=training.in_channels,
        activation=config.activation,
    )
    return load_network(network, trainings.weights_of(arm, row["seed"]))


def _scores(
    models: Sequence[tuple[AnyNetwork, ImageFacts]],
    test: ImageSet,
    recipe: Recipe,
    deterministic: bool,
    *,
    device: str,
    say: Say,
) -> None:
    """Give `say` the (loss, accuracy) of each model on the test split, in order."""
    with deterministic_algorithms(deterministic):
        for model, training in models:
            say(score_on_test(model, test, training, recipe, device))
