"""SearchConfig: every option of a search, checked, frozen, written to the run folder."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from relu_search.settings.metrics import METRICS, MetricName
from relu_search.settings.objectives import COSTS, Cost, parse_objective
from relu_search.settings.relu_limits import count_of, relus_at_ratio
from relu_search.settings.storage_urls import require_encoded, without_password
from relu_search.settings.toml_files import read_toml
from search_spaces import (
    GATED_ACTIVATIONS,
    Activation,
    Backbone,
    DroppedNorm,
    Granularity,
    InputError,
    SearchSpace,
    reference_modules,
)
from trials.training.recipe import Precision, Recipe

if TYPE_CHECKING:
    from search_spaces import Placement
    from trials.data.splits import TrainingData
    from trials.training.spec import TrialSpec

PLACES = (
    *("data_dir", "storage", "address", "exchange"),
    *("concurrent", "cpus_per_trial", "gpus_per_trial", "max_failures"),
)
"""Options that say where a search runs, not what it is: another machine may need others."""
SAMPLERS = ("gp", "tpe", "nsga2", "local", "greedy", "evolution", "reinforce", "random", "grid")
_MINIMISED: list[Literal["maximize", "minimize"]] = ["minimize"] * len(COSTS)
COARSE_TO_FINE: Literal["coarse-to-fine"] = "coarse-to-fine"
"""Granularity that begins with one pattern for the whole net and ends with one per block."""
REPEAT_STRIDE = 1_000_000
"""Distance between the seeds of repeated trainings of one placement in a search."""
RECORD = "record"
"""Table of a resolved `config.toml` with facts about the run; ignored when read as options."""

_SMALL_DATA = "digits"
MOST_PACKED = 256
EAGER = "eager"
SMALLEST_SHARE = 0.01  # of a CPU or GPU; Ray cannot count finer


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Options of `relu-search search`; the defaults are the embedded demonstration.

    Attributes:
        backbone: name of the contract.
        width: channels of the first stage; None: 8 on digits, else 16.
        data: data name of the contract.
        data_dir: where torchvision's data sets lie; None: RELU_SEARCH_DATA or ./data.
        download: let torchvision fetch missing data.
        train_limit: images to train on; None for all.
        validation_images: size of the validation split; None: a fifth, at most 5,000.
        recipe: name of a training recipe.
        epochs: passes over the training images; None: the recipe's own.
        precision: fp32, or bf16 autocast on CUDA.
        seed: of split, initial weights, order, augmentation and sampler.
        trials: budget, hand-designed modules included.
        granularity: unit of one decision: network, stage, block or site; or coarse-to-fine, the
            first three in turn within one budget.
        min_relus, max_relus: limits on the ReLUs kept in the blocks; `from_options` also takes
            a share such as `60%`.
        ratio: `N:M`, all placements of exactly this ratio, instead of the limits.
        norm: whether the BatchNorm directly before a dropped ReLU stays (keep) or goes (drop).
        search_norm: make that a decision of the search instead.
        activation: what stands at the kept sites: relu or another rectifier.
        sampler: a name of `SAMPLERS`.
        metric: what is optimised, on the validation split.
        objective: costs to minimise beside it, such as `loss,relus`; it may name the metric.
        grace_epochs: no early stop before so many epochs; None: a third of them, at most 20.
        reduction_factor: about one trial in so many passes a rung of ASHA.
        concurrent: trials at once; None: as many as the resources allow.
        cpus_per_trial: cores.
        gpus_per_trial: GPUs, fractions allowed; None: a quarter if there is any.
        max_failures: how often a trial whose worker or node died is started again; it goes on from
            its last finished epoch.
        address: of an existing Ray cluster.
        exchange: folder or fsspec URL through which weights and checkpoints travel where the nodes
            do not see the run folder; None: they do.
        storage: Optuna storage URL; None: `study.journal` in the run folder.
        pack: trials in lockstep as one network of grouped convolutions in each worker; auto: as
            many as a short measurement finds fastest.
        compiled: train with one compiled graph for all placements.
        captured: train by recorded CUDA graphs; needs a GPU for each trial or pack.
        warm_start: supernet: try first what one network, trained with random placements, ranks
            best; None: nothing.
        out: run folder; None: a new one under ./runs.

    Raises:
        InputError: a value that is out of range or does not fit the others.
    """

    backbone: str = "plain-38"
    width: int | None = None
    data: str = _SMALL_DATA
    data_dir: str | None = None
    download: bool = False
    train_limit: int | None = None
    validation_images: int | None = None
    recipe: str = "short"
    epochs: int | None = None
    precision: Precision = "fp32"
    seed: int = 0
    trials: int = 48
    granularity: Granularity | Literal["coarse-to-fine"] = "stage"
    min_relus: int = 1
    max_relus: int | None = None
    ratio: str | None = None
    norm: DroppedNorm = "keep"
    search_norm: bool = False
    activation: Activation = "relu"
    sampler: str = "gp"
    metric: MetricName = "val_loss"
    objective: str | None = None
    grace_epochs: int | None = None
    reduction_factor: float = 3
    concurrent: int | None = None
    cpus_per_trial: float = 1
    gpus_per_trial: float | None = None
    max_failures: int = 2
    address: str | None = None
    exchange: str | None = None
    storage: str | None = field(default=None, repr=False)  # it may hold a password
    pack: int | Literal["auto"] = 1
    compiled: bool = False
    captured: bool = False
    warm_start: Literal["supernet"] | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        for name, expected in get_type_hints(type(self)).items():
            _check_type(name, getattr(self, name), expected)
        if self.width is None:
            object.__setattr__(self, "width", 8 if self.data == _SMALL_DATA else 16)
        if self.epochs is None:
            object.__setattr__(self, "epochs", Recipe.named(self.recipe).epochs)
        if self.grace_epochs is None:
            third = -(-self.training_recipe.epochs // 3)
            object.__setattr__(self, "grace_epochs", min(third, 20))
        self._take_up_objective()
        self._take_up_ratio()
        for name, value, least in (
            ("trials", self.trials, 1),
            ("concurrent", self.concurrent, 1),
            ("grace epochs", self.grace_epochs, 1),
            ("train limit", self.train_limit, 1),
            ("validation images", self.validation_images, 1),
            ("seed", self.seed, 0),
            ("max failures", self.max_failures, 0),
            ("CPUs per trial", self.cpus_per_trial, SMALLEST_SHARE),
            ("GPUs per trial", self.gpus_per_trial or SMALLEST_SHARE, SMALLEST_SHARE),
        ):
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}")
        if self.trials > 1_000_000:
            raise InputError(f"trials is {self.trials}; it must be at most 1000000")
        if self.seed >= 2**31:
            raise InputError(f"seed is {self.seed}; it must be below 2147483648")
        if not 1 < self.reduction_factor <= 100:
            raise InputError(
                f"reduction factor is {self.reduction_factor}; it must be above 1, at most 100"
            )
        self._check_sampler()
        self._check_back_end()
        require_encoded(self.storage or "")
        if self.search_norm and self.norm == "drop":
            raise InputError("norm drop and search_norm exclude each other; give one of them")
        space = self.search_space()
        if self.sampler == "grid":
            next(space.enumerate())

    def _check_sampler(self) -> None:
        if self.sampler not in SAMPLERS:
            raise InputError(
                f"sampler {self.sampler!r} is unknown; use one of {', '.join(SAMPLERS)}"
            )
        if self.granularity == COARSE_TO_FINE and self.sampler != "gp":
            raise InputError(
                f"granularity coarse-to-fine works with sampler gp, not {self.sampler}; leave "
                "--sampler out, or choose one granularity"
            )

    def _check_back_end(self) -> None:
        if self.pack != "auto" and not 1 <= self.pack <= MOST_PACKED:
            raise InputError(f"pack is {self.pack}; it must be auto or 1 to {MOST_PACKED}")
        if self.back_end == EAGER:
            return
        if self.compiled and self.pack != 1:
            raise InputError("pack and compiled exclude each other; give one of them")
        if self.pack != 1 and self.exchange is not None:
            raise InputError(
                "pack and exchange exclude each other: packed trials write straight into the run "
                "folder; let all nodes see it, or leave out --pack"
            )
        if self.norm == "drop" or self.search_norm:
            raise InputError(
                f"{self.back_end} needs networks that differ in their ReLUs alone; keep the norms, "
                "or leave out --pack, --compiled and --captured"
            )
        if self.activation not in GATED_ACTIVATIONS:
            raise InputError(
                f"{self.back_end} needs an activation without weights or channels of its own, not "
                f"{self.activation}; use {', '.join(GATED_ACTIVATIONS)}, or leave out --pack, "
                "--compiled and --captured"
            )

    def _take_up_objective(self) -> None:
        """The metric that the objective names counts."""
        if self.objective is not None:
            named = parse_objective(self.objective)[0]
            if named == "val_loss" != self.metric:
                raise InputError(
                    f"metric {self.metric} and objective {self.objective} exclude each other"
                )
            object.__setattr__(self, "metric", named or self.metric)

    def _take_up_ratio(self) -> None:
        """A ratio is a pair of equal limits."""
        if self.ratio is not None:
            count = relus_at_ratio(self.network, self.ratio)
            if (self.min_relus, self.max_relus) not in ((1, None), (count, count)):
                raise InputError(
                    f"ratio {self.ratio} means {count} ReLUs and excludes other limits; give "
                    "either the ratio or the limits"
                )
            object.__setattr__(self, "min_relus", count)
            object.__setattr__(self, "max_relus", count)

    @property
    def training_recipe(self) -> Recipe:
        """The recipe with this search's epochs and precision."""
        return replace(Recipe.named(self.recipe, self.epochs), precision=self.precision)

    @property
    def network(self) -> Backbone:
        return Backbone.parse(self.backbone, 16 if self.width is None else self.width)

    @property
    def proposed_by(self) -> str:
        """What a proposer is asked for: the sampler, or its variant for coarse to fine."""
        return COARSE_TO_FINE if self.granularity == COARSE_TO_FINE else self.sampler

    @property
    def back_end(self) -> str:
        """What trains; scores of different back ends are never compared."""
        parts = [f"packed {self.pack}"] if self.pack != 1 else []
        parts += [name for name in ("compiled", "captured") if getattr(self, name)]
        return " ".join(parts) or EAGER

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What is minimised beside the metric."""
        return () if self.objective is None else parse_objective(self.objective)[1]

    def search_space(self) -> SearchSpace:
        return SearchSpace(
            self.network,
            "block" if self.granularity == COARSE_TO_FINE else self.granularity,
            min_relus=self.min_relus,
            max_relus=self.max_relus,
            norm="search" if self.search_norm else self.norm,
        )

    def load_data(self) -> TrainingData:
        """The training and validation split that this search works on.

        Raises:
            InputError: the data cannot be read or split as asked.
        """
        from trials.data.splits import load_data  # sources need more than a check of options does

        return load_data(
            self.data,
            data_dir=self.data_dir,
            train_limit=self.train_limit,
            validation_images=self.validation_images,
            seed=self.seed,
            download=self.download,
        )

    def trial_spec(self, placement: Placement, repeat: int = 0) -> TrialSpec:
        """What training a placement means under these options.

        Args:
            repeat: how often it was proposed before; each time has a seed of its own, far from
                those that a confirmation takes.
        """
        from trials.training.spec import TrialSpec  # torch

        return TrialSpec(
            backbone=self.backbone,
            width=self.network.width,
            placement=placement.text,
            recipe=self.training_recipe,
            seed=self.seed + repeat * REPEAT_STRIDE,
            activation=self.activation,
        )

    @property
    def references(self) -> dict[str, Placement]:
        """The hand-designed modules that the search trains first, by name."""
        return reference_modules(self.network, self.norm)

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Of the metric, then of the costs."""
        return [METRICS[self.metric].direction, *_MINIMISED[: len(self.costs)]]

    @classmethod
    def from_options(cls, options: Mapping[str, Any], file: Path | None = None) -> SearchConfig:
        """Options given by name, on top of a TOML file's. Options of value None are not given.

        Raises:
            InputError: an unknown key, an unreadable file, or a bad value.
        """
        cls._require_known(options)
        values = {} if file is None else cls.read_options(file)
        values |= {name: value for name, value in options.items() if value is not None}
        for name in ("min_relus", "max_relus"):
            if isinstance(values.get(name), str):
                backbone = cls(backbone=values.get("backbone", cls.backbone)).network
                values[name] = count_of(name, values[name], len(backbone.sites))
        if isinstance(values.get("pack"), str) and values["pack"].isdecimal():
            values["pack"] = int(values["pack"])
        return cls(**values)

    @classmethod
    def read_options(cls, file: Path) -> dict[str, Any]:
        """The options that a TOML file sets, unchecked but for their names.

        Raises:
            InputError: an unknown key, or an unreadable file.
        """
        values = {key.replace("-", "_"): value for key, value in read_toml(file).items()}
        values.pop(RECORD, None)
        cls._require_known(values, f"{file}: ")
        return values

    @classmethod
    def _require_known(cls, options: Mapping[str, Any], where: str = "") -> None:
        known = [option.name for option in fields(cls)]
        for key in options:
            if key not in known:
                raise InputError(
                    f"{where}unknown key {key!r:.60}; the keys are {', '.join(sorted(known))}"
                )

    def to_toml(self) -> dict[str, Any]:
        """All values that are set, for `config.toml`; a storage password is left out."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        if self.storage is not None:
            values["storage"] = without_password(self.storage, shown=False)
        return {name: value for name, value in values.items() if value is not None}


def _check_type(name: str, value: Any, expected: Any) -> None:
    options = (
        get_args(expected) if get_origin(expected) in (Union, types.UnionType) else (expected,)
    )
    for option in options:
        if get_origin(option) is Literal:
            if value in get_args(option):
                return
        elif option is float and type(value) in (int, float):
            if math.isfinite(value):
                return
        elif type(value) is option:
            return
    literal = [choice for option in options for choice in get_args(option)]
    others = [_type_name(option) for option in options if not get_args(option)]
    rule = f"one of {', '.join(literal)}" if len(literal) > 1 else " or ".join(literal + others)
    raise InputError(f"{name} is {value!r}; it must be {rule}")


def _type_name(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(kind, "left out")
