"""The machines that the trainings of `confirm` and `reproduce` run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from relu_search.settings.option_fields import check_options, option, same_option, with_numbers
from relu_search.settings.search_options import SearchOptions
from trials.running.resources import Resources

if TYPE_CHECKING:
    from relu_search.settings.resolved_config import ResolvedConfig


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Where trainings run.

    Attributes:
        resources: what each training gets and how many run at once.
        niceness, address, exchange: of Ray, as in a search.
        in_process: without Ray: one after another in this process, on the GPU if there is one and
            `resources.gpus_per_trial` is not 0.
        verbose: show Ray's own messages.

    Raises:
        InputError: a niceness out of range.
    """

    resources: Resources = field(default_factory=Resources)
    niceness: int = same_option(SearchOptions, "niceness")
    address: str | None = same_option(SearchOptions, "address")
    exchange: str | None = same_option(SearchOptions, "exchange")
    in_process: bool = option(
        False,
        "Machines",
        "Train in this process, one network after another, without Ray. Uses a GPU if there is "
        "one; --gpus-per-trial 0: the CPU.",
    )
    verbose: bool = option(False, "Run", "Show Ray's own messages.")

    def __post_init__(self) -> None:
        check_options(self)

    @classmethod
    def of(cls, config: ResolvedConfig) -> Machines:
        """Where a search ran."""
        return cls(
            resources=config.resources,
            niceness=config.niceness,
            address=config.address,
            exchange=config.exchange,
        )

    def with_options(self, given: Mapping[str, Any]) -> Machines:
        """These machines with other options; names of `Resources` count too. Empty texts do not.

        Raises:
            InputError: a resource or the niceness out of range.
        """
        of_resources = {one.name for one in fields(Resources)}
        resources = with_numbers(
            Resources, {name: value for name, value in given.items() if name in of_resources}
        )
        others = {n: value for n, value in given.items() if n not in of_resources and value != ""}
        return replace(self, resources=replace(self.resources, **resources), **others)
