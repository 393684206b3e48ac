"""The options of a search as it runs: every default filled in, every rule checked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from relu_search.settings.metrics import METRICS, Cost, Metric, MetricName, parse_objective
from relu_search.settings.relu_limits import least_count, most_count, relus_at_ratio
from relu_search.settings.search_options import COARSE_TO_FINE, SMALL_DATA, SearchOptions
from relu_search.settings.storage_urls import with_absolute_file, without_password
from search_spaces import (
    Architecture,
    FunctionBackbone,
    InputError,
    SearchSpace,
    parse_backbone,
    reference_modules,
)
from search_spaces.any_network.source import is_source
from trials.files.paths import absolute_data, absolute_path, data_directory
from trials.running.resources import Resources
from trials.training.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces import Placement
    from trials.data.splits import TrainingData
    from trials.training.spec import TrialSpec

REPEAT_STRIDE = 1_000_000
"""Distance between the seeds of repeated trainings of one placement in a search."""
EAGER = "eager"


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(SearchOptions):
    """What a search runs with. `SearchConfig.resolve` makes it.

    No None means "the default" here. None is left where it means "no limit" (`train_limit`,
    `max_relus`), "not used" (`ratio`, `objective`, `exchange`, `warm_start`), or where only the
    data or the machines can tell (`validation_images`, `data_dir`, `concurrent`,
    `gpus_per_trial`, `address`, `storage`, `out`).

    Paths are absolute, so that a run goes on from any working directory. Only `out` is as typed.

    Attributes:
        network: the backbone.
        width: channels of the first stage; None: the backbone is not defined by a width.
        epochs: of a full training.
        min_relus, max_relus: limits on the ReLUs kept in the blocks, as counts.
        grace_epochs: no trial is stopped before this epoch.

    Raises:
        InputError: a resource out of range, or a space without any placement.
    """

    network: Architecture = field(repr=False)
    width: int | None = field()
    epochs: int = field()
    min_relus: int = field()
    max_relus: int | None = field()
    grace_epochs: int = field()

    def __post_init__(self) -> None:
        _ = self.resources  # checks the four numbers
        space = self.search_space()
        if self.sampler == "grid":
            next(space.enumerate())  # refuses a space that is too large

    @classmethod
    def of(cls, typed: SearchOptions) -> ResolvedConfig:
        """Options with every default filled in.

        Raises:
            InputError: options that do not fit together.
        """
        values = {one.name: getattr(typed, one.name) for one in fields(SearchOptions)}
        values["epochs"] = Recipe.named(typed.recipe, typed.epochs).epochs
        if typed.grace_epochs is None:
            values["grace_epochs"] = min(-(-values["epochs"] // 3), 20)
        values["metric"] = _metric(typed)
        network = _network(typed)
        values |= {"network": network, **_named(network)}
        values["min_relus"], values["max_relus"] = _relu_limits(typed, network)
        return cls(**values | _places(typed))

    def resolve(self) -> ResolvedConfig:
        """Itself: there is nothing left to fill in."""
        return self

    @cached_property
    def resources(self) -> Resources:
        """What each trial gets and how many run at once."""
        return Resources(
            concurrent=self.concurrent,
            cpus_per_trial=self.cpus_per_trial,
            gpus_per_trial=self.gpus_per_trial,
            max_failures=self.max_failures,
        )

    @cached_property
    def training_recipe(self) -> Recipe:
        """The recipe with this search's epochs and precision."""
        return replace(Recipe.named(self.recipe, self.epochs), precision=self.precision)

    @property
    def optimised(self) -> Metric:
        """The metric to optimise; `metric` is its name."""
        return METRICS[self.metric]

    @property
    def proposed_by(self) -> str:
        """Name of the strategy that proposes placements: the sampler, or coarse-to-fine."""
        return COARSE_TO_FINE if self.granularity == COARSE_TO_FINE else self.sampler

    @property
    def back_end(self) -> str:
        """Which code trains; scores of different back ends are never compared."""
        parts = [f"packed {self.pack}"] if self.pack != 1 else []
        parts += [name for name in ("compiled", "captured") if getattr(self, name)]
        return " ".join(parts) or EAGER

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What is minimised beside the metric."""
        return () if self.objective is None else parse_objective(self.objective)[1]

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Of the metric, then of the costs, in Optuna's words."""
        minimised: list[Literal["maximize", "minimize"]] = ["minimize"] * len(self.costs)
        return [self.optimised.direction, *minimised]

    @property
    def references(self) -> dict[str, Placement]:
        """The hand-designed modules that the search trains first, by name."""
        return reference_modules(self.network, self.norm)

    def search_space(self) -> SearchSpace:
        """The placements that may be proposed."""
        return SearchSpace(
            self.network,
            "block" if self.granularity == COARSE_TO_FINE else self.granularity,
            min_relus=self.min_relus,
            max_relus=self.max_relus,
            norm="search" if self.search_norm else self.norm,
        )

    def load_data(self) -> TrainingData:
        """The training and validation split of this search.

        Raises:
            InputError: the data cannot be read or split as asked.
        """
        from trials.data.splits import load_data  # loads torch, which a check does not need

        return load_data(
            self.data,
            data_dir=self.data_dir,
            train_limit=self.train_limit,
            validation_images=self.validation_images,
            seed=self.seed,
            download=self.download,
        )

    def trial_spec(self, placement: Placement, repeat: int = 0) -> TrialSpec:
        """What it means to train a placement with these options.

        Args:
            repeat: how often the placement was proposed before. Each time has its own seed, far
                from the seeds that `confirm` uses.
        """
        from trials.training.spec import TrialSpec  # loads torch

        return TrialSpec(
            backbone=self.network,
            placement=placement,
            recipe=self.training_recipe,
            seed=self.seed + repeat * REPEAT_STRIDE,
            activation=self.activation,
        )

    def to_toml(self) -> dict[str, Any]:
        """All values that are set, for `config.toml`; a storage password is left out."""
        names = [one.name for one in fields(self) if one.name != "network"]
        values = {name: getattr(self, name) for name in names}
        if self.storage is not None:
            values["storage"] = without_password(self.storage, shown=False)
        return {name: value for name, value in values.items() if value is not None}


