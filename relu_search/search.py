"""The main path; read this first.

options -> data, search space -> Ray -> run folder, study, proposer -> trials -> best on disk
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from relu_search.card import versions
from relu_search.config import SearchConfig
from relu_search.handover import data_facts
from relu_search.leaderboard import best_trial
from relu_search.proposer import SearchListener, StudyProposer
from relu_search.recorder import RunRecorder, TrialFacts
from relu_search.results import RunFolder
from relu_search.study import check_storage, new_study_name, open_study
from search_spaces import InputError, Placement
from trials.data import TrainingData

Ending = Literal["budget spent", "space exhausted", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """How a search ended.

    Attributes:
        run: its folder; everything else is in there.
        ending: why it ended.
        best: row of the best trial of full length within the ReLU limits; None without one.
    """

    run: RunFolder
    ending: Ending
    best: dict[str, Any] | None


def run_search(
    config: SearchConfig,
    *,
    overwrite: bool = False,
    verbose: bool = False,
    listeners: tuple[SearchListener, ...] = (),
) -> SearchOutcome:
    """Search placements from the beginning.

    ```python
    outcome = run_search(SearchConfig(backbone="plain-20", trials=12, out="runs/first"))
    outcome.best["placement"]
    ```

    Args:
        config: what to search and how.
        overwrite: replace an earlier run folder.
        verbose: show Ray's messages.
        listeners: told of every event, such as a live view.

    Raises:
        InputError: bad input; nothing was written.
    """
    RunFolder.check_free(config.out, overwrite=overwrite)
    return _search(config, None, overwrite=overwrite, verbose=verbose, listeners=listeners)


def resume_search(
    folder: str | Path,
    *,
    trials: int | None = None,
    storage: str | None = None,
    verbose: bool = False,
    listeners: tuple[SearchListener, ...] = (),
) -> SearchOutcome:
    """Go on with a search that was cut off, or give it more trials.

    Finished trials count as spent and are not repeated; trials that were running start again.

    Args:
        folder: of the run.
        trials: a new total budget; None keeps the first one.
        storage: the database URL, needed again if it had a password.

    Raises:
        InputError: not a run folder, a damaged one, or data that are no longer the same.
    """
    run = RunFolder.open(folder)
    config = run.read_config()[0]
    config = replace(
        config,
        out=str(run.path),
        trials=config.trials if trials is None else trials,
        storage=storage or config.storage,
    )
    return _search(config, run, overwrite=False, verbose=verbose, listeners=listeners)


def _search(
    config: SearchConfig,
    run: RunFolder | None,
    *,
    overwrite: bool,
    verbose: bool,
    listeners: tuple[SearchListener, ...],
) -> SearchOutcome:
    from trials.scheduling import (
        EarlyStopping,
        Resources,
        plan_resources,
        ray_session,
        run_trials,
    )

    data = config.load_data()
    if run is not None:
        _require_same_split(run, data)
    space = config.search_space()
    facts = TrialFacts(space.backbone, data, config.activation)
    facts.of(Placement("1" * len(space.backbone.sites)))  # rejects images that are too small
    resources = Resources(
        cpus_per_trial=config.cpus_per_trial,
        gpus_per_trial=config.gpus_per_trial,
        concurrent=config.concurrent,
    )

    check_storage(config.storage)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(ray_session(address=config.address, verbose=verbose))
        per_trial, _ = plan_resources(resources, cluster)
        if config.precision == "bf16" and not per_trial["gpu"]:
            raise InputError("precision bf16 needs a GPU per trial; use fp32, or --gpus-per-trial")
        resume = run is not None
        if run is None:
            run = RunFolder.create(config.out, overwrite=overwrite)
        stack.enter_context(run.lock())
        study_name = run.read_config()[1]["study"] if resume else new_study_name(run.path)
        study = open_study(
            run.journal, study_name, config.direction, storage=config.storage, resume=resume
        )
        record = {
            "study": study_name,
            "space_size": str(space.size),
            "versions": versions(),
            "data": data_facts(data),
        }
        run.write_config(config, record)
        recorder = RunRecorder(run, config, facts)
        recorder.restart([t for t in study.trials if t.state.is_finished()])
        proposer = StudyProposer(
            study,
            space,
            references=config.references,
            spec_of=config.trial_spec,
            metric=config.metric,
            trials=config.trials,
            sampler=config.sampler,
            seed=config.seed,
            listeners=(recorder, *listeners),
        )
        if proposer.remaining > 0:
            run_trials(
                proposer,
                data,
                trials=proposer.remaining,
                stopping=EarlyStopping(
                    metric=config.metric,
                    mode="max" if config.direction == "maximize" else "min",
                    max_epochs=config.training_recipe.epochs,
                    grace_epochs=config.grace_epochs or 1,
                    reduction_factor=config.reduction_factor,
                ),
                resources=resources,
                past_curves=proposer.past_curves(),
                weights=run.weights.resolve(),
                verbose=verbose,
            )
    ending: Ending = "budget spent"
    if proposer.exhausted and not proposer.unfinished:
        ending = "space exhausted"
    elif proposer.unfinished or proposer.remaining > 0:
        ending = "interrupted"
    return SearchOutcome(run=run, ending=ending, best=best_trial(run.read_trials(), config))


def _require_same_split(run: RunFolder, data: TrainingData) -> None:
    if run.read_config()[1]["data"]["split_digest"] != data.split_digest:
        raise InputError(
            f"data {data.name!r} are not those that {run.path} was started with; its figures "
            "could not be compared, so restore the data or start anew"
        )
