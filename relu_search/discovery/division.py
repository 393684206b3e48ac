"""How one budget is divided between a search and its confirmation. Writes `discover.toml`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import tomli_w

from relu_search.budget.plan import TOP, Plan
from relu_search.run_folder.folder import DISCOVERY, RunFolder
from relu_search.run_folder.time_spent import time_spent
from relu_search.settings.limits import duration_text, seconds_of
from relu_search.settings.option_files import read_toml
from relu_search.settings.option_groups.budget_options import DEFAULT_TRIALS, MOST_TRIALS
from relu_search.settings.search_config import SearchConfig
from relu_search.statistics.paired_tests import FEWEST_SEEDS
from search_spaces import InputError
from search_spaces.errors import shown
from trials.files.durable import write_whole

SEARCH_SHARE = 0.3
"""Share of the budget that the search gets, see benchmarks/discover.md."""
MOST_SEEDS = 30
"""Seeds of the confirmation, at most; what they leave of a budget is not used."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """One budget for a search and its confirmation.

    Attributes:
        trials: trainings of both together; None: only time limits them.
        time_budget: of both together, such as `2h`; None: there is no limit.
        top: found placements that are confirmed.
        arms: placements that are confirmed, at most: these and the hand-designed ones.
        seeds: of the confirmation; None: the search has not ended.
    """

    trials: int | None
    time_budget: str | None
    top: int
    arms: int
    seeds: int | None = None

    @classmethod
    def of(cls, typed: SearchConfig, top: int | None = None) -> Division:
        """The division of the budget of these options.

        Raises:
            InputError: the budget is too small, or the options have several objectives.
        """
        if typed.objective is not None or typed.at_least_accuracy is not None:
            raise InputError(
                "discover looks for the most accurate placement, and takes no objective and no "
                "at_least_accuracy; with them, use relu-search search and then confirm"
            )
        top = TOP if top is None else top
        if type(top) is not int or top < 1:
            raise InputError(f"top is {shown(top)}; it must be at least 1")
        config = typed.resolve()
        arms = len({**config.references, **config.own_placements}) + top
        trials = typed.trials
        if trials is None and typed.time_budget is None:
            trials = DEFAULT_TRIALS + arms * FEWEST_SEEDS
        made = cls(trials=trials, time_budget=typed.time_budget, top=top, arms=arms)
        made.require_enough()
        return made

    def require_enough(self) -> None:
        """Check that the search may train something beside the hand-designed modules.

        Raises:
            InputError: it may not.
        """
        least = self.arms * FEWEST_SEEDS + self.arms - self.top + 1
        if self.trials is not None and self.trials < least:
            raise InputError(
                f"trials is {self.trials}; discover needs at least {least}: a confirmation of "
                f"{self.arms} placements on {FEWEST_SEEDS} seeds, and a search that tries more "
                "than the hand-designed modules"
            )

    def for_search(self) -> dict[str, Any]:
        """The options of the budget of the search."""
        parts: dict[str, Any] = {"trials": None, "time_budget": None}
        if self.trials is not None:
            most = self.trials - self.arms * FEWEST_SEEDS
            parts["trials"] = min(most, math.floor(SEARCH_SHARE * self.trials))
        if self.time_budget is not None:
            parts["time_budget"] = _text(SEARCH_SHARE * self._seconds)
        return parts

    def for_confirmation(self, run: RunFolder) -> str | None:
        """The time budget of the confirmation: what the search has left of the whole."""
        if self.time_budget is None:
            return None
        return _text(max(1.0, self._seconds - time_spent(run.path, "search")))

    def outlook(self, plan: Plan) -> str:
        """What the confirmation may do in its time, by the estimate of the search."""
        seconds = (1 - SEARCH_SHARE) * self._seconds
        fits = int(plan.trials_in(seconds) / self.arms)
        line = f"the confirmation has {duration_text(seconds)} more"
        if fits >= FEWEST_SEEDS:
            return f"{line}: {min(fits, MOST_SEEDS)} seeds of {self.arms} placements"
        needed = plan.seconds_for(self.arms * FEWEST_SEEDS) / (1 - SEARCH_SHARE)
        return (
            f"WARNING: {line}: {fits} seeds of {self.arms} placements, and a verdict needs "
            f"{FEWEST_SEEDS}; a time budget of {duration_text(needed)} would do"
        )

    def after_search(self, run: RunFolder, arms: int) -> Division:
        """The same with the number of seeds that the rest of the budget allows.

        Args:
            run: whose search has ended.
            arms: placements that will be confirmed.
        """
        trials = run.read_trials()
        fits: float = MOST_SEEDS
        if self.trials is not None:
            fits = min(fits, (self.trials - len(trials)) // arms)
        if self.time_budget is not None:
            whole = trials.loc[trials["state"] == "COMPLETE", "seconds"].astype(float)
            at_once = run.read_config()[1].get("estimate", {}).get("at_once", 1)
            left = self._seconds - time_spent(run.path, "search")
            fits = min(fits, left * at_once / (arms * max(whole.mean(), 1e-3)))
        return replace(self, seeds=max(FEWEST_SEEDS, self.seeds or 0, int(fits)))

    def raised(self, trials: int | None, time_budget: str | None) -> Division:
        """The same with a larger budget; None: as it is.

        Raises:
            InputError: a smaller budget, or one of another kind.
        """
        for name, old, new in (
            ("trials", self.trials, trials),
            ("time-budget", self.time_budget, time_budget),
        ):
            if new is not None and (old is None or _number(new) < _number(old)):
                has = f"the {old}" if old is not None else "no limit, that"
                raise InputError(
                    f"--{name} {new} is less than {has} of the run; a budget can only be raised"
                )
        if trials is not None and trials > MOST_TRIALS:
            raise InputError(f"trials is {trials}; it must be at most {MOST_TRIALS}")
        return replace(
            self, trials=trials or self.trials, time_budget=time_budget or self.time_budget
        )

    def write(self, run: RunFolder) -> None:
        """Write `discover.toml`."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        write_whole(run.path / DISCOVERY, tomli_w.dumps(values))

    @classmethod
    def read(cls, run: RunFolder) -> Division:
        """What `write` has written.

        Raises:
            InputError: the run was not begun by discover, or the file is damaged.
        """
        file = run.path / DISCOVERY
        if not file.is_file():
            raise InputError(
                f"{run.path} was not begun by discover: it has no {DISCOVERY}; go on with "
                f"relu-search search --resume {run.path}, then confirm {run.path}"
            )
        values: Mapping[str, Any] = read_toml(file)
        types = {"trials": int, "time_budget": str, "top": int, "arms": int, "seeds": int}
        is_whole = {"top", "arms"} <= values.keys() <= types.keys()
        if not is_whole or any(
            type(value) is not types[name] or value in (0, "") for name, value in values.items()
        ):
            raise InputError(
                f"{file} is damaged; restore it, or go on with relu-search confirm {run.path}"
            )
        return cls(**{"trials": None, "time_budget": None, **values})

    @property
    def _seconds(self) -> float:
        assert self.time_budget is not None
        return seconds_of(self.time_budget, "time budget")


def _number(budget: int | str) -> float:
    return budget if isinstance(budget, int) else seconds_of(budget, "time budget")


def _text(seconds: float) -> str:
    """A time as an option takes it: `90m`, `75s`."""
    whole = max(1, round(seconds))
    return f"{whole}s" if whole % 60 else f"{whole // 60}m"