def _network(typed: SearchOptions) -> Architecture:
    """The backbone that the options name, unless they have it already."""
    known: Architecture | None = getattr(typed, "network", None)
    if known is not None:
        return known
    width = typed.width
    if width is None and not is_source(typed.backbone):
        width = 8 if typed.data == SMALL_DATA else 16
    return parse_backbone(
        typed.backbone,
        width,
        arguments=typed.backbone_args,
        sites=typed.sites,
        exclude=typed.exclude,
    )


def _named(network: Architecture) -> dict[str, Any]:
    """The options that name the backbone, such that they name it from any working directory."""
    name = network.to_json()["backbone"]
    if not isinstance(network, FunctionBackbone):
        return {"backbone": name, "width": network.width}
    choice = network.choice
    return {
        "backbone": name,
        "width": None,
        "backbone_args": choice.source.arguments,
        "sites": choice.kinds,
        "exclude": choice.exclude or None,
    }


def _places(typed: SearchOptions) -> dict[str, str]:
    """The options that name a place, as absolute paths."""
    places = {"data": absolute_data(typed.data)}
    if typed.data_dir is not None:
        places["data_dir"] = absolute_path(typed.data_dir)
    elif typed.data != SMALL_DATA and ":" not in typed.data:
        folder = data_directory(None)
        if not folder.is_absolute():  # else RELU_SEARCH_DATA may differ between machines
            places["data_dir"] = absolute_path(folder)
    if typed.exchange is not None:
        url = "://" in typed.exchange
        places["exchange"] = typed.exchange if url else absolute_path(typed.exchange)
    if typed.storage is not None:
        places["storage"] = with_absolute_file(typed.storage)
    return places


def _metric(typed: SearchOptions) -> MetricName:
    """The metric that the objective names, or else the option `metric`."""
    if typed.objective is None:
        return typed.metric
    named = parse_objective(typed.objective)[0]
    if named == "val_loss" != typed.metric:
        raise InputError(
            f"metric {typed.metric} and objective {typed.objective} exclude each other; leave "
            "one of them out"
        )
    return named or typed.metric


def _relu_limits(typed: SearchOptions, network: Architecture) -> tuple[int, int | None]:
    """Fewest and most ReLUs as counts. A ratio is a pair of equal limits."""
    sites = len(network.sites)
    least, most = typed.min_relus, typed.max_relus
    if isinstance(least, str):
        least = least_count(least, sites)
    if isinstance(most, str):
        most = most_count(most, sites)
    if typed.ratio is None:
        return least, most
    count = relus_at_ratio(network, typed.ratio)
    if (least, most) not in ((1, None), (count, count)):
        raise InputError(
            f"ratio {typed.ratio} means {count} ReLUs and excludes other limits; give either the "
            "ratio or the limits"
        )
    return count, count
