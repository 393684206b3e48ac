"""`--warm-start supernet`: which placements a search tries first."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table, write_table
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Placement, SearchSpace
from trials.data.splits import TrainingData

TRIALS_WORTH = 4
"""A supernet is trained for so many times the epochs of a trial."""
SCORED = 512
"""Placements that it ranks: all of a small space, so many draws of a larger one."""


def advised_placements(
    run: RunFolder,
    config: ResolvedConfig,
    data: TrainingData,
    space: SearchSpace,
    say: Callable[[str], None] = lambda _line: None,
) -> list[Placement]:
    """The best quarter of the budget by the supernet's rank; none unless it was asked for.

    The ranking is kept in `supernet.csv`, so a run that goes on does not train it again.
    """
    if config.warm_start is None:
        return []
    file = run.table("supernet.csv")
    if not file.is_file():
        write_table(file, _ranking(config, data, space, say))
    advised = [Placement.parse(text) for text in read_table(file)["placement"]]
    allowed = [placement for placement in advised if space.admits(placement)]
    return allowed[: max(1, config.trials // 4)]


def _ranking(
    config: ResolvedConfig, data: TrainingData, space: SearchSpace, say: Callable[[str], None]
) -> list[dict[str, object]]:
    import torch

    from trials.training.supernet import Supernet, rank

    placements = scored_placements(space, config.seed)
    placements += [p for p in config.references.values() if p not in placements]
    spec = config.trial_spec(Placement("1" * len(space.backbone.sites)))
    recipe = replace(spec.recipe, epochs=TRIALS_WORTH * spec.recipe.epochs)
    say(
        f"supernet: {recipe.epochs} epochs with a placement drawn for every step, then "
        f"{len(placements)} placements ranked by its weights"
    )
    net = Supernet.train(
        replace(spec, recipe=recipe),
        data,
        lambda rng: space.decode(space.sample(rng)),
        device="cuda" if torch.cuda.is_available() else "cpu",
        on_epoch=lambda m: say(f"supernet: epoch {m.epoch}/{recipe.epochs}"),
    )
    return [
        {"placement": placement.text, "val_loss": loss, "val_accuracy": accuracy}
        for placement, loss, accuracy in rank(net, _counted(placements, say))
    ]


def _counted(placements: Sequence[Placement], say: Callable[[str], None]) -> Iterator[Placement]:
    """The placements, with a line after every quarter of them."""
    quarter = -(-len(placements) // 4)
    for count, placement in enumerate(placements):
        if count and count % quarter == 0:
            say(f"supernet: {count}/{len(placements)} placements scored")
        yield placement


def scored_placements(space: SearchSpace, seed: int) -> list[Placement]:
    """All placements of a small space, else `SCORED` different ones drawn evenly."""
    if space.combinations <= SCORED:
        return list(space.enumerate())
    rng = random.Random(seed)
    drawn = (space.canonical(space.decode(space.sample(rng))) for _ in range(4 * SCORED))
    return list(dict.fromkeys(drawn))[:SCORED]
