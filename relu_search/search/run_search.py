"""The main path of a search; read this file first.

options -> data, search space -> Ray -> run folder, study, proposer -> trials -> best model on disk
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.budget.decided import Decider
from relu_search.budget.plan import Plan, TooShortError
from relu_search.export.card import versions
from relu_search.export.from_run import data_facts
from relu_search.run_folder.folder import RunFolder
from relu_search.run_folder.record import DECIDED, EARLIER, WEIGHTS
from relu_search.run_folder.study import check_storage, finished_trials
from relu_search.run_folder.time_spent import save_time, time_spent
from relu_search.search.back_ends import Places, connect, measured_places, run_search_trials
from relu_search.search.costs import Costs
from relu_search.search.proposer import MODULE_SEEDS, StudyProposer
from relu_search.search.recorder import RunRecorder
from relu_search.search.resuming import (
    changed_config,
    check_earlier_study,
    require_same_weights,
    same_data,
    says_what_is_safe,
    study_of,
)
from relu_search.search.warm_start import advised_placements
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_config import SearchConfig, tracker_names
from relu_search.trackers.listener import Ending, Listeners, SearchListener
from relu_search.trackers.processes import told
from relu_search.transfer.earlier_run import Transfer, transfer_from
from search_spaces import SearchSpace
from search_spaces.errors import require_type
from trials.data.image_sets import TrainingData
from trials.running.devices import Say
from trials.running.exchange import check_exchange
from trials.running.time_budget import TimeBudget


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
    listeners: Sequence[SearchListener] = (),
    begun: Callable[[RunFolder], None] = lambda _run: None,
    planned: Callable[[RunFolder, Plan | None], None] = lambda _run, _plan: None,
    needs_test: bool = False,
    since: float | None = None,
    reserve: float = 0.0,
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
        listeners: are told what happens, for example a `LiveView`. An exception of one is reported
            once, and the search goes on.
        begun: is told the run folder before Ray starts.
        planned: is told the run folder, and the estimate if there is a time budget, before the
            first trial.
        needs_test: refuse data without a test split, which a confirmation needs.
        since: moment of `time.monotonic` from which the time budget counts, such as the start of a
            program; None: this call.
        reserve: seconds of the time budget that are kept for what follows the last trial.

    Raises:
        InputError: bad input, or no trial fits into the time budget; nothing was written.
    """
    require_type("config", config, (SearchConfig, ResolvedConfig), "a SearchConfig")
    resolved = config.resolve()
    budget = TimeBudget(resolved.time_limit, since=since, reserve=reserve)
    RunFolder.check_free(resolved.out, overwrite=overwrite)
    with contextlib.ExitStack() as stack:
        heard = stack.enter_context(told(listeners, tracker_names(resolved.log)))
        setting = _Setting.of(resolved, _progress(listeners), needs_test=needs_test)
        resolved = resolved.with_weights(setting.data)
        transfer = transfer_from(resolved, data_facts(setting.data), setting.space)
        if transfer.sentence:
            _progress(listeners)(transfer.sentence)
        run = stack.enter_context(RunFolder.create(resolved.out, overwrite=overwrite))
        begun(run)
        cluster = connect(resolved, stack, dashboard=dashboard, verbose=verbose)
        resolved, places = measured_places(resolved, setting.data, cluster, _progress(listeners))
        plan = _plan_in_time(resolved, setting, places, budget, _progress(listeners))
        if plan is not None and not plan.expected:
            beside = budget.spent + reserve
            raise TooShortError(str(resolved.time_budget), plan.trial_seconds, beside)
        run.clear()
        planned(run, plan)
        if transfer.rows:
            transfer.write(run)
        return _search(
            resolved,
            run,
            setting,
            places,
            budget=budget,
            plan=plan,
            transfer=transfer,
            verbose=verbose,
            listeners=heard,
            progress=_progress(listeners),
        )


def plan_search(config: SearchConfig, *, say: Say, verbose: bool = False) -> Plan:
    """The estimate of a search, which is not run. Nothing is written.

    Args:
        say: is told the progress.
        verbose: show Ray's messages.

    Raises:
        InputError: bad input.
    """
    resolved = config.resolve()
    setting = _Setting.of(resolved, say)
    resolved = resolved.with_weights(setting.data)
    with contextlib.ExitStack() as stack:
        cluster = connect(resolved, stack, dashboard=False, verbose=verbose)
        resolved, places = measured_places(resolved, setting.data, cluster, say)
        return places.plan(resolved, setting.data, say)


