"""`--pack` and `--compiled`: searches end to end, what they refuse, what they record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relu_search import SearchConfig, load_exported, resume_search, run_search
from relu_search.search import back_ends
from relu_search.search.back_ends import with_pack_chosen
from search_spaces import InputError
from trials.fast import packing

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
    assert set(trials["state"]) == {"COMPLETE", "PRUNED"}
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
    assert set(trials["state"]) == {"COMPLETE", "PRUNED"}
    assert set(trials["back_end"]) == {"compiled"}


@pytest.mark.parametrize(("gain", "chosen"), [(2.0, 2), (1.01, 1)])
def test_auto_takes_the_fastest_and_says_so(monkeypatch, gain, chosen):
    rates = {1: 100.0, 2: 100 * gain, 4: 90.0}
    monkeypatch.setattr(packing, "measured_rates", lambda *_, captured: rates)
    said = []
    config = SearchConfig(**SMALL, pack="auto").resolve()
    found = with_pack_chosen(config, config.load_data(), "cpu", said.append)
    assert found == replace(config, pack=chosen)
    assert said == [
        f"pack auto: {chosen} at once in a worker (trial-steps per second, by pack: 1: 100, "
        f"2: {100 * gain:.0f}, 4: 90)"
    ]


def test_auto_measures_for_real(monkeypatch):
    monkeypatch.setattr(packing, "SIZES", (2,))
    config = SearchConfig(**SMALL, pack="auto").resolve()
    assert with_pack_chosen(config, config.load_data(), "cpu", print).pack in (1, 2)
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


def test_captured_without_a_gpu_is_refused_and_nothing_written(tmp_path):
    config = SearchConfig(**SMALL, captured=True, gpus_per_trial=0, out=str(tmp_path / "run"))
    with pytest.raises(InputError, match="needs a GPU per trial"):
        run_search(config)
    assert not (tmp_path / "run").exists()


def test_a_number_may_be_written_as_text():
    assert SearchConfig.from_options({"pack": "8"}).pack == 8


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"captured": True}], ids=str)
def test_pack_auto_that_cannot_be_measured_here_is_refused_and_nothing_written(
    options, tmp_path, monkeypatch
):
    """The workers have GPUs and this process has none."""
    module = "relu_search.search.run_search"
    monkeypatch.setattr(f"{module}._connect", lambda config, *_stack, **_options: config.resources)
    monkeypatch.setattr(f"{module}.local_device", lambda: "cpu")
    config = SearchConfig(**SMALL, **options, pack="auto", out=str(tmp_path / "run"))
    with pytest.raises(InputError, match="give a number with --pack"):
        run_search(config)
    assert not (tmp_path / "run").exists()
