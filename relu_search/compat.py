"""Private interfaces of other libraries that this package needs, all in one place.

A new version of a library may change them without notice. `tests/relu_search/test_compat.py` has
one test for each, which names what broke.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.storages.journal import BaseJournalBackend
    from optuna.trial import FrozenTrial

JOURNAL_LOCK = ".lock"
"""What Optuna appends to the name of a journal file for its lock (`JournalFileSymlinkLock`)."""
_ENQUEUED = "fixed_params"
_SLIP = 0.85
"""Least similarity (`difflib`) of an option that is suggested for a mistyped one."""


def reopened_trial(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A running trial of an earlier process, to report to and to finish.

    Optuna has no public way from a `FrozenTrial` to its `Trial`: this uses
    `FrozenTrial._trial_id`.
    """
    import optuna

    return optuna.Trial(study, trial._trial_id)


def journal_of(study: optuna.Study) -> BaseJournalBackend | None:
    """The journal that a study is stored in; None for a study in another storage.

    Uses `Study._storage` and `JournalStorage._backend`.
    """
    from optuna.storages import JournalStorage

    storage = study._storage
    return storage._backend if isinstance(storage, JournalStorage) else None


def enqueued_choices(trial: FrozenTrial) -> dict[str, Any] | None:
    """The choices of a trial that was enqueued; None for one that the sampler proposed.

    `Study.enqueue_trial` keeps them in the system attribute `fixed_params`.
    """
    return trial.system_attrs.get(_ENQUEUED)


def usage_error_text(error: Any) -> str:
    """What an error of `usage_error_class` says is wrong; empty if it says nothing.

    For an unknown option, Typer suggests options that share a few letters with it. Here only
    options are suggested that it may be a slip of, as `--trial` of `--trials`. Uses `option_name`
    and `ctx.command.params` of the class `NoSuchOption`.
    """
    if type(error).__name__ != "NoSuchOption" or error.ctx is None:
        return error.format_message()
    typed = error.option_name
    if not typed.startswith("--"):
        return f"No such option: {typed}; options begin with two dashes"
    known = [name for one in error.ctx.command.params for name in (*one.opts, *one.secondary_opts)]
    alike = difflib.get_close_matches(typed, known, n=2, cutoff=_SLIP)
    question = f"; did you mean {' or '.join(alike)}?" if alike else ""
    return f"No such option: {typed}{question}"


def usage_error_class() -> Any:
    """The base class of Typer's errors about a command line, with `format_message()`.

    Typer does not export it; it is the class `ClickException` among the bases of
    `typer.BadParameter`.
    """
    import typer

    return next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
