"""`--pack` and `--compiled`: searches end to end, what they refuse, what they record."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from relu_search import SearchConfig, load_exported, resume_search, run_search
from relu_search.search import back_ends
from relu_search.search.back_ends import with_pack_chosen
from search_spaces import InputError
from trials.running import devices
from trials.running.resources import plan_resources

SMALL = {
    "backbone": "plain-8",
    "width": 4,
    "train_limit": 100,
    "epochs": 3,
    "trials": 10,
    "concurrent": 4,
    "granularity": "site",
    "sampler": "random",
}


def test_a_packed_search_leaves_what_any_search_leaves_and_goes_on(tmp_path):
    config = SearchConfig(**SMALL, pack=4, out=str(tmp_path / "run"))
    outcome = run_search(config)
    trials = outcome.run.read_trials()
    assert outcome.ending == "budget spent"
    assert sorted(trials["trial"]) == list(range(10))
    assert set(trials["back_end"]) == {"packed 4"}
    assert set(trials["state"]) == {"COMPLETE"}  # too few trials to trust a rung
    assert len(outcome.run.read_epochs()) == trials["epochs"].sum()
    assert load_exported(outcome.run.best).placement.text == outcome.best_trial["placement"]
    more = resume_search(tmp_path / "run", trials=13, pack="auto")
    assert sorted(more.run.read_trials()["trial"]) == list(range(13))
    with pytest.raises(InputError, match="pack 2"):
        resume_search(tmp_path / "run", pack=2)


@pytest.mark.slow
def test_a_compiled_search_leaves_what_any_search_leaves(tmp_path):
    outcome = run_search(SearchConfig(**SMALL, compiled=True, out=str(tmp_path / "run")))
    trials = outcome.run.read_trials()
    assert set(trials["state"]) == {"COMPLETE"}  # too few trials to trust a rung
    assert set(trials["back_end"]) == {"compiled"}


def here(function, *arguments, say):
    """In the place of a worker."""
    return function(*arguments, device="cpu", say=say)


@pytest.mark.parametrize(("gain", "chosen"), [(2.0, 2), (1.01, 1)])
def test_auto_takes_the_fastest_and_says_so(monkeypatch, gain, chosen):
    rates = {1: 100.0, 2: 100 * gain, 4: 90.0}
    monkeypatch.setattr(devices, "measured_rates", lambda *_, captured: rates)
    said = []
    config = SearchConfig(**SMALL, pack="auto").resolve()
    found = with_pack_chosen(config, config.load_data(), here, said.append)
    assert found == replace(config, pack=chosen)
    assert said == [
        f"pack auto: {chosen} at once in a worker (trial-steps per second, by pack: 1: 100, "
        f"2: {100 * gain:.0f}, 4: 90)"
    ]


def test_auto_measures_for_real(monkeypatch):
    monkeypatch.setattr(devices, "SIZES", (2,))
    config = SearchConfig(**SMALL, pack="auto").resolve()
    assert with_pack_chosen(config, config.load_data(), here, print).pack in (1, 2)
    assert back_ends.WORTH_PACKING > 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pack": 0}, "pack is 0; it must be at least 1"),
        ({"pack": "many"}, "auto or a whole number"),
        ({"pack": 4, "compiled": True}, "exclude each other"),
        ({"captured": True, "activation": "prelu"}, "leave out --pack, --compiled and --captured"),
        ({"pack": 4, "norm": "drop"}, "keep the norms"),
        ({"compiled": True, "search_norm": True}, "keep the norms"),
        ({"pack": 4, "activation": "prelu"}, "leaky_relu"),
        ({"pack": 4, "exchange": "/tmp/x"}, "exclude each other"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(options, words):
    with pytest.raises(InputError, match=words) as caught:
        SearchConfig(**options)
    assert "\n" not in str(caught.value)


def test_back_ends_have_names():
    found = [
        SearchConfig(**options).resolve().back_end
        for options in (
            {},
            {"pack": 8},
            {"captured": True},
            {"compiled": True, "captured": True},
            {"pack": 8, "captured": True},
        )
    ]
    assert found == ["eager", "packed 8", "captured", "compiled captured", "packed 8 captured"]


@pytest.mark.parametrize("options", [{"precision": "tf32"}, {"captured": True}], ids=str)
def test_what_needs_a_gpu_per_trial_is_refused_without_and_nothing_written(options, tmp_path):
    config = SearchConfig(**SMALL, **options, gpus_per_trial=0, out=str(tmp_path / "run"))
    with pytest.raises(InputError, match="needs a GPU per trial"):
        run_search(config)
    assert not (tmp_path / "run").exists()


def test_a_number_may_be_written_as_text():
    assert SearchConfig.from_options({"pack": "8"}).pack == 8


@pytest.mark.parametrize(
    ("gpus", "device", "share"), [(None, "cuda", 0.25), (0, "cpu", 0), ("auto", "cuda", 0.5)]
)
def test_what_is_measured_is_measured_in_workers_with_the_resources_of_a_trial(
    gpus, device, share, tmp_path, monkeypatch
):
    """Packs and supernet: the driver has a GPU, but computes nothing on it."""
    asked = []

    def call(resources, function, *arguments, say):
        asked.append((function.__name__, resources["gpu"]))
        return {"_rates": {1: 1.0, 2: 2.0}, "measured_memory": (4, 10)}.get(
            function.__name__, ([], "it is a stand-in")
        )

    nodes = [{"CPU": 8, "GPU": 1}]
    monkeypatch.setattr("trials.on_ray.session.ray_session", lambda **_: nullcontext(nodes))
    monkeypatch.setattr("trials.on_ray.one_worker.call_in_worker", call)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    trained_on = {}
    monkeypatch.setattr(
        "relu_search.search.run_search.run_search_trials", lambda *_, **how: trained_on.update(how)
    )
    run_search(
        SearchConfig(
            **SMALL,
            pack="auto",
            warm_start="supernet",
            gpus_per_trial=gpus,
            out=str(tmp_path / "run"),
        )
    )
    whole = 1 if gpus == "auto" else share
    memory = [("measured_memory", 1)] if gpus == "auto" else []
    assert asked == [("_rates", whole), *memory, ("_ranking", share)]
    found, _ = plan_resources(trained_on["resources"], nodes)
    assert found["gpu"] == share
    assert trained_on["resources"].concurrent == SMALL["concurrent"]

    before = len(asked)
    resume_search(tmp_path / "run")
    assert asked[before:] == memory, "only what depends on the machines is measured again"
