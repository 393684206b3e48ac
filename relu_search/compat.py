"""Private interfaces of other libraries that this package needs, all in one place.

A new version of a library may change them without notice. `tests/relu_search/test_compat.py` has
one test for each, which names what broke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.storages.journal import BaseJournalBackend
    from optuna.trial import FrozenTrial

JOURNAL_LOCK = ".lock"
"""What Optuna appends to the name of a journal file for its lock (`JournalFileSymlinkLock`)."""
_ENQUEUED = "fixed_params"


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


def usage_error_class() -> Any:
    """The base class of Typer's errors about a command line, with `format_message()`.

    Typer does not export it; it is the class `ClickException` among the bases of
    `typer.BadParameter`.
    """
    import typer

    return next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
