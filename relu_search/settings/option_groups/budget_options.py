"""The options of the budget: how much is trained, when it is enough, what is known before."""

from __future__ import annotations

from dataclasses import dataclass

from relu_search.settings.network_options import NetworkOptions
from relu_search.settings.option_fields import option

DEFAULT_TRIALS, MOST_TRIALS = 48, 1_000_000


@dataclass(frozen=True, kw_only=True)
class BudgetOptions(NetworkOptions):
    """Options of the budget, which `SearchOptions` has."""

    trials: int | None = option(
        None,
        "Search",
        "Number of trials, the hand-designed modules included.",
        default_text=f"{DEFAULT_TRIALS}; with --time-budget no limit",
        least=1,
        most=MOST_TRIALS,
    )
    time_budget: str | None = option(
        None,
        "Search",
        "How long all trainings may take, such as 90m, 2h or 1d12h, the start of the program "
        "included. None starts that would end more than 2 % later. After an interruption there is "
        "what is left.",
        default_text="no limit",
        metavar="TIME",
    )
    stop_when_decided: bool = option(
        False,
        "Search",
        "End the search once its model gives no placement that was not tried more than a chance of "
        "1 % to beat the leader by 5 % of its loss, or by 0.3 points of accuracy.",
    )
    earlier: str | None = option(
        None,
        "Search",
        "Run folder of another search: its best placements are tried first, and its trials are "
        "data of the model where the training was the same. From another network, the patterns "
        "are carried over by relative depth.",
        metavar="RUN",
        flag="from",
    )