def resume_search(
    folder: str | Path,
    *,
    dashboard: bool = False,
    verbose: bool = False,
    listeners: Sequence[SearchListener] = (),
    since: float | None = None,
    reserve: float = 0.0,
    **changes: Any,
) -> SearchOutcome:
    """Continue an interrupted search, or give a search more trials.

    ```python
    resume_search("runs/first", trials=60)
    ```

    Finished trials count towards the budget and are not repeated. Trials that were running continue
    after their last finished epoch. The time that earlier processes took counts towards the time
    budget.

    Args:
        folder: of the run.
        dashboard: as in `run_search`.
        verbose: as in `run_search`.
        listeners: as in `run_search`.
        since: as in `run_search`.
        reserve: as in `run_search`.
        changes: a higher total of `trials` or `time_budget`, or execution options (`PLACES`). The
            storage URL is needed again if it has a password. Any other option must have its earlier
            value.

    Raises:
        InputError: not a run folder, a damaged one, one in use by another process, options that
            contradict those of the run, or data that have changed.
    """
    run = RunFolder.open(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(run.lock())
        config = changed_config(run, changes)
        heard = stack.enter_context(told(listeners, tracker_names(config.log)))
        spent = time_spent(run.path, "search")
        budget = TimeBudget(config.time_limit, spent=spent, since=since, reserve=reserve)
        setting = _Setting.of(config, _progress(listeners))
        setting = replace(setting, data=same_data(run, setting.data))
        config = config.with_weights(setting.data)
        require_same_weights(run, config)
        check_earlier_study(run, config, setting.space)
        cluster = connect(config, stack, dashboard=dashboard, verbose=verbose)
        config, places = measured_places(config, setting.data, cluster, _progress(listeners))
        plan = None
        if budget.left > 0:
            plan = _plan_in_time(config, setting, places, budget, _progress(listeners))
        return _search(
            config,
            run,
            setting,
            places,
            budget=budget,
            plan=plan,
            transfer=Transfer.read(run),
            verbose=verbose,
            listeners=heard,
            progress=_progress(listeners),
        )


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What a search works on; it is checked before anything is written."""

    data: TrainingData
    space: SearchSpace
    facts: PlacementFacts
    costs: Costs

    @classmethod
    def of(cls, config: ResolvedConfig, say: Say, *, needs_test: bool = False) -> _Setting:
        data, space = config.load_data(say), config.search_space()
        facts = PlacementFacts.on(data, space.backbone, config.activation)
        facts.require_trainable(len(data.train), config.training_recipe.batch_size)
        facts.prove()
        check_storage(config.storage)
        check_exchange(config.exchange)
        from trials.data.outlook import outlook_on_test  # opens the test split, to tell of it

        for line in outlook_on_test(data, data_dir=config.data_dir, required=needs_test):
            say(line)
        costs = Costs.of_config(config, facts, say)
        return cls(data=data, space=space, facts=facts, costs=costs)


def _plan_in_time(
    config: ResolvedConfig, setting: _Setting, places: Places, budget: TimeBudget, say: Say
) -> Plan | None:
    """The estimate of a search with a time budget, which is told; None without one."""
    if config.time_limit is None:
        return None
    plan = places.plan(config, setting.data, say)
    budget.expect(config.trial_spec(config.network.paired), plan.trial_seconds)
    plan = replace(plan, limit=max(0.0, budget.left))
    if plan.expected:
        say(plan.estimate())
    return plan


def _search(
    config: ResolvedConfig,
    run: RunFolder,
    setting: _Setting,
    places: Places,
    *,
    budget: TimeBudget,
    plan: Plan | None,
    transfer: Transfer,
    verbose: bool,
    listeners: Listeners,
    progress: Say,
) -> SearchOutcome:
    with says_what_is_safe(run, config):
        study = study_of(run, config, _record_of(config, setting, plan, transfer))
        costs = setting.costs.in_study(study)
        budget.save = partial(save_time, run.path, "search")
        run.sweep()
        run.trial_files.make_folders()
        recorder = RunRecorder(run, config, setting.facts, listeners)
        finished = finished_trials(study)
        recorder.restart(finished)
        budget.record()
        listeners.tell("began", run, config)
        decider = None
        if config.stop_when_decided:
            decider = Decider(config, setting.space, recorder.full_length)
        repeats = transfer.repeats(config.seed)
        planned = config.most_trials
        if plan is not None:
            planned = min(planned, len(finished) + plan.expected)
        proposer = StudyProposer(
            study,
            setting.space,
            references=config.references,
            own=config.own_placements,
            protect_own=config.protect,
            module_seeds=MODULE_SEEDS,
            first=[
                *transfer.first,
                *advised_placements(
                    run,
                    replace(config, trials=planned),
                    setting.data,
                    setting.space,
                    call=places.call,
                    say=progress,
                ),
            ],
            spec_of=lambda placement, repeat: config.trial_spec(
                placement, repeat + repeats[placement.text]
            ),
            metric=config.metric,
            costs_of=costs.of if config.costs else None,
            timing_of=costs.timing_of,
            site_costs=costs.of_sites() if config.costs else None,
            floor=config.at_least_accuracy,
            prior=transfer.prior(config, setting.space),
            trials=config.most_trials,
            planned=planned,
            budget=budget,
            decided=decider,
            sampler=config.proposed_by,
            seed=config.seed,
            listeners=(recorder,),
        )
        if proposer.has_more:
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
        budget.record()
        ending: Ending = "budget spent"
        if proposer.unfinished or proposer.has_more:
            ending = "interrupted"
        elif decider is not None and decider.decision is not None:
            ending = "decided"
            run.add_to_record(config, {DECIDED: decider.decision.sentence()})
    listeners.ending = ending
    return SearchOutcome(run=run, ending=ending, best_trial=recorder.best_trial)


def _progress(listeners: Sequence[SearchListener]) -> Say:
    """Where lines about the progress go: to stderr, or nowhere if nobody listens."""
    return partial(print, file=sys.stderr) if listeners else lambda _line: None


def _record_of(
    config: ResolvedConfig, setting: _Setting, plan: Plan | None, transfer: Transfer
) -> dict[str, Any]:
    """The facts of a run for the `[record]` of `config.toml`."""
    record: dict[str, Any] = {
        "space_size": str(setting.space.size),
        "versions": versions(),
        "data": data_facts(setting.data),
    }
    if config.start is not None:
        record[WEIGHTS] = config.start.digest
    if transfer.sentence:
        record[EARLIER] = transfer.sentence
    return record if plan is None else record | {"estimate": plan.record()}
