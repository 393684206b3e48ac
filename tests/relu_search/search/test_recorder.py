"""The recorder: the best model after every trial, without reading back what it wrote."""

from __future__ import annotations

import optuna
import pytest
from helpers.replay import metrics
from helpers.trial_tables import noisy_losses

from relu_search import RunFolder, SearchConfig
from relu_search.analysis.leaderboard import best_trial
from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.run_folder import folder as folder_module
from relu_search.search import recorder as recorder_module
from relu_search.search.recorder import RunRecorder
from relu_search.trackers.listener import Listeners
from search_spaces import Placement

CONFIG = SearchConfig(backbone="plain-8", width=4, granularity="site").resolve()
NOBODY = Listeners([], print)
FACTS = PlacementFacts(backbone=CONFIG.network, num_classes=10, in_channels=1, image_size=(8, 8))


def finished_trials():
    """24 trials with noisy losses; some stopped early, one failed."""
    bits, losses, _ = noisy_losses(7, count=24)
    for number, (text, loss) in enumerate(zip(bits, losses, strict=True)):
        placement = Placement(text).text
        epoch = {**metrics(placement, 1).to_json(), "val_loss": float(loss)}
        state = "FAIL" if number == 3 else "PRUNED" if number % 5 == 4 else "COMPLETE"
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState[state],
            value=float(loss) if state == "COMPLETE" else None,
            user_attrs={"placement": placement, "module": "", "seed": 0, "history": [epoch]},
        )
        trial.number = number
        yield trial


@pytest.mark.parametrize("earlier", [0, 10], ids=["new", "resumed"])
def test_each_new_best_trial_is_exported_and_no_table_is_read(earlier, tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    trials, exported = list(finished_trials()), []
    monkeypatch.setattr(
        recorder_module,
        "export_trial",
        lambda _run, _config, row, _out: exported.append(row["trial"]),
    )
    run.weights.mkdir()
    for trial in trials:
        run.trial_weights(trial.number).touch()
    recorder = RunRecorder(run, CONFIG, FACTS, NOBODY)
    recorder.restart(trials[:earlier])

    def no_reading(path):
        pytest.fail(f"{path} was read")

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "read_table", no_reading)
        for trial in trials[earlier:]:
            recorder.finished(trial)
    table, expected = run.read_trials(), []
    assert len(table) == len(trials)
    for count in range(max(1, earlier), len(table) + 1):
        best = best_trial(table[:count], CONFIG)
        if best is not None and expected[-1:] != [best["trial"]]:
            expected.append(best["trial"])
    assert exported == expected
    assert len(set(expected)) >= 2
    assert recorder.best_trial == best_trial(table, CONFIG)


def test_a_best_trial_whose_weights_are_elsewhere_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "export_trial", lambda *_: pytest.fail("exported"))
    recorder = RunRecorder(RunFolder(tmp_path), CONFIG, FACTS, NOBODY)
    recorder.restart(list(finished_trials()))
    assert recorder.best_trial is not None
