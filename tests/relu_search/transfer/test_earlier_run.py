"""What a search takes from an earlier run: made-up runs on the digits."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.judging import OPTIONS, TRIALS, make_search

from relu_search import RunFolder, SearchConfig
from relu_search.export.from_run import data_facts
from relu_search.samplers.gp_model import Surrogate
from relu_search.samplers.gp_sampler import SurrogateSampler
from relu_search.samplers.study_arrays import Prior, StudyArrays
from relu_search.transfer.earlier_run import TRIED_FIRST, Transfer, transfer_from
from search_spaces import InputError, Placement

FULL = [trial for trial in TRIALS if trial[0] == "COMPLETE"]


@pytest.fixture
def earlier(tmp_path):
    return made(tmp_path / "earlier")


def made(path, **options):
    """A made-up run with the true facts of its data."""
    run = RunFolder(make_search(path, **options))
    config, record = run.read_config()
    run.write_config(config, record | {"data": data_facts(config.load_data())})
    return path


def taken(earlier, **changes):
    """What a search with these options takes, beside the facts of its data."""
    config = SearchConfig(**{**OPTIONS, "earlier": str(earlier), **changes}).resolve()
    data = config.load_data()
    return transfer_from(config, data_facts(data), config.search_space()), config


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_training_gives_placements_and_data_whatever_the_seed(earlier, seed):
    transfer, config = taken(earlier, seed=seed)
    assert [p.text for p in transfer.first] == ["0+1*5", "1*5+0"]  # found ones, best first
    prior = transfer.prior(config, config.search_space())
    # A unit is a site; its choices are 0 and 1.
    bits = [list(map(int, Placement.parse(text).bits)) for _, _, text, _ in FULL]
    assert prior.points.tolist() == bits
    assert prior.scores.tolist() == [accuracy for *_, accuracy in FULL]
    assert "its 5 full-length trials, trained the same way, are data of the model" in (
        transfer.sentence
    )


def test_losses_become_logarithms(earlier):
    transfer, config = taken(earlier, metric="val_loss")
    assert transfer.prior(config, config.search_space()).scores == pytest.approx(np.zeros(5))


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"epochs": 3}, "recipe"),
        ({"learning_rate": 0.05}, "recipe"),
        ({"activation": "elu"}, "activation"),
        ({"train_limit": 90}, "data set"),
        ({"train_limit": 90, "epochs": 3}, "data set and recipe"),
        ({"augment": "crop-flip"}, "augmentation"),
        ({"pack": 2}, "back end"),
    ],
)
def test_another_training_gives_placements_only(changes, differs, earlier):
    transfer, config = taken(earlier, **changes)
    assert [p.text for p in transfer.first] == ["0+1*5", "1*5+0"]
    assert transfer.prior(config, config.search_space()) is None
    assert f"no data of the model, as it had another {differs}." in transfer.sentence


@pytest.mark.parametrize("changes", [{"backbone": "plain-14"}, {"width": 3}])
def test_another_network_gives_patterns_and_says_so(changes, earlier):
    transfer, config = taken(earlier, **changes)
    assert len(transfer.first) == 2
    assert {len(p) for p in transfer.first} == {len(config.network.sites)}
    assert transfer.prior(config, config.search_space()) is None
    assert "2 patterns of plain-8" in transfer.sentence
    assert "by relative depth" in transfer.sentence


@pytest.mark.parametrize("changes", [{"sampler": "tpe"}, {"objective": "loss,relus"}])
def test_strategies_without_a_model_get_placements_only(changes, earlier):
    transfer, config = taken(earlier, metric="val_loss", **changes)
    assert transfer.prior(config, config.search_space()) is None
    assert "no data of a model" in transfer.sentence


def test_placements_outside_the_limits_are_left_out(earlier):
    assert taken(earlier, max_relus=4)[0].first == []


def test_only_a_few_are_tried_first(tmp_path):
    many = [("COMPLETE", "", f"{n:06b}", 0.01 * n) for n in range(1, 20)]
    made(tmp_path / "many", trials=many)
    transfer, _ = taken(tmp_path / "many")
    assert len(transfer.first) == TRIED_FIRST
    assert transfer.first[0].bits == f"{19:06b}"


def test_what_was_taken_is_read_again_without_the_earlier_run(earlier, tmp_path):
    transfer, config = taken(earlier)
    run = RunFolder(tmp_path / "new")
    run.path.mkdir()
    assert Transfer.read(run).rows == []
    transfer.write(run)
    again = Transfer.read(run)
    assert again.first == transfer.first
    priors = [t.prior(config, config.search_space()) for t in (transfer, again)]
    assert (priors[0].points == priors[1].points).all()
    assert (priors[0].scores == priors[1].scores).all()


def test_the_same_seed_counts_earlier_trainings_so_that_none_is_repeated(earlier):
    transfer, _ = taken(earlier)
    assert transfer.repeats(0) == dict.fromkeys((text for _, _, text, _ in FULL), 1)
    assert transfer.repeats(1) == {}


def test_a_run_without_full_length_trials_is_refused(tmp_path):
    make_search(tmp_path / "none", trials=[("PRUNED", "", "1*4+00", 0.9)])
    with pytest.raises(InputError, match="has no trial of full length yet"):
        taken(tmp_path / "none")
    with pytest.raises(InputError, match="is not a run folder"):
        taken(tmp_path / "missing")


def test_the_model_is_fitted_to_the_earlier_trials_and_the_own_ones(monkeypatch):
    seen = []
    fit = Surrogate.fit
    monkeypatch.setattr(
        Surrogate,
        "fit",
        lambda points, scores, noisier: (
            seen.append((points, scores, noisier)) or fit(points, scores, noisier)
        ),
    )
    prior = Prior(points=np.array([[0, 0], [0, 1], [1, 1]]), scores=np.array([3.0, 2.0, 1.0]))
    own = StudyArrays(
        points=np.array([[1, 0]]),
        scores=np.array([2.5]),
        quality=np.array([2.5]),
        costs=np.zeros((1, 0)),
        noisier=np.array([True]),
        pending=np.zeros((0, 2), dtype=np.int64),
    )
    from relu_search.samplers.choice_space import ChoiceSpace

    point = SurrogateSampler(seed=0, prior=prior)._propose(own, ChoiceSpace.free((2, 2)))
    assert point in {(a, b) for a in (0, 1) for b in (0, 1)}
    ((points, scores, noisier),) = seen
    assert points.tolist() == [[0, 0], [0, 1], [1, 1], [1, 0]]
    assert scores.tolist() == [3.0, 2.0, 1.0, 2.5]
    assert noisier.tolist() == [False, False, False, True]
