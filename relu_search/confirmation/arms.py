"""The arms of a confirmation: paired, the hand-designed modules, the best found placements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from relu_search.analysis.leaderboard import (
    above_floor,
    admitted,
    is_control,
    ranked,
    rows_of,
)
from relu_search.run_folder.folder import RunFolder
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import (
    InputError,
    Placement,
    ratio_text,
    resolve_placement,
)

PAIRED = "paired"
Origin = Literal["found", "module", "control"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One placement that is compared with the others.

    Attributes:
        name: `paired`, the name of a module, or `trial N` of the search.
        origin: found by the search, a hand-designed module, or the control without any ReLU.
        placement: the placement that is trained.
        ratio: of convolutions to ReLUs, such as `2:1`.
        for_ratio: whether it is the best placement of one of the ratios that are compared.
        search_trial, search_accuracy: the trial of the search that trained the placement to full
            length, and its validation accuracy in 0 to 1; None: there is no such trial.
    """

    name: str
    origin: Origin
    placement: Placement
    ratio: str
    search_trial: int | None
    search_accuracy: float | None
    for_ratio: bool = False


def choose_arms(
    run: RunFolder, *, top: int, modules: Sequence[str] | None, ratios: int | None = None
) -> list[Arm]:
    """Paired, then the hand-designed modules, then the best found placements.

    With a floor on accuracy, the best are the cheapest above it, then the most accurate below.

    Args:
        top: number of found placements, within the search's ReLU limits.
        ratios: instead, the best placement of each of so many ratios, spread evenly over the
            ratios that the search has tried within its limits.
        modules: module names, placement texts, or names of placements that the user gave to the
            search; None: those of the search, and all of the user's. Paired is always added.

    Raises:
        InputError: the search has no trial of full length, or of fewer than two ratios; or a module
            does not exist.
    """
    config = run.read_config()[0]
    trials = run.read_trials()
    finished = trials[trials["state"] == "COMPLETE"]
    if finished.empty:
        raise InputError(f"{run.path} has no trial of full length yet; let the search run longer")
    order = ranked(finished, config.optimised).drop_duplicates("placement")  # the best of each
    rows = rows_of(admitted(order, config))
    if config.at_least_accuracy is not None:
        above = above_floor(trials, config)
        taken = {row["placement"] for row in above}
        rows = above + [row for row in rows if row["placement"] not in taken]
    if ratios is None:
        found = [row for row in rows if not row["module"]][:top]
    else:
        found = _spread_over_ratios(run, rows, ratios)
    earlier = {row["placement"]: row for row in rows_of(order)}

    own = config.own_placements
    hand_designed = {**config.references, **own}
    if modules is not None:
        chosen = (
            own[text] if text in own else resolve_placement(config.network, text, config.norm)
            for text in modules
        )
        hand_designed = {
            PAIRED: hand_designed[PAIRED],
            **{config.name_of(p) or p.text: p for p in chosen},
        }
    arms = [_arm(config, name, placement, earlier) for name, placement in hand_designed.items()]
    taken = {arm.placement for arm in arms}
    for row in found:
        placement = Placement.parse(row["placement"])
        if placement not in taken:
            arms.append(_arm(config, f"trial {row['trial']}", placement, earlier))
    if ratios is None:
        return arms
    compared = {Placement.parse(row["placement"]) for row in found}
    return [replace(arm, for_ratio=arm.placement in compared) for arm in arms]


def _spread_over_ratios(
    run: RunFolder, rows: list[dict[str, Any]], count: int
) -> list[dict[str, Any]]:
    """The best row of each of `count` ratios, or of all if there are fewer."""
    best: dict[int, dict[str, Any]] = {}
    for row in rows:  # best first
        best.setdefault(row["relus"], row)
    if len(best) < 2:
        raise InputError(
            f"{run.path} has tried {len(best)} ratio{'s'[: len(best) != 1]} to full length within "
            "its limits, and --ratios compares at least two; let the search run longer"
        )
    tried = sorted(best, reverse=True)
    step = (len(tried) - 1) / (min(count, len(tried)) - 1)
    return [best[tried[round(place * step)]] for place in range(min(count, len(tried)))]


def _arm(
    config: ResolvedConfig, name: str, placement: Placement, earlier: dict[str, dict[str, object]]
) -> Arm:
    row = earlier.get(placement.text, {})
    trial, accuracy = row.get("trial"), row.get("val_accuracy")
    found = name.startswith("trial ")
    return Arm(
        name=name,
        origin="found" if found else "control" if is_control(name) else "module",
        placement=placement,
        ratio=ratio_text(config.network, placement),
        search_trial=trial if isinstance(trial, int) else None,
        search_accuracy=accuracy if isinstance(accuracy, float) else None,
    )
