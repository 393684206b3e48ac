"""Canaries: each fails, and says what broke, when a library changes a private interface."""

from __future__ import annotations

import optuna
import pytest
import typer
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileSymlinkLock
from optuna.trial import TrialState

from relu_search.compat import (
    JOURNAL_LOCK,
    enqueued_choices,
    journal_of,
    reopened_trial,
    usage_error_class,
    usage_error_text,
)
from relu_search.run_folder.journal import GroupingJournal

CHOICES = {"stage1": CategoricalDistribution(("0", "1"))}


@pytest.fixture
def journal(tmp_path):
    return GroupingJournal(tmp_path / "study.journal")


@pytest.fixture
def study(journal):
    return optuna.create_study(storage=JournalStorage(journal))


def test_a_running_trial_can_be_reopened_by_its_frozen_trial(study):
    study.ask(CHOICES)
    broke = "optuna: FrozenTrial._trial_id or Trial(study, id) changed; see compat.reopened_trial"
    (frozen,) = study.get_trials()
    try:
        reopened = reopened_trial(study, frozen)
        reopened.set_user_attr("seen", True)
        study.tell(reopened, 1.0)
    except (AttributeError, TypeError) as error:
        pytest.fail(f"{broke} ({error})")
    (told,) = study.get_trials()
    assert (told.state, told.value, told.user_attrs) == (TrialState.COMPLETE, 1.0, {"seen": True})
    assert told.params == frozen.params, broke


def test_the_journal_of_a_study_is_found(study, journal):
    broke = "optuna: Study._storage or JournalStorage._backend changed; see compat.journal_of"
    try:
        found = journal_of(study)
    except AttributeError as error:
        pytest.fail(f"{broke} ({error})")
    assert found is journal, broke
    assert journal_of(optuna.create_study()) is None, broke


def test_the_choices_of_an_enqueued_trial_are_found(study):
    broke = "optuna: the system attribute fixed_params changed; see compat.enqueued_choices"
    study.enqueue_trial({"stage1": "1"})
    study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
    enqueued, other = study.get_trials()
    assert enqueued_choices(enqueued) == {"stage1": "1"}, broke
    assert enqueued_choices(other) is None, broke
    asked = study.ask(CHOICES)
    assert asked.params == {"stage1": "1"}, broke
    assert enqueued_choices(study.get_trials()[0]) == {"stage1": "1"}, broke


def test_the_lock_of_a_journal_is_a_link_of_this_name(tmp_path):
    lock = JournalFileSymlinkLock(str(tmp_path / "study.journal"))
    lock.acquire()
    try:
        names = [path.name for path in tmp_path.iterdir()]
    finally:
        lock.release()
    broke = "optuna: the name of a journal's lock file changed; see compat.JOURNAL_LOCK"
    assert names == [f"study.journal{JOURNAL_LOCK}"], broke


def test_a_journal_that_was_read_once_is_not_read_again_from_its_beginning(study, journal):
    """`GroupingJournal._learn_offsets` counts on this."""
    with journal.grouped():
        study.set_user_attr("a", 1)
    whole = journal._file.read_bytes()
    count = whole.count(b"\n")
    study.set_user_attr("b", 2)
    lines = journal._file.read_bytes().splitlines(keepends=True)
    journal._file.write_bytes(b"x" * (len(whole) - 1) + b"\n" + lines[-1])  # only the end is whole
    broke = "optuna: JournalFileBackend.read_logs no longer remembers where records begin"
    try:
        read = list(journal.read_logs(count))
    except ValueError as error:
        pytest.fail(f"{broke} ({error})")
    assert [log.get("user_attr") for log in read] == [{"b": 2}], broke


def test_typer_raises_the_usage_errors_that_the_command_line_catches():
    """Both kinds: an unknown flag, found by the parser, and a bad value, found by a type."""
    app = typer.Typer()

    @app.command()
    def verb(number: int = 0) -> None: ...

    @app.command()
    def other() -> None: ...

    for arguments, says in (
        (["verb", "--colour"], "--colour"),
        (["verb", "--number", "x"], "--number"),
    ):
        with pytest.raises(usage_error_class()) as caught:
            app(arguments, standalone_mode=False)
        assert says in caught.value.format_message()


def test_an_unknown_option_has_its_name_and_its_command():
    broke = "typer: NoSuchOption, its option_name or its ctx changed; see compat.usage_error_text"
    app = typer.Typer()

    @app.command()
    def verb(number: int = 0, loud: bool = False) -> None: ...

    for typed, says in {"--nunber": "--number", "--no-lout": "--no-loud"}.items():
        with pytest.raises(usage_error_class()) as caught:
            app([typed, "1"], standalone_mode=False)
        text = usage_error_text(caught.value)
        assert text == f"No such option: {typed}; did you mean {says}?", broke
