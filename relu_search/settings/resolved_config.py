"""The options of a search as it runs: every default filled in, every rule checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relu_search.settings.limits import (
    BY_DATA,
    default_grace,
    normalise_text,
    relu_limits,
    seconds_of,
    statistics_of,
)
from relu_search.settings.metrics import (
    METRICS,
    Cost,
    Metric,
    chosen_metric,
    floor_objective,
    latency_options,
    parse_objective,
)
from relu_search.settings.network_options import names_of, network_of
from relu_search.settings.option_files import (
    changed_recipe,
    options_of_recipe,
    own_placements,
    places_of,
)
from relu_search.settings.option_groups.budget_options import DEFAULT_TRIALS, MOST_TRIALS
from relu_search.settings.search_options import COARSE_TO_FINE, RECIPE_OPTIONS, SearchOptions
from search_spaces import (
    Architecture,
    InputError,
    Placement,
    SearchSpace,
    module_name_of,
    reference_modules,
)
from trials.data.image_sets import PYTHON, ImageFacts, TrainingData
from trials.early_stopping.rule import EarlyStopping
from trials.files.storage_urls import without_password
from trials.running.resources import Resources
from trials.training.recipe import (
    DISTILL_TEMPERATURE,
    PRETRAINED,
    RECIPES,
    FineTuning,
    Precision,
    Recipe,
)

if TYPE_CHECKING:
    from trials.data.splits import Splits
    from trials.fine_tuning.weights import StartingWeights
    from trials.training.spec import TrialSpec

REPEAT_STRIDE = 1_000_000
"""Distance between the seeds of repeated trainings of one placement in a search."""
EAGER = "eager"
FROM_SCRATCH = "from scratch"


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(SearchOptions):
    """What a search runs with. `SearchConfig.resolve` makes it.

    No None means "the default" here. None is left where it means "no limit" (`train_limit`,
    `max_relus`, `time_budget`, `trials` with a `time_budget`), "not used" (`ratio`, `objective`,
    `exchange`, `warm_start`, `weights`, `earlier`), or where only the data or the machines can tell
    (`validation_images`, `data_dir`, `concurrent`, `gpus_per_trial`, `address`, `storage`, `out`).

    Paths are absolute, so that a run goes on from any working directory. Only `out` is as typed.

    Attributes:
        network: the backbone.
        width: channels of the first stage; None: the backbone is not defined by a width.
        data: name of the data.
        normalise: `data`, or numbers for `statistics_of`.
        given: the data themselves, where they were given in Python.
        start: the weights themselves, once they are read (`with_weights`).
        recipe: how a network is trained.
        epochs, precision: of this recipe. The options of `RECIPE_OPTIONS` have its values too.
        own: placements of the user, name -> text; None: there are none.
        min_relus, max_relus: limits on the ReLUs kept in the blocks, as counts.
        grace_epochs: no trial is stopped before this epoch.

    Raises:
        InputError: a resource out of range, or a space without any placement.
    """

    network: Architecture = field(repr=False)
    width: int | None = field()
    data: str = field()
    given: TrainingData | None = field(default=None, repr=False, compare=False)
    start: StartingWeights | None = field(default=None, repr=False, compare=False)
    recipe: Recipe = field()
    normalise: str = field()
    epochs: int = field()
    precision: Precision = field()
    own: dict[str, str] | None = field()
    min_relus: int = field()
    max_relus: int | None = field()
    grace_epochs: int = field()

    def __post_init__(self) -> None:
        _ = self.resources  # checks the four numbers
        _ = self.time_limit
        space = self.search_space()
        for name, placement in self.own_placements.items():
            if space.encode(placement) is None:
                raise InputError(
                    f"{name} ({placement.text[:80]}) of --try cannot be written at granularity "
                    f"{self.granularity} with norm {self.norm}; try --granularity site"
                )
        if self.sampler == "grid":
            next(space.enumerate())  # refuses a space that is too large

    @classmethod
    def of(cls, typed: SearchOptions) -> ResolvedConfig:
        """Options with every default filled in.

        Raises:
            InputError: options that do not fit together.
        """
        values = {one.name: getattr(typed, one.name) for one in fields(SearchOptions)}
        usual = "short" if typed.weights is None else "finetune"
        recipe = changed_recipe(typed.recipe or usual, values)
        values |= {"recipe": recipe, "epochs": recipe.epochs, "precision": recipe.precision}
        values |= options_of_recipe(recipe)
        if typed.distill is not None and typed.distill_temperature is None:
            values["distill_temperature"] = DISTILL_TEMPERATURE
        if typed.grace_epochs is None:
            values["grace_epochs"] = default_grace(values["epochs"])
        values["metric"] = chosen_metric(typed.metric, typed.objective)
        if typed.at_least_accuracy is not None:
            values |= {"metric": "val_accuracy", "objective": floor_objective(typed.objective)}
        values |= latency_options(typed, values["objective"])
        if typed.trials is None and typed.time_budget is None:
            values["trials"] = DEFAULT_TRIALS
        network = network_of(typed, typed.data)
        values |= {"network": network, **names_of(network)}
        if typed.own is not None:
            named = own_placements(typed.own, network, typed.norm)
            values["own"] = {name: placement.text for name, placement in named.items()}
        values["min_relus"], values["max_relus"] = relu_limits(
            network, typed.min_relus, typed.max_relus, typed.ratio
        )
        usual = PRETRAINED if typed.weights == PRETRAINED else BY_DATA
        values["normalise"] = normalise_text(typed.normalise or usual, network)
        given = typed.data if isinstance(typed.data, TrainingData) else None
        return cls(**values | places_of(typed), given=given)

    def resolve(self) -> ResolvedConfig:
        """Itself: there is nothing left to fill in."""
        return self

    @property
    def time_limit(self) -> float | None:
        """Seconds that the search may take; None: there is no limit."""
        return None if self.time_budget is None else seconds_of(self.time_budget, "time budget")

    @property
    def most_trials(self) -> int:
        """`trials` as a number."""
        return MOST_TRIALS if self.trials is None else self.trials

    @property
    def budget_text(self) -> str:
        """`48 trials`, `2h`, or `48 trials in at most 2h`."""
        trials = None if self.trials is None else f"{self.trials} trial{'s'[: self.trials != 1]}"
        if trials is None or self.time_budget is None:
            return trials or str(self.time_budget)
        return f"{trials} in at most {self.time_budget}"

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
        return replace(self.recipe, epochs=self.epochs, precision=self.precision)

    @cached_property
    def early_stopping(self) -> EarlyStopping:
        """When a trial is stopped early."""
        return EarlyStopping(
            metric=self.metric,
            mode=self.optimised.mode,
            max_epochs=self.epochs,
            grace_epochs=self.grace_epochs,
            reduction_factor=self.reduction_factor,
            signal=self.stop_on,
            seed=self.seed,
        )

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
        """Of the metric, then of the costs, in Optuna's words; with a floor, of the cost alone."""
        if self.at_least_accuracy is not None:
            return ["minimize"]
        minimised: list[Literal["maximize", "minimize"]] = ["minimize"] * len(self.costs)
        return [self.optimised.direction, *minimised]

    @property
    def references(self) -> dict[str, Placement]:
        """The hand-designed modules that the search trains first, by name."""
        return reference_modules(self.network, self.norm)

    @cached_property
    def own_placements(self) -> dict[str, Placement]:
        """The placements of the user by name, which the search trains after the modules."""
        return {name: Placement.parse(text) for name, text in (self.own or {}).items()}

    def name_of(self, placement: Placement) -> str:
        """The name of a placement of the user, or of a module; empty if it has none."""
        canonical = self.network.canonical(placement)
        for name, own in self.own_placements.items():
            if self.network.canonical(own) == canonical:
                return name
        return module_name_of(self.network, placement)

    def search_space(self) -> SearchSpace:
        """The placements that may be proposed."""
        return SearchSpace(
            self.network,
            "block" if self.granularity == COARSE_TO_FINE else self.granularity,
            min_relus=self.min_relus,
            max_relus=self.max_relus,
            norm="search" if self.search_norm else self.norm,
        )

    def with_weights(self, data: TrainingData | ImageFacts) -> ResolvedConfig:
        """These options with the weights from which trainings start, if there are any.

        Raises:
            InputError: the weights cannot be read, or do not fit the network and these data.
        """
        if self.weights is None:
            return self
        from trials.fine_tuning.weights import read_weights  # loads torch

        start = read_weights(
            self.weights,
            self.network,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            activation=self.activation,
            new_head=self.new_head,
        )
        if self.distill is not None:
            start.require_all_activations()
        return replace(self, start=start)

    @property
    def start_text(self) -> str:
        """How trainings start, in words: `from scratch`, `fine-tuned from model.safetensors`."""
        if self.weights is None:
            return FROM_SCRATCH
        parts = [f"fine-tuned from {Path(self.weights).name}"]
        parts += ["with a new head"] * self.new_head
        if self.distill is not None:
            parts.append(f"distilled {self.distill:g} at temperature {self.distill_temperature:g}")
        return ", ".join(parts)

    def load_data(self, say: Callable[[str], None] = lambda _line: None) -> TrainingData:
        """The training and validation split of this search.

        Args:
            say: is told the progress of reading, and what is odd about the data.

        Raises:
            InputError: the data cannot be read or split as asked.
        """
        return self.load_splits((self.seed,), say).of(self.seed)

    def load_splits(
        self, seeds: Iterable[int], say: Callable[[str], None] = lambda _line: None
    ) -> Splits:
        """The training set of this search, split by several seeds.

        Raises:
            InputError: the data cannot be read or split as asked.
        """
        from trials.data.splits import load_splits, splits_of  # a check does not need them

        how: dict[str, Any] = {
            "train_limit": self.train_limit,
            "validation_images": self.validation_images,
            "image_size": self.image_size,
            "augment": self.augment,
            "normalise": None if self.normalise == BY_DATA else statistics_of(self.normalise),
            "say": say,
        }
        if self.given is not None:
            if self.given.given is None:
                raise InputError(
                    f"data {self.data!r} are the split of a named data set; give its name, or data "
                    "of TrainingData.from_tensors or from_dataset"
                )
            return splits_of(self.given.given, seeds, **how)
        if self.data.partition(":")[0] == PYTHON:
            raise InputError(
                f"data {self.data!r} were given in Python; give them again there, with data=..."
            )
        return load_splits(self.data, seeds, data_dir=self.data_dir, download=self.download, **how)

    def trial_spec(self, placement: Placement, repeat: int = 0) -> TrialSpec:
        """What it means to train a placement with these options.

        Args:
            repeat: how often the placement was proposed before. Each time has its own seed, far
                from the seeds that `confirm` uses.
        """
        from trials.training.spec import TrialSpec  # loads torch

        tuning = None
        if self.weights is not None:
            if self.start is None:
                raise ValueError("the weights are not read; see with_weights")
            tuning = FineTuning(weights=self.start.digest)
            if self.distill is not None and self.distill_temperature is not None:
                tuning = replace(tuning, distill=self.distill, temperature=self.distill_temperature)
        return TrialSpec(
            backbone=self.network,
            placement=placement,
            recipe=self.training_recipe,
            seed=self.seed + repeat * REPEAT_STRIDE,
            activation=self.activation,
            fine_tuning=tuning,
        )

    def to_toml(self) -> dict[str, Any]:
        """All values that are set, for `config.toml`; a storage password is left out.

        A recipe of `RECIPES` is its name. Any other is a table, so that no file of a recipe is
        needed again.
        """
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in (*RECIPE_OPTIONS, "given", "network", "start"):
            del values[name]
        is_known = self.recipe.text in RECIPES
        values["recipe"] = self.recipe.name if is_known else self.recipe.to_json()
        if self.storage is not None:
            values["storage"] = without_password(self.storage, shown=False)
        return {name: value for name, value in values.items() if value is not None}
