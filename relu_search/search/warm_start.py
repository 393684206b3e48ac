"""`--warm-start supernet`: a supernet ranks placements; the search tries the best of them first.

The ranking is written to `supernet.csv`. If the supernet's training diverges or needs more memory
than a GPU has, the table is empty, and the search goes on without a warm start, also when it is
resumed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.tables import read_table, write_table
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Placement, SearchSpace
from trials.data.image_sets import TrainingData
from trials.running.devices import Say
from trials.running.faults import out_of_memory
from trials.training.metrics import NonFiniteLossError
from trials.training.process import deterministic_algorithms
from trials.training.spec import TrialSpec

EPOCHS_FACTOR = 4
"""A supernet trains this many times the epochs of a trial."""
SCORED = 512
"""Placements that it ranks: all of a small space, a random sample of a larger one."""


def advised_placements(
    run: RunFolder,
    config: ResolvedConfig,
    data: TrainingData,
    space: SearchSpace,
    *,
    call: Callable[..., Any],
    say: Say = lambda _line: None,
) -> list[Placement]:
    """The placements that the supernet ranks best, a quarter of the budget.

    None without a warm start, or if the warm start failed: then one line says so. The ranking is
    kept in `supernet.csv`, so a resumed run does not train the supernet again.

    Args:
        call: calls the training where a trial would run; see `call_in_worker`.
        say: is told the progress.
    """
    if config.warm_start is None:
        return []
    file = run.table("supernet.csv")
    reason = "it failed when this run began"
    if not file.is_file():
        placements = scored_placements(space, config.seed)
        named = [*config.references.values(), *config.own_placements.values()]
        placements += [p for p in named if p not in placements]
        spec = config.trial_spec(space.backbone.paired)
        how = spec, data, space, placements, config.deterministic
        ranking, reason = call(_ranking, *how, say=say)
        write_table(file, ranking)
    advised = [Placement.parse(text) for text in read_table(file)["placement"]]
    if not advised:
        say(f"supernet: no placement is ranked ({reason}); the search goes on without a warm start")
    allowed = [placement for placement in advised if space.admits(placement)]
    return allowed[: max(1, config.most_trials // 4)]


def _ranking(
    spec: TrialSpec,
    data: TrainingData,
    space: SearchSpace,
    placements: Sequence[Placement],
    deterministic: bool,
    *,
    device: str,
    say: Say,
) -> tuple[list[dict[str, object]], str]:
    """Rows of `supernet.csv`, and why there are none if there are none.

    The lowest loss comes first. Placements without a finite loss are left out.
    """
    from trials.training.supernet import Supernet, rank

    recipe = replace(spec.recipe, epochs=EPOCHS_FACTOR * spec.recipe.epochs)
    say(
        f"supernet: training for {recipe.epochs} epochs, with a random placement at every step; "
        f"then it ranks {len(placements)} placements"
    )
    try:
        with deterministic_algorithms(deterministic):
            net = Supernet.train(
                replace(spec, recipe=recipe),
                data,
                lambda rng: space.decode(space.sample(rng)),
                device=device,
                on_epoch=lambda m: say(f"supernet: epoch {m.epoch}/{recipe.epochs}"),
            )
            ranked = rank(net, _counted(placements, say))
    except RuntimeError as error:
        reason = str(error) if isinstance(error, NonFiniteLossError) else out_of_memory(error)
        if reason is None:
            raise
        return [], reason
    rows: list[dict[str, object]] = [
        {"placement": placement.text, "val_loss": loss, "val_accuracy": accuracy}
        for placement, loss, accuracy in ranked
        if math.isfinite(loss)
    ]
    return rows, "none has a finite loss"


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
