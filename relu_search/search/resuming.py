"""Resuming a run: which options may change, its study, and the message when a fault ends it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import optuna

from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.record import EARLIER, WEIGHTS
from relu_search.run_folder.study import finished_trials, has_study, new_study_name, open_study
from relu_search.search.proposer import choices_of
from relu_search.settings.option_fields import options_of
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_config import SearchConfig
from relu_search.settings.search_options import PLACES, SearchOptions
from search_spaces import FunctionBackbone, InputError, Placement, SearchSpace
from trials.files.durable import StorageError
from trials.files.paths import absolute_path
from trials.running.faults import RunStoppedError

if TYPE_CHECKING:
    from trials.data.image_sets import TrainingData


_BUDGETS: dict[str, Callable[[ResolvedConfig], float | None]] = {
    "trials": lambda config: config.trials,
    "time_budget": lambda config: config.time_limit,
}
"""Options that may be raised on resume, and their limits as numbers; None: there is none."""
_OF_FUNCTIONS = ("backbone_args", "sites", "exclude", "width")
"""Options of a network that a function makes; the record of the run has them."""


def changed_config(run: RunFolder, changes: Mapping[str, Any]) -> ResolvedConfig:
    """The options of a resumed run; a change whose value is None is ignored.

    Raises:
        InputError: a change would make it a different search.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    config = run.read_config()[0]
    is_made = isinstance(config.network, FunctionBackbone)
    if is_made:
        config = run.read_config(given.pop("backbone", None))[0]
        config.network.require_runnable()
    fixed = {name: given.pop(name) for name in _OF_FUNCTIONS if is_made and name in given}
    if given.get("pack") == "auto":  # the run has its number since it began
        del given["pack"]
    changed = SearchConfig.from_options(
        config.to_toml() | given, network=config.network if is_made else None
    ).resolve()
    contradictions = [
        f"{_option(name)} {value} (it has {getattr(config, name)})"
        for name, value in fixed.items()
        if value != getattr(config, name)
    ]
    contradictions += [
        f"{_option(name)} {given[name]} (it has {getattr(config, name)})"
        for name in given
        if name not in (*_BUDGETS, *PLACES) and _value(changed, name) != _value(config, name)
    ]
    contradictions += contradicting_data(config, changed.data)
    if contradictions:
        raise InputError(
            f"{', '.join(contradictions)} contradicts {run.path}; a run that goes on keeps its "
            "options but for a higher --trials or --time-budget and "
            f"{', '.join(map(_option, PLACES))}"
        )
    for name, limit in _BUDGETS.items():
        old, new = limit(config), limit(changed)
        if new is not None and (old is None or new < old):
            has = "no limit, that" if old is None else f"the {getattr(config, name)}"
            raise InputError(
                f"{_option(name)} {getattr(changed, name)} is less than {has} of {run.path}; a "
                "budget can only be raised"
            )
    return replace(changed, out=str(run.path))


def contradicting_data(config: ResolvedConfig, data: str) -> list[str]:
    """A line if other data than those of a run are named. A folder may have another place.

    Args:
        data: name of the data, as absolute path.
    """
    kind, colon, _ = config.data.partition(":")
    if data == config.data or (colon and data.startswith(f"{kind}:")):
        return []
    return [f"--data {data} (it has {config.data})"]


def same_data(run: RunFolder, data: TrainingData) -> TrainingData:
    """The data of a resumed run under the name that they had when it began.

    The names of its checkpoints depend on it, and the data may have been moved since.

    Raises:
        InputError: they are not the images and the split that it began with.
    """
    facts = run.read_config()[1]["data"]
    if facts["split_digest"] != data.split_digest:
        raise InputError(
            f"data {data.name!r} are not those that {run.path} was started with; its figures "
            "could not be compared. Restore the data, give the place to which they have moved "
            "with --data or --data-dir, or start anew"
        )
    return replace(data, name=facts["name"])


