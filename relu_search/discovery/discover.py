"""From data to a model with a verdict: one command, one budget.

1. Search in a share of the budget (`division`).
2. Confirm the finds against the hand-designed modules, on fresh seeds, in the rest of it.
3. Export the confirmed winner, or paired if nothing is better (`winner`), and write the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from relu_search.budget.plan import Plan, TooShortError
from relu_search.confirmation.arms import choose_arms
from relu_search.confirmation.confirm import confirm
from relu_search.discovery.division import SEARCH_SHARE, Division
from relu_search.discovery.winner import Winner, answer_lines, export_winner
from relu_search.report.run_report import write_report
from relu_search.run_folder.folder import DISCOVERY, RunFolder
from relu_search.search.resuming import changed_config, says_what_is_safe
from relu_search.search.run_search import SearchOutcome, resume_search, run_search
from relu_search.settings.machines import Machines
from relu_search.settings.resolved_config import ResolvedConfig
from relu_search.settings.search_config import SearchConfig
from relu_search.trackers.listener import SearchListener
from search_spaces import InputError
from search_spaces.errors import require_type
from trials.files.paths import user_path
from trials.running.devices import Say

Phase = Literal["search", "confirmation"]


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """How a discovery ended.

    Attributes:
        run: its folder, which contains all results.
        ending: `complete`; `interrupted`: the next call goes on; `nothing found`: the search has
            no best placement, so nothing was confirmed.
        verdicts: rows of `verdict.csv`; empty if the budget was too small for any.
        winner: the model; None: there is none yet.
        answer: in sentences.
    """

    run: RunFolder
    ending: Literal["complete", "interrupted", "nothing found"]
    verdicts: list[dict[str, Any]]
    winner: Winner | None
    answer: list[str]


@dataclass(frozen=True, kw_only=True)
class Watchers:
    """Who is told of the progress of a discovery.

    Attributes:
        begun: is told the run folder and what begins in it.
        listeners: are told what happens in the search.
        say: is told each line of progress.
    """

    begun: Callable[[RunFolder, Phase], None] = lambda _run, _phase: None
    listeners: Sequence[SearchListener] = ()
    say: Say = lambda _line: None


def begun_in(out: str | None) -> bool:
    """Whether this folder holds a run that `discover` has begun."""
    folder = None if out is None else user_path(out)
    return folder is not None and (folder / DISCOVERY).is_file() and RunFolder(folder).is_run()


def discover(
    config: SearchConfig,
    *,
    top: int | None = None,
    test: Any = None,
    overwrite: bool = False,
    dashboard: bool = False,
    verbose: bool = False,
    watchers: Watchers | None = None,
    since: float | None = None,
) -> Discovery:
    """Search, confirm and export, within one budget.

    ```python
    discover(SearchConfig(time_budget="30m", out="runs/first")).answer
    ```

    Args:
        config: as of a search. `trials` counts the trainings of search and confirmation together,
            `time_budget` is the time of both.
        top: number of found placements that are confirmed; None: 3.
        test: the test split of data that were given in Python, as in `confirm`.
        overwrite: replace an earlier run folder.
        dashboard: as in `run_search`.
        verbose: as in `run_search`.
        watchers: who is told of the progress; None: nobody.
        since: as in `run_search`.

    Raises:
        InputError: bad input, data without a test split, or a budget that is too small; nothing was
            written.
    """
    require_type("config", config, SearchConfig, "a SearchConfig")
    division = Division.of(config, top)
    if config.resolve().given is not None and test is None:
        raise InputError("data that are given in Python need their test split; give it with test=")
    watchers = watchers or Watchers()

    def planned(run: RunFolder, plan: Plan | None) -> None:
        division.write(run)
        if plan is not None:
            watchers.say(division.outlook(plan))

    searched = replace(config, **division.for_search())
    try:
        outcome = run_search(
            searched,
            overwrite=overwrite,
            dashboard=dashboard,
            verbose=verbose,
            listeners=watchers.listeners,
            begun=lambda run: watchers.begun(run, "search"),
            planned=planned,
            needs_test=True,
            since=since,
        )
    except TooShortError as error:
        raise error.of_part(str(division.time_budget), SEARCH_SHARE) from None
    return _after_search(outcome, division, watchers, test=test, verbose=verbose)


def resume_discovery(
    folder: str | Path,
    *,
    top: int | None = None,
    trials: int | None = None,
    time_budget: str | None = None,
    test: Any = None,
    dashboard: bool = False,
    verbose: bool = False,
    watchers: Watchers | None = None,
    since: float | None = None,
    **changes: Any,
) -> Discovery:
    """Go on with an interrupted discovery, or give one a larger budget.

    ```python
    resume_discovery("runs/first", time_budget="2h")
    ```

    Args:
        folder: of the run.
        top: as it was; None: the same.
        trials: of the whole budget, if it is raised.
        time_budget: the whole budget, if it is raised.
        test: as in `discover`, given again.
        dashboard: as in `discover`.
        verbose: as in `discover`.
        watchers: as in `discover`.
        since: as in `run_search`.
        changes: as in `resume_search`.

    Raises:
        InputError: a run that `discover` has not begun, or a change that `resume_search` refuses.
    """
    run = RunFolder.open(folder)
    watchers = watchers or Watchers()
    division = Division.read(run)
    if top not in (None, division.top):
        raise InputError(f"top is {top}; {run.path} was begun with {division.top}: omit --top")
    division = division.raised(trials, time_budget)
    if division.seeds is None:
        parts = {n: v for n, v in division.for_search().items() if v is not None}
        config = changed_config(run, changes | parts)
        division.write(run)
        watchers.begun(run, "search")
        outcome = resume_search(
            folder,
            dashboard=dashboard,
            verbose=verbose,
            listeners=watchers.listeners,
            since=since,
            **changes | parts,
        )
        return _after_search(outcome, division, watchers, test=test, verbose=verbose)
    config = changed_config(run, changes)
    return _confirmed(run, config, division, watchers, test=test, verbose=verbose, since=since)


def _after_search(
    outcome: SearchOutcome, division: Division, watchers: Watchers, *, test: Any, verbose: bool
) -> Discovery:
    """Confirm what a search has found, if it has ended and found anything."""
    run = outcome.run
    if outcome.ending == "interrupted" or outcome.best_trial is None:
        ending: Literal["interrupted", "nothing found"] = "nothing found"
        if outcome.ending == "interrupted":
            ending = "interrupted"
        return Discovery(run=run, ending=ending, verdicts=[], winner=None, answer=[])
    code = run.read_config()[0].network.code
    config = run.read_config(code)[0]
    return _confirmed(run, config, division, watchers, test=test, verbose=verbose)


def _confirmed(
    run: RunFolder,
    config: ResolvedConfig,
    division: Division,
    watchers: Watchers,
    *,
    test: Any,
    verbose: bool,
    since: float | None = None,
) -> Discovery:
    arms = choose_arms(run, top=division.top, modules=None)
    division = division.after_search(run, len(arms))
    division.write(run)
    assert division.seeds is not None
    watchers.begun(run, "confirmation")
    with says_what_is_safe(run, config):
        outcome = confirm(
            run.path,
            top=division.top,
            seeds=division.seeds,
            time_budget=division.for_confirmation(run),
            since=since,
            data=config.given or config.data,
            data_dir=config.data_dir,
            weights=config.weights,
            test=test,
            backbone=config.network.code,
            compute=replace(Machines.of(config), verbose=verbose),
            report=watchers.say,
        )
        if outcome.ending == "interrupted":
            return Discovery(run=run, ending="interrupted", verdicts=[], winner=None, answer=[])
        verdicts = outcome.verdicts
        winner = export_winner(run, config, verdicts, watchers.say)
        if config.report:
            write_report(run)
    answer = answer_lines(verdicts, winner)
    return Discovery(run=run, ending="complete", verdicts=verdicts, winner=winner, answer=answer)
