"""SearchConfig: the options of a search as the user typed them, and which fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relu_search.settings.option_fields import check_options, options_of, with_numbers
from relu_search.settings.option_files import read_toml, recipe_of_table
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_options import COARSE_TO_FINE, SearchOptions
from search_spaces import GATED_ACTIVATIONS, Architecture, FunctionBackbone, InputError
from search_spaces.any_network.source import is_source, names_code
from search_spaces.errors import require_type
from trials.files.storage_urls import require_encoded
from trials.training.recipe import require_packable

TRACKERS = ("tensorboard", "mlflow", "wandb")
NO_TRACKER = "none"
RECORD = "record"
"""Table of a run's `config.toml` with facts about the run; ignored when read as options."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig(SearchOptions):
    """Options of a search as typed; `relu-search search --help` explains each.

    ```python
    SearchConfig(backbone="preresnet-20", data="cifar10", max_relus="60%", trials=50)
    ```

    What is left out follows from the rest when the options are resolved. `backbone` may also be a
    function that other processes can import.

    Attributes:
        network: the backbone itself, if it is known already, as that of an earlier run.

    Raises:
        InputError: a value that is out of range or does not fit the others.
    """

    network: Architecture | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_type("network", self.network, (Architecture, type(None)), "an Architecture or None")
        if callable(self.backbone):
            made = FunctionBackbone(
                self.backbone,
                arguments=self.backbone_args,
                sites=self.sites,
                exclude=self.exclude,
            )
            object.__setattr__(self, "backbone", made.to_json()["backbone"])
            object.__setattr__(self, "network", made)
        check_options(self)
        _check_combinations(self)
        resolved = self.resolve()
        if self.pack != 1:
            require_packable(resolved.training_recipe)

    def resolve(self) -> ResolvedConfig:
        """The options with every default filled in, as the search runs them."""
        return ResolvedConfig.of(self)

    @classmethod
    def from_options(
        cls,
        options: Mapping[str, Any],
        file: Path | None = None,
        *,
        network: Architecture | None = None,
    ) -> SearchConfig:
        """Options given by name, on top of a TOML file's. Options of value None are not given.

        Args:
            network: the backbone, if it is known already; otherwise code that only the file names
                is not run.

        Raises:
            InputError: an unknown key, an unreadable file, or a bad value.
        """
        cls._require_known(options)
        in_file = {} if file is None else cls.read_options(file)
        given = {name: value for name, value in options.items() if value is not None}
        if network is None and "backbone" not in given:
            _require_no_code(in_file, file)
        values = in_file | given
        if isinstance(values.get("recipe"), dict):
            values["recipe"] = recipe_of_table(values["recipe"])
        return cls(**with_numbers(cls, values), network=network)

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
        known = list(options_of(cls))
        for key in options:
            if key not in known:
                raise InputError(
                    f"{where}unknown key {key!r:.60}; the keys are {', '.join(sorted(known))}"
                )


def _require_no_code(in_file: Mapping[str, Any], file: Path | None) -> None:
    """Check that a file of options names no code as backbone: it may come from a stranger.

    Raises:
        InputError: it does.
    """
    name, arguments = in_file.get("backbone"), in_file.get("backbone_args")
    if isinstance(name, str) and is_source(name) and names_code(name, arguments):
        raise InputError(
            f"{file} names code as backbone ({name[:80]}), which runs only if you name it on the "
            f"command line; if you trust it, add: --backbone {name[:80]}"
        )


def _check_combinations(options: SearchOptions) -> None:
    """Check the rules between two or more options.

    Raises:
        InputError: two options exclude each other, or a storage URL that drivers misread.
    """
    require_encoded(options.storage or "")
    tracker_names(options.log)
    if options.granularity == COARSE_TO_FINE and options.sampler != "gp":
        raise InputError(
            f"granularity coarse-to-fine works with sampler gp, not {options.sampler}; leave "
            "--sampler out, or choose one granularity"
        )
    if options.protect and not options.own:
        raise InputError("protect is for the placements of --try; give them, or leave it out")
    if options.stop_when_decided and (options.objective or options.at_least_accuracy is not None):
        raise InputError(
            "stop_when_decided is for a single metric; leave it out, or leave out objective and "
            "at_least_accuracy"
        )
    if options.search_norm and options.norm == "drop":
        raise InputError("norm drop and search_norm exclude each other; give one of them")
    _check_start(options)
    if options.pack != 1:
        _check_pack(options)
    if options.pack != 1 or options.compiled or options.captured:
        _check_same_layers(options)


def tracker_names(log: str | None) -> tuple[str, ...]:
    """`tensorboard,mlflow` -> the two names.

    Raises:
        InputError: one of them is unknown.
    """
    if log in (None, NO_TRACKER):
        return ()
    names = dict.fromkeys(name.strip() for name in log.split(","))
    for name in names:
        if name not in TRACKERS:
            raise InputError(
                f"log {name!r:.60} is unknown; write one or several of {', '.join(TRACKERS)}, such "
                f"as tensorboard,mlflow, or {NO_TRACKER}"
            )
    return tuple(names)


def _check_start(options: SearchOptions) -> None:
    """Which options go with weights from which trainings start."""
    if options.weights is None:
        for name in ("new_head", "distill", "distill_temperature"):
            if getattr(options, name):
                raise InputError(
                    f"{name} is for trainings that start from weights; give --weights, or leave "
                    f"--{name.replace('_', '-')} out"
                )
        return
    if options.distill_temperature is not None and options.distill is None:
        raise InputError("distill_temperature has no distillation; give --distill, such as 0.5")
    distills = options.distill is not None
    for is_given, one, other, reason in (
        (options.pack != 1, "pack", "weights", "packs train from scratch"),
        (options.warm_start, "warm_start", "weights", "a supernet is trained from scratch"),
        (
            options.activation == "crelu",
            "activation crelu",
            "weights",
            "it changes the shapes of weights",
        ),
        (distills and options.new_head, "distill", "new_head", "the teacher would have no head"),
        (distills and options.compiled, "distill", "compiled", "its graph has no teacher"),
        (distills and options.captured, "distill", "captured", "its graph has no teacher"),
    ):
        if is_given:
            raise InputError(
                f"{one} and {other} exclude each other, because {reason}; leave one of them out"
            )


def _check_pack(options: SearchOptions) -> None:
    if is_source(options.backbone):
        raise InputError(
            "pack is for the six families, whose convolutions are grouped, not for "
            f"{options.backbone[:60]}; leave out --pack"
        )
    if options.compiled:
        raise InputError("pack and compiled exclude each other; give one of them")
    if options.exchange is not None:
        raise InputError(
            "pack and exchange exclude each other: packed trials write straight into the run "
            "folder; let all nodes see it, or leave out --pack"
        )


def _check_same_layers(options: SearchOptions) -> None:
    """Packed, compiled and captured trials differ in their ReLUs alone."""
    if options.norm == "drop" or options.search_norm:
        raise InputError(
            "packed, compiled and captured training need networks that differ in their ReLUs "
            "alone; keep the norms, or leave out --pack, --compiled and --captured"
        )
    if options.activation not in GATED_ACTIVATIONS:
        raise InputError(
            "packed, compiled and captured training need an activation without weights or channels "
            f"of its own, not {options.activation}; use {', '.join(GATED_ACTIVATIONS)}, or leave "
            "out --pack, --compiled and --captured"
        )
