"""`--warm-start supernet`: a supernet ranks placements; the search tries the best of them first.

The ranking is written to `supernet.csv`. If the supernet's training diverges, the table is empty,
and the search goes on without a warm start, also when it is resumed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table, write_table
from relu_search.search.training_lists import local_device
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError, Placement, SearchSpace
from trials.data.splits import TrainingData
from trials.training.metrics import NonFiniteLossError
from trials.training.process import deterministic_algorithms

EPOCHS_FACTOR = 4
"""A supernet trains this many times the epochs of a trial."""
SCORED = 512
"""Placements that it ranks: all of a small space, a random sample of a larger one."""


def check_warm_start(config: ResolvedConfig) -> None:
    """Check that the supernet can be trained in this process, before anything is written.

    Raises:
        InputError: precision tf32 or bf16 without a GPU in this process.
    """
    if config.warm_start is not None and config.precision != "fp32" and local_device() != "cuda":
        raise InputError(
            f"warm start supernet with precision {config.precision} needs a GPU in this process; "
            "use fp32, start the search on a machine with a GPU, or omit --warm-start"
        )


def advised_placements(
    run: RunFolder,
    config: ResolvedConfig,
    data: TrainingData,
    space: SearchSpace,
    say: Callable[[str], None] = lambda _line: None,
) -> list[Placement]:
    """The placements that the supernet ranks best, a quarter of the budget.

    None without a warm start, or if the warm start failed: then one line says so. The ranking is
    kept in `supernet.csv`, so a resumed run does not train the supernet again.
    """
    if config.warm_start is None:
        return []
    file = run.table("supernet.csv")
    reason = "it failed when this run began"
    if not file.is_file():
        try:
            with deterministic_algorithms(config.deterministic):
                ranking = _ranking(config, data, space, say)
            reason = "none has a finite loss"
        except NonFiniteLossError as error:
            ranking, reason = [], str(error)
        write_table(file, ranking)
    advised = [Placement.parse(text) for text in read_table(file)["placement"]]
    if not advised:
        say(f"supernet: no placement is ranked ({reason}); the search goes on without a warm start")
    allowed = [placement for placement in advised if space.admits(placement)]
    return allowed[: max(1, config.trials // 4)]


def _ranking(
    config: ResolvedConfig, data: TrainingData, space: SearchSpace, say: Callable[[str], None]
) -> list[dict[str, object]]:
    """Rows of `supernet.csv`, lowest loss first; placements without a finite loss are left out.

    Raises:
        NonFiniteLossError: the training diverged.
    """
    from trials.training.supernet import Supernet, rank

    placements = scored_placements(space, config.seed)
    placements += [p for p in config.references.values() if p not in placements]
    spec = config.trial_spec(Placement("1" * len(space.backbone.sites)))
    recipe = replace(spec.recipe, epochs=EPOCHS_FACTOR * spec.recipe.epochs)
    say(
        f"supernet: training for {recipe.epochs} epochs, with a random placement at every step; "
        f"then it ranks {len(placements)} placements"
    )
    net = Supernet.train(
        replace(spec, recipe=recipe),
        data,
        lambda rng: space.decode(space.sample(rng)),
        device=local_device(),
        on_epoch=lambda m: say(f"supernet: epoch {m.epoch}/{recipe.epochs}"),
    )
    return [
        {"placement": placement.text, "val_loss": loss, "val_accuracy": accuracy}
        for placement, loss, accuracy in rank(net, _counted(placements, say))
        if math.isfinite(loss)
    ]


def _counted(placements: Sequence[Placement], say: Callable[[str], None]) -> Iterator[Placement]:
    """The placements, with a line after every quarter of them."""
    quarter = -(-len(placements) // 4)
    for count, placement in enumerate(placements):
        if count and count % quarter == 0:
            say(f"supernet: {count}/{len(placements)} placements scored")
        yield placement


def scored_placements(space: SearchSpace, seed: int) -> list[Placement]:
    """All placements of a small space; of a larger space, `SCORED` different ones at random."""
    if space.combinations <= SCORED:
        return list(space.enumerate())
    rng = random.Random(seed)
    drawn = (space.canonical(space.decode(space.sample(rng))) for _ in range(4 * SCORED))
    return list(dict.fromkeys(drawn))[:SCORED]
