"""The main path of a search; read this file first.

options -> data, search space -> Ray -> run folder, study, proposer -> trials -> best model on disk
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.export.card import versions
from relu_search.export.from_run import data_facts
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.record import WEIGHTS
from relu_search.run_folder.study import (
    check_storage,
    finished_trials,
    has_study,
    new_study_name,
    open_study,
)
from relu_search.search.back_ends import run_search_trials, with_pack_chosen
from relu_search.search.costs import Costs
from relu_search.search.proposer import SearchListener, StudyProposer, choices_of
from relu_search.search.recorder import RunRecorder
from relu_search.search.resuming import (
    changed_config,
    require_same_weights,
    same_data,
    says_what_is_safe,
)
from relu_search.search.training_lists import check_precision
from relu_search.search.warm_start import advised_placements
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_config import SearchConfig
from search_spaces import InputError, Placement, SearchSpace
from search_spaces.errors import require_type
from trials.data.image_sets import TrainingData
from trials.running.devices import Say
from trials.running.exchange import check_exchange
from trials.running.resources import Node, Resources, plan_resources

if TYPE_CHECKING:
    import optuna

Ending = Literal["budget spent", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """How a search ended.

    Attributes:
        run: its folder, which contains all results.
        ending: why it ended.
        best_trial: row of the best full-length trial within the ReLU limits; None if there is none.
    """

    run: RunFolder
    ending: Ending
    best_trial: dict[str, Any] | None


def run_search(
    config: SearchConfig | ResolvedConfig,
    *,
    overwrite: bool = False,
    dashboard: bool = False,
    verbose: bool = False,
    listeners: tuple[SearchListener, ...] = (),
    begun: Callable[[RunFolder], None] = lambda _run: None,
) -> SearchOutcome:
    """Start a new search.

    ```python
    outcome = run_search(SearchConfig(backbone="plain-20", trials=12, out="runs/first"))
    outcome.best_trial["placement"]
    ```

    Args:
        config: what to search and how.
        overwrite: replace an earlier run folder.
        dashboard: start Ray's dashboard, for this machine alone.
        verbose: show Ray's messages.
        listeners: are told of every event, for example a live view.
        begun: is told the run folder before Ray starts.

    Raises:
        InputError: bad input; nothing was written.
    """
    require_type("config", config, (SearchConfig, ResolvedConfig), "a SearchConfig")
    resolved = config.resolve()
    RunFolder.check_free(resolved.out, overwrite=overwrite)
    with contextlib.ExitStack() as stack:
        setting = _Setting.of(resolved, _progress(listeners))
        resolved = resolved.with_weights(setting.data)
        run = stack.enter_context(RunFolder.create(resolved.out, overwrite=overwrite))
        begun(run)
        cluster = _connect(resolved, stack, dashboard=dashboard, verbose=verbose)
        resolved, places = _measured(resolved, setting, cluster, _progress(listeners))
        run.clear()
        return _search(resolved, run, setting, places, verbose=verbose, listeners=listeners)


def resume_search(
    folder: str | Path,
    *,
    dashboard: bool = False,
    verbose: bool = False,
    listeners: tuple[SearchListener, ...] = (),
    **changes: Any,
) -> SearchOutcome:
    """Continue an interrupted search, or give a search more trials.

    ```python
    resume_search("runs/first", trials=60)
    ```

    Finished trials count towards the budget and are not repeated. Trials that were running continue
    after their last finished epoch.

    Args:
        folder: of the run.
        dashboard, verbose, listeners: as in `run_search`.
        changes: a higher total of `trials`, or execution options (`PLACES`). The storage URL is
            needed again if it has a password. Any other option must have its earlier value.

    Raises:
        InputError: not a run folder, a damaged one, one in use by another process, options that
            contradict those of the run, or data that have changed.
    """
    run = RunFolder.open(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(run.lock())
        config = changed_config(run, changes)
        setting = _Setting.of(config, _progress(listeners))
        setting = replace(setting, data=same_data(run, setting.data))
        config = config.with_weights(setting.data)
        require_same_weights(run, config)
        _check_earlier_study(run, config, setting.space)
        cluster = _connect(config, stack, dashboard=dashboard, verbose=verbose)
        config, places = _measured(config, setting, cluster, _progress(listeners))
        return _search(config, run, setting, places, verbose=verbose, listeners=listeners)


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What a search works on; it is checked before anything is written."""

    data: TrainingData
    space: SearchSpace
    facts: PlacementFacts
    costs: Costs

    @classmethod
    def of(cls, config: ResolvedConfig, say: Say) -> _Setting:
        data, space = config.load_data(say), config.search_space()
        facts = PlacementFacts.on(data, space.backbone, config.activation)
        facts.require_memory()  # refuses images that are too small, too
        facts.prove()
        check_storage(config.storage)
        check_exchange(config.exchange)
        from trials.data.outlook import outlook_on_test  # opens the test split, to tell of it

        for line in outlook_on_test(data, data_dir=config.data_dir):
            say(line)
        costs = Costs.of_config(config, facts, say)
        return cls(data=data, space=space, facts=facts, costs=costs)


