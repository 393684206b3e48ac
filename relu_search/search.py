"""The main path; read this first.

options -> data, search space -> Ray -> run folder, study, proposer -> trials -> best on disk
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from relu_search.config import SearchConfig
from relu_search.export import versions
from relu_search.handover import data_facts, export_trial
from relu_search.leaderboard import best_trial
from relu_search.proposer import SearchListener, StudyProposer, was_interrupted
from relu_search.results import RunFolder
from relu_search.study import Mode, check_storage, open_study
from search_spaces import (
    Backbone,
    InputError,
    Placement,
    measure_complexity,
    ratio_text,
    reference_modules,
)
from trials.data import TrainingData, load_data
from trials.proposals import Proposal
from trials.training import EpochMetrics
from trials.trial import TrialSpec

Ending = Literal["budget spent", "space exhausted", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """How a search ended.

    Attributes:
        run: its folder; everything else is in there.
        ending: why it ended.
        best: row of the best trial of full length, all-linear control aside; None without one.
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
    check_storage(config.storage)
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
    config, _ = run.read_config()
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

    data = load_data(
        config.data,
        data_dir=config.data_dir,
        train_limit=config.train_limit,
        validation_images=config.validation_images,
        seed=config.seed,
        download=config.download,
    )
    if run is not None:
        _require_same_split(run, data)
    space = config.search_space()
    recipe = config.training_recipe
    facts = TrialFacts(space.backbone, data)
    facts.of(Placement("1" * len(space.backbone.sites)))  # rejects images that are too small
    resources = Resources(
        cpus_per_trial=config.cpus_per_trial,
        gpus_per_trial=config.gpus_per_trial,
        concurrent=config.concurrent,
    )

    with ray_session(address=config.address, verbose=verbose) as cluster:
        plan_resources(resources, cluster)
        mode: Mode = "resume" if run else "replace" if overwrite else "new"
        if run is None:
            run = RunFolder.create(config.out, overwrite=overwrite)
        study = open_study(
            run.journal,
            run.path.resolve().name,
            config.direction,
            storage=config.storage,
            mode=mode,
        )
        record = {"space_size": str(space.size), "versions": versions(), "data": data_facts(data)}
        run.write_config(config, record)
        recorder = RunRecorder(run, config, facts)
        recorder.restart([t for t in study.trials if t.state.is_finished()])
        proposer = StudyProposer(
            study,
            space,
            references=reference_modules(space.backbone),
            spec_of=lambda placement: TrialSpec(
                backbone=config.backbone,
                width=space.backbone.width,
                placement=placement.text,
                recipe=recipe,
                seed=config.seed,
            ),
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
                    max_epochs=recipe.epochs,
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
    return SearchOutcome(run=run, ending=ending, best=best_trial(run.read_trials(), config.metric))


@dataclass(frozen=True)
class TrialFacts:
    """What is known of a placement without training it, for this backbone and data set."""

    backbone: Backbone
    data: TrainingData

    def of(self, placement: Placement) -> dict[str, Any]:
        cost = measure_complexity(
            self.backbone,
            placement,
            num_classes=self.data.num_classes,
            in_channels=self.data.in_channels,
            image_size=self.data.image_size,
        )
        return {
            "placement": placement.text,
            "ratio": ratio_text(self.backbone, placement),
            "relus": placement.kept,
            "relu_elements": cost.relu_elements,
            "params": cost.params,
            "macs": cost.macs,
        }


class RunRecorder:
    """Writes the run folder while the search runs: rows as they come, and the best so far."""

    def __init__(self, run: RunFolder, config: SearchConfig, facts: TrialFacts) -> None:
        self._run = run
        self._config = config
        self._facts = facts
        self._best: float | None = None

    def restart(self, finished: list[FrozenTrial]) -> None:
        """Write both tables from the study, which is the truth; drop what was interrupted."""
        counted = [trial for trial in finished if not was_interrupted(trial)]
        epochs = [
            {"trial": trial.number, **metrics}
            for trial in counted
            for metrics in trial.user_attrs["history"]
        ]
        self._run.start_tables([self._row(trial) for trial in counted], epochs)
        for trial in counted:
            self._keep_if_best(trial)

    def started(self, proposal: Proposal) -> None:
        """Nothing to write yet."""

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        self._run.add_epoch({"trial": number, **metrics.to_json()})

    def finished(self, trial: FrozenTrial) -> None:
        self._run.add_trial(self._row(trial))
        self._keep_if_best(trial)

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        history: list[dict[str, Any]] = trial.user_attrs["history"]
        last: Mapping[str, Any] = history[-1] if history else {}
        return {
            "trial": trial.number,
            "state": trial.state.name,
            "module": trial.user_attrs["module"],
            **self._facts.of(Placement.parse(trial.user_attrs["placement"])),
            "seed": trial.user_attrs["seed"],
            "epochs": last.get("epoch", 0),
            "val_accuracy": last.get("val_accuracy"),
            "val_loss": last.get("val_loss"),
            "train_loss": last.get("train_loss"),
            "seconds": round(sum(metrics["seconds"] for metrics in history), 3),
            "reason": trial.user_attrs.get("reason", ""),
        }

    def _keep_if_best(self, trial: FrozenTrial) -> None:
        """Export a trial to best/ when it beats all before it; the control never counts."""
        placement = Placement.parse(trial.user_attrs["placement"])
        if trial.state != TrialState.COMPLETE or placement.kept == 0 or trial.value is None:
            return
        value = trial.value if self._config.direction == "maximize" else -trial.value
        if self._best is not None and value <= self._best:
            return
        self._best = value
        if self._run.trial_weights(trial.number).is_file():
            export_trial(self._run, self._row(trial), self._run.best)


def _require_same_split(run: RunFolder, data: TrainingData) -> None:
    _, record = run.read_config()
    if record.get("data", {}).get("split_digest") != data.split_digest:
        raise InputError(
            f"data {data.name!r} give another validation split than the one that {run.path} was "
            "started with; its figures could not be compared, so restore the data or start anew"
        )
