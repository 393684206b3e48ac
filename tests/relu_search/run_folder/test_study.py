"""Studies by name, in a journal or a database."""

from __future__ import annotations

import optuna
import pytest

from relu_search.run_folder.study import has_study, new_study_name, open_study
from search_spaces import InputError


def test_a_new_study_must_not_exist_and_a_resumed_one_must(tmp_path):
    journal, url = tmp_path / "study.journal", f"sqlite:///{tmp_path}/study.db"
    for storage in (None, url):
        with pytest.raises(InputError, match=r"no study 'a'|study.db does not exist"):
            open_study(journal, "a", ["maximize"], storage=storage, resume=True)
        open_study(journal, "a", ["maximize"], storage=storage)
        with pytest.raises(InputError, match="already has a study 'a'"):
            open_study(journal, "a", ["maximize"], storage=storage)
        resumed = open_study(journal, "a", ["maximize"], storage=storage, resume=True)
        resumed.add_trial(optuna.trial.create_trial(value=1.0))
        assert len(open_study(journal, "a", ["maximize"], storage=storage, resume=True).trials) == 1


def test_runs_of_one_name_have_studies_of_their_own(tmp_path):
    names = {new_study_name(tmp_path / "a") for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("a-") for name in names)


def test_a_run_cut_off_before_its_study_was_made_is_no_damage(tmp_path):
    journal = tmp_path / "study.journal"
    assert not has_study(journal, "a")
    journal.write_bytes(b"")
    assert not has_study(journal, "a")
    open_study(journal, "b", ["maximize"])
    assert not has_study(journal, "a")
    assert has_study(journal, "b")
    journal.write_bytes(b"nonsense\n")
    with pytest.raises(InputError, match="damaged at line 1"):
        has_study(journal, "b")