def _connect(
    config: ResolvedConfig, stack: contextlib.ExitStack, *, dashboard: bool, verbose: bool
) -> list[Node]:
    """Join or start Ray until the stack is closed; returns the nodes of the cluster."""
    from trials.on_ray.session import ray_session

    cluster = stack.enter_context(
        ray_session(
            address=config.address,
            niceness=config.niceness,
            dashboard=dashboard,
            verbose=verbose,
        )
    )
    per_trial, _ = plan_resources(config.resources, cluster)
    has_gpu = bool(per_trial["gpu"])
    check_precision(config.precision, has_gpu=has_gpu)
    if config.captured and not has_gpu:
        raise InputError(
            "captured needs a GPU per trial, and no trial has one; omit --captured, or set "
            "--gpus-per-trial on a machine with GPUs"
        )
    return cluster


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where a search computes.

    Attributes:
        resources: of each trial.
        call: calls a function in a worker with these resources; see `call_in_worker`.
    """

    resources: Resources
    call: Callable[..., Any]


def _measured(
    config: ResolvedConfig, setting: _Setting, cluster: list[Node], say: Say
) -> tuple[ResolvedConfig, _Places]:
    """The options with a number for `pack auto`, and the places with one for `gpus-per-trial auto`.

    The workers measure, not this process. The pack comes first, as it decides how much memory is
    needed.
    """
    from trials.on_ray.one_worker import call_in_worker, with_share_measured

    per_trial, _ = plan_resources(config.resources, cluster)
    config = with_pack_chosen(config, setting.data, partial(call_in_worker, per_trial), say)
    assert config.pack != "auto"
    paired = config.trial_spec(Placement("1" * len(setting.space.backbone.sites)))
    resources = with_share_measured(
        config.resources,
        cluster,
        [paired] * config.pack,
        setting.data,
        say=say,
        compiled=config.compiled,
        captured=config.captured,
        weights=config.start,
    )
    per_trial, _ = plan_resources(resources, cluster)
    return config, _Places(resources=resources, call=partial(call_in_worker, per_trial))


def _search(
    config: ResolvedConfig,
    run: RunFolder,
    setting: _Setting,
    places: _Places,
    *,
    verbose: bool,
    listeners: tuple[SearchListener, ...],
) -> SearchOutcome:
    progress = _progress(listeners)
    with says_what_is_safe(run, config):
        study = _study_of(run, config, setting)
        costs = setting.costs.in_study(study)
        run.sweep()
        run.trial_files.make_folders()
        recorder = RunRecorder(run, config, setting.facts)
        recorder.restart(finished_trials(study))
        proposer = StudyProposer(
            study,
            setting.space,
            references=config.references,
            first=advised_placements(
                run, config, setting.data, setting.space, call=places.call, say=progress
            ),
            spec_of=config.trial_spec,
            metric=config.metric,
            costs_of=costs.of if config.costs else None,
            timing_of=costs.timing_of,
            site_costs=costs.of_sites() if config.costs else None,
            floor=config.at_least_accuracy,
            trials=config.trials,
            sampler=config.proposed_by,
            seed=config.seed,
            listeners=(recorder, *listeners),
        )
        if proposer.remaining > 0:
            run_search_trials(
                config,
                proposer,
                setting.data,
                stopping=replace(config.early_stopping, on_audit=proposer.note_audit),
                resources=places.resources,
                say=progress,
                past=proposer.past_trials(),
                files=run.trial_files.through(config.exchange, study.study_name),
                verbose=verbose,
            )
    interrupted = proposer.unfinished or proposer.remaining > 0
    ending: Ending = "interrupted" if interrupted else "budget spent"
    return SearchOutcome(run=run, ending=ending, best_trial=recorder.best_trial)


def _progress(listeners: tuple[SearchListener, ...]) -> Say:
    """Where lines about the progress go: to stderr, or nowhere if nobody listens."""
    return partial(print, file=sys.stderr) if listeners else lambda _line: None


def _study_of(run: RunFolder, config: ResolvedConfig, setting: _Setting) -> optuna.Study:
    """The study of a run, new or existing; the config is written before a new one is created."""
    study = _open_earlier_study(run, config) if run.is_run() else None
    name = new_study_name(run.path) if study is None else study.study_name
    record = {
        "study": name,
        "space_size": str(setting.space.size),
        "versions": versions(),
        "data": data_facts(setting.data),
    }
    if config.start is not None:
        record[WEIGHTS] = config.start.digest
    run.write_config(config, record)
    return study or open_study(run.journal, name, config.directions, storage=config.storage)


def _check_earlier_study(run: RunFolder, config: ResolvedConfig, space: SearchSpace) -> None:
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
