"""Scores of finished models on the test split. No other module of a confirmation reads it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from relu_search.confirmation.trainings import Trainings
from relu_search.run_folder.folder import RunFolder
from relu_search.search.training_lists import local_device
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError, build
from trials.data.held_out import check_test_split, load_test_split
from trials.data.splits import Splits
from trials.training.checkpoint import load_network
from trials.training.evaluation import score_on_test
from trials.training.recipe import Recipe


def check_data(run: RunFolder, config: ResolvedConfig, splits: Splits, split_digest: str) -> None:
    """Check that the data are those of the search and that the test split fits them.

    Args:
        splits: with a split for the seed of the search.
        split_digest: of the search's split, as its run folder has it.

    Raises:
        InputError: the data have changed, or the test split is missing or has other classes.
    """
    if splits.digest_of(config.seed) != split_digest:
        raise InputError(
            f"data {config.data!r} have changed since the search in {run.path}; restore them, or "
            "search again"
        )
    check_test_split(splits.facts_of(config.seed), data_dir=config.data_dir)


def score_on_test_split(
    trainings: Trainings,
    config: ResolvedConfig,
    recipe: Recipe,
    splits: Splits,
    report: Callable[[str], None],
) -> None:
    """Score every finished model that has no score yet. Each score is saved at once.

    A diverged training gets the accuracy of chance. It is counted, not left out.
    """
    unscored = trainings.unscored()
    if not unscored:
        return
    facts = {seed: splits.facts_of(seed) for seed in dict.fromkeys(row["seed"] for row in unscored)}
    test = load_test_split(next(iter(facts.values())), data_dir=config.data_dir)
    report(f"reading the test split: {len(test):,} images, {len(unscored)} models")
    for row in unscored:
        training = facts[row["seed"]]
        if row["state"] == "DIVERGED":
            trainings.save_score(row, None, 1 / training.num_classes)
            continue
        arm = trainings.arms_by_text[row["placement"]]
        network = partial(
            build,
            config.network,
            arm.placement,
            num_classes=training.num_classes,
            in_channels=training.in_channels,
            activation=config.activation,
        )
        model = load_network(network, trainings.weights_of(arm, row["seed"]))
        loss, accuracy = score_on_test(model, test, training, recipe, local_device())
        trainings.save_score(row, loss, accuracy)
