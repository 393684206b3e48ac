"""The verb `plan`."""

from __future__ import annotations

from relu_search.cli.console import print_json, print_parts, results_alone, say
from relu_search.cli.flags import Given, flags, with_flags
from relu_search.cli.shared_flags import ConfigOption, JsonOption
from relu_search.settings.machines import Machines
from relu_search.settings.search_options import SearchOptions


@with_flags(flags(SearchOptions), flags(Machines, "verbose"))
def plan(given: Given, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Estimate what a search with these options takes, by a measured epoch. Writes nothing.

    Shows trials per hour, the time for the trials or the trials in the time, memory, disk, and the
    time of a confirmation.

    Example: `relu-search plan --data cifar10 --backbone preresnet-20 --time-budget 2h`
    """
    from relu_search.search.run_search import plan_search
    from relu_search.settings.search_config import SearchConfig

    verbose = given.pop("verbose", False)
    typed = SearchConfig.from_options(given, config)
    with results_alone():
        found = plan_search(typed, say=say, verbose=verbose)
    if as_json:
        print_json(found.to_json())
    else:
        print_parts(*found.lines())