def study_of(run: RunFolder, config: ResolvedConfig, record: Mapping[str, Any]) -> optuna.Study:
    """The study of a run, new or existing; the config is written before a new one is created.

    Args:
        record: facts of the run, without the name of the study.
    """
    study = _open_earlier_study(run, config) if run.is_run() else None
    name = new_study_name(run.path) if study is None else study.study_name
    earlier = run.read_config()[1] if study is not None else {}
    kept = {name: earlier[name] for name in ("estimate", EARLIER) if name in earlier}
    run.write_config(config, {"study": name, **kept, **record})
    return study or open_study(run.journal, name, config.directions, storage=config.storage)


def check_earlier_study(run: RunFolder, config: ResolvedConfig, space: SearchSpace) -> None:
    """Find what is wrong with the study of a resumed run before Ray starts.

    Raises:
        InputError: something is.
    """
    study = _open_earlier_study(run, config)
    if study is None:
        return
    for trial in finished_trials(study):
        space.backbone.check(Placement.parse(trial.user_attrs["placement"]))
    for trial in study.get_trials(deepcopy=False):
        choices = choices_of(trial)
        if not isinstance(choices, dict) or any(
            name in choices and choices[name] not in known for name, known in space.choices.items()
        ):
            raise InputError(
                f"the study of {run.path} is damaged: trial {trial.number} has choices that the "
                "search space lacks; restore the study, or search again"
            )


def _open_earlier_study(run: RunFolder, config: ResolvedConfig) -> optuna.Study | None:
    """The study of a resumed run; None if the run was interrupted before it had a study."""
    name = run.read_config()[1]["study"]
    if not run.count_trials() and not has_study(run.journal, name, storage=config.storage):
        return None
    return open_study(run.journal, name, config.directions, storage=config.storage, resume=True)


def require_same_weights(run: RunFolder, config: ResolvedConfig) -> None:
    """Check that the weights from which trainings start are those of a run.

    Args:
        config: with its weights read.

    Raises:
        InputError: they are others, or the run trains from scratch.
    """
    known = run.read_config()[1].get(WEIGHTS)
    digest = None if config.start is None else config.start.digest
    if digest != known:
        began = "trains from scratch" if known is None else f"began with others ({known[:16]}...)"
        raise InputError(
            f"weights {config.weights} are not those of {run.path}, which {began}; restore them, "
            "give the place to which they have moved with --weights, or search anew"
        )


@contextlib.contextmanager
def says_what_is_safe(run: RunFolder, config: ResolvedConfig) -> Iterator[None]:
    """Turn a fault that ends a run into one line: what is saved and how to resume.

    Raises:
        RunStoppedError: the disk is full or read-only, the database does not answer, or all trials
            failed for the same reason.
    """
    try:
        yield
    except (RunStoppedError, StorageError, optuna.exceptions.StorageInternalError) as error:
        cause = str(error)
        if isinstance(error, optuna.exceptions.StorageInternalError):
            lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            cause = f"the database cannot be written: {lines[0][:200]}"
        has_password = config.to_toml().get("storage") != config.storage
        raise RunStoppedError(
            f"{cause}; {run.count_trials()} finished trials are safe in {run.path}. When the cause "
            f"is mended, go on with: relu-search {run.resumed_by} --resume "
            + shlex.quote(str(run.path))
            + (f" --backbone {shlex.quote(code)}" if (code := config.network.code) else "")
            + (" --storage URL" if has_password else ""),
            says_how_to_go_on=True,
        ) from error


def _value(config: ResolvedConfig, name: str) -> Any:
    """An option as it is compared: `out` from the root, wherever it was typed."""
    value = getattr(config, name)
    return absolute_path(value) if name == "out" and value is not None else value


def _option(name: str) -> str:
    return f"--{options_of(SearchOptions)[name].flag or name.replace('_', '-')}"
