"""Who leads after each trial of a replay, and how good is the leader in truth?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.relu_bench import Table
from benchmarks.relu_bench.synthetic import TRUTH
from benchmarks.replay.replays import full_length
from benchmarks.replay.simulator import Ended
from benchmarks.replay.tables import Ground
from relu_search.analysis.estimates import FEWEST_TO_ESTIMATE
from relu_search.samplers.gp_model import Surrogate


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one replay gave.

    Attributes:
        regret: after each trial, truth of the incumbent less the best truth in the space, in nats
            of test loss; None before the first incumbent.
        lucky_regret: the same of the incumbent by its luckiest run instead of the model's estimate.
        epochs: trained in all, after each trial.
        top5, top1: trials until the incumbent was first among the best 5 % (1 %); None: never.
    """

    regret: list[float | None]
    lucky_regret: list[float | None]
    epochs: list[int]
    top5: int | None
    top1: int | None


def judged(ended: list[Ended], table: Table, order: list[int], min_relus: int) -> Outcome:
    """Follow the incumbent: the placement that the leaderboard would show first.

    All placements are compared by the mean test loss over the seeds but the first, which nearly
    all trials use; an incumbent by those of them that it was not trained with.
    """
    losses, finals = table.final(TRUTH), table.final("val_loss")
    means = losses[:, order[1:]].mean(axis=1)
    allowed = np.sort(means[table.relus >= min_relus])
    limits = [float(allowed[max(1, round(share * len(allowed))) - 1]) for share in (0.05, 0.01)]
    used: dict[int, set[int]] = {}
    whole: list[Ended] = []
    regrets: tuple[list[float | None], list[float | None]] = ([], [])
    epochs: list[int] = []
    reached: list[int | None] = [None, None]
    incumbents: tuple[int | None, int | None] = (None, None)
    for count, trial in enumerate(ended, start=1):
        used.setdefault(trial.row, {order[0]}).add(trial.seed)
        epochs.append(trial.epochs + (epochs[-1] if epochs else 0))
        if trial.epochs == table.spec.recipe.epochs and not trial.failed:
            whole.append(trial)
            scores = np.array([-np.log(finals[t.row, t.seed]) for t in whole])
            incumbents = leaders(table, [t.row for t in whole], scores, min_relus)
        for incumbent, regret in zip(incumbents, regrets, strict=True):
            if incumbent is None:
                regret.append(None)
                continue
            truth = unseen_mean(losses[incumbent], used[incumbent])
            regret.append(truth - float(allowed[0]))
            if regret is regrets[0]:
                for i, limit in enumerate(limits):
                    if reached[i] is None and truth <= limit:
                        reached[i] = count
    return Outcome(
        regret=regrets[0],
        lucky_regret=regrets[1],
        epochs=epochs,
        top5=reached[0],
        top1=reached[1],
    )


def regrets(ended: Sequence[Ended], ground: Ground, counts: Sequence[int]) -> list[float | None]:
    """How much worse than the best placement the leader is, after each number of trials.

    The leader is the placement that the leaderboard of a search would show first: of those with a
    training of full length, the one with the best estimate.

    Args:
        counts: numbers of trials that have ended.

    Returns:
        Nats of test loss; None where no trial had full length.
    """
    found: list[float | None] = []
    for count in counts:
        whole = [t for t in full_length(ground.table, ended[:count]) if ground.admits(t.row)]
        if not whole:
            found.append(None)
            continue
        losses = [ground.table.curves(t.row, t.seed)["val_loss"][-1] for t in whole]
        estimated = estimates([ground.table.bits_of(t.row) for t in whole], -np.log(losses))
        found.append(ground.truth(whole[int(np.argmax(estimated))].row) - ground.best)
    return found


def leaders(
    table: Table, rows: list[int], scores: NDArray[np.float64], min_relus: int
) -> tuple[int | None, int | None]:
    """Rows of the table that lead: by the model's estimate, and by the best single run."""
    estimated = estimates([table.bits_of(row) for row in rows], scores)
    allowed = [i for i, row in enumerate(rows) if table.relus[row] >= min_relus]
    if not allowed:
        return None, None
    first, second = (rows[max(allowed, key=by.__getitem__)] for by in (estimated, scores))
    return first, second


def estimates(bits: Sequence[str], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) the score of each trial's placement as a leaderboard estimates it; larger is better."""
    if len(bits) < FEWEST_TO_ESTIMATE:
        groups = np.array([[one == other for other in bits] for one in bits])
        return np.asarray(groups @ scores / groups.sum(axis=1))
    points = np.array([[int(bit) for bit in one] for one in bits])
    return Surrogate.fit(points, scores).predict(points)[0]


def unseen_mean(losses: NDArray[np.float64], used: set[int]) -> float:
    """Mean over the seeds that were not used; over all if none is left."""
    unseen = [seed for seed in range(len(losses)) if seed not in used]
    return float(losses[unseen or slice(None)].mean())


def quartiles(counts: Sequence[float | None]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; None counts as infinite."""
    values = [np.inf if count is None else float(count) for count in counts]
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), method="nearest").tolist()
    return low, middle, high
