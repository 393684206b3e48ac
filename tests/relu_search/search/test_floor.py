"""A floor on accuracy: the cheapest placement above it is searched, reported and confirmed."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import optuna
import pytest
from helpers.command_line import check_refused
from helpers.judging import HERE, TRIALS, Runner, make_search, read_rows
from helpers.replay import bits_of, metrics, new_proposer

from relu_search import RunFolder, SearchConfig, confirm, resume_search, run_search
from relu_search.analysis.answer import answer_lines, answer_numbers
from relu_search.analysis.leaderboard import above_floor, best_trial, rows_of
from relu_search.confirmation.verdict_table import floor_answer
from relu_search.search.costs import Costs
from search_spaces import Placement, SearchSpace

FLOOR = 0.7
WORTH = (0.30, 0.02, 0.20, 0.01, 0.03, 0.15)
"""What each ReLU of plain-8 adds to the accuracy; three of them reach the floor."""
CHEAPEST = "101001"


def accuracy_of(bits):
    return 0.1 + sum(w for w, bit in zip(WORTH, bits, strict=True) if bit == "1")


def drive(proposer, until=None):
    """Each trial has its true accuracy at once; returns the bits in the order of the trials."""
    tried = []
    while until not in tried and (proposal := proposer.propose()) is not None:
        tried.append(bits_of(proposal))
        for epoch in (1, 2, 3):
            value = accuracy_of(tried[-1])
            proposer.observe(
                proposal.number, replace(metrics("", 1), epoch=epoch, val_accuracy=value)
            )
        proposer.conclude(proposal.number, None)
    return tried


def proposer_with_floor(sampler, trials, study=None, **options):
    space = SearchSpace("plain-8", "site")
    facts = Costs(("relus",), facts=None)
    study = study or optuna.create_study(direction="minimize")
    return new_proposer(
        study,
        space,
        trials=trials,
        sampler=sampler,
        costs_of=facts.of,
        site_costs=[[1.0] * 6],
        floor=FLOOR,
        **options,
    )


SAMPLERS = ("gp", "tpe", "nsga2", "local", "greedy", "evolution", "reinforce", "random", "grid")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_minimises_the_cost_and_knows_the_floor(sampler):
    study = optuna.create_study(direction="minimize")
    tried = drive(proposer_with_floor(sampler, 24, study))
    assert [trial.values for trial in study.trials] == [[bits.count("1")] for bits in tried]
    assert [trial.user_attrs["costs"] for trial in study.trials] == [t.values for t in study.trials]
    constraints = [trial.system_attrs.get("constraints") for trial in study.trials]
    if sampler in ("tpe", "nsga2"):
        expected = [pytest.approx(FLOOR - accuracy_of(bits)) for bits in tried]
        assert [value for (value,) in constraints] == expected
    else:
        assert set(constraints) == {None}


def test_gp_finds_the_cheapest_placement_above_the_floor_before_random_does():
    """Mean number of trials over six seeds; every placement has one true accuracy."""

    def needed(sampler):
        proposers = [proposer_with_floor(sampler, 64, seed=seed) for seed in range(6)]
        return fmean(len(drive(proposer, until=CHEAPEST)) for proposer in proposers)

    above = [f"{n:06b}" for n in range(64) if accuracy_of(f"{n:06b}") >= FLOOR]
    assert min(above, key=lambda bits: bits.count("1")) == CHEAPEST
    assert needed("gp") < 0.6 * needed("random")


def test_an_interrupted_search_goes_on_with_the_same_proposals():
    whole = drive(proposer_with_floor("gp", 20))
    study = optuna.create_study(direction="minimize")
    first = drive(proposer_with_floor("gp", 9, study, seed=0))
    assert first == whole[:9]
    assert drive(proposer_with_floor("gp", 20, study)) == whole[9:]


# --- the result in words ----------------------------------------------------------------------


def searched_with_floor(path, floor, **changes):
    """`make_search` with the number of ReLUs kept as cost."""
    run = make_search(path, at_least_accuracy=floor, objective="relus", **changes)
    folder = RunFolder.open(run)
    table = folder.read_trials()
    table["relus"] = [Placement.parse(text).kept for text in table["placement"]]
    folder.start_tables(rows_of(table))
    return folder


def test_the_cheapest_above_the_floor_is_the_best(tmp_path):
    run = searched_with_floor(tmp_path / "run", 0.55)
    config, trials = run.read_config()[0], run.read_trials()
    above = [row["placement"] for row in above_floor(trials, config)]
    assert above == ["01*3", "0+1*5", "1*5+0"]  # 3, 5 and 5 ReLUs; the better of equal ones first
    assert best_trial(trials, config)["placement"] == "01*3"
    line, *_ = answer_lines(trials, run.read_epochs(), config)
    whole = [row for row in TRIALS if row[0] == "COMPLETE" and row[1] != "linear"]
    assert line.startswith(f"3 of {len(whole)} placements have at least 55.0 % validation accuracy")
    assert "The cheapest of them is 2:1 with 3 ReLUs, at 60.0 %" in line
    floor = answer_numbers(trials, config)["floor"]
    assert floor["at_least"] == 0.55
    assert [row["placement"] for row in floor["above"]] == above


def test_the_line_names_the_estimate_of_the_leaderboard(tmp_path):
    """Eight trials with the control: enough for the model, which learns from all of them."""
    more = [("COMPLETE", "", text, 0.5) for text in ("1*4+0*2", "001*2", "0*2+1*4")]
    run = searched_with_floor(tmp_path / "run", 0.3, trials=[*TRIALS, *more])
    config, trials = run.read_config()[0], run.read_trials()
    assert (trials["state"] == "COMPLETE").sum() == 8
    line, *_ = answer_lines(trials, run.read_epochs(), config)
    assert "validation accuracy (the model's estimate" in line


def test_no_placement_above_the_floor_is_said(tmp_path):
    run = searched_with_floor(tmp_path / "run", 0.9)
    config, trials = run.read_config()[0], run.read_trials()
    assert best_trial(trials, config) is None
    lines = list(answer_lines(trials, run.read_epochs(), config))
    assert lines == [
        "0 of 4 placements have at least 90.0 % validation accuracy; the highest has 70.0 %."
    ]


def test_a_confirmation_takes_the_cheapest_and_counts_the_arms_above(tmp_path, cli):
    run = searched_with_floor(tmp_path / "run", 0.55)
    truth = {"1*6": 0.9, "0+1*5": 0.6, "1*5+0": 0.2, "01*3": 0.1, "0*6": 0.1}
    runner = Runner(accuracy=lambda placement, seed: truth[placement])
    outcome = confirm(run.path, top=1, seeds=2, compute=HERE, runner=runner, racing=False)
    assert {row["placement"] for row in outcome.verdicts} == {"01*3", "0*6", "0+1*5"}
    scores = {}
    for row in read_rows(run.path / "confirm.csv"):
        scores.setdefault(row["placement"], []).append(float(row["test_accuracy"]))
    above = [placement for placement, values in scores.items() if fmean(values) >= 0.55]
    (line,) = floor_answer(run)
    assert line.startswith(f"{len(above)} of {len(scores)} placements have a mean test accuracy of")
    code, out, _ = cli("report", run.path, "--no-page")
    assert code == 0
    assert " ".join(line.split()) in " ".join(out.split())


# --- options ----------------------------------------------------------------------------------


def test_a_floor_names_its_metric_cost_and_direction():
    config = SearchConfig(at_least_accuracy=0.9).resolve()
    assert (config.metric, config.costs) == ("val_accuracy", ("relu_elements",))
    assert config.directions == ["minimize"]
    assert SearchConfig(at_least_accuracy=0.9, objective="relus").resolve().costs == ("relus",)
    again = SearchConfig.from_options(config.to_toml()).resolve()
    assert again == config


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--at-least-accuracy", "0"], "must be above 0"),
        (["--at-least-accuracy", "92"], "at least accuracy is 92.0; it must be at most 1"),
        (["--at-least-accuracy", "high"], "high"),
        (["--at-least-accuracy", "0.9", "--objective", "loss,relus"], "exclude each other"),
        (["--at-least-accuracy", "0.9", "--objective", "relus,relu_elements"], "with one cost"),
        (["--at-least-accuracy", "0.9", "--objective", "macs-after-fold"], "relu_elements or"),
    ],
)
def test_bad_values_are_one_line_and_nothing_is_written(options, says, cli, tmp_path):
    options = ["--backbone", "plain-8", "--out", tmp_path / "run", *options]
    check_refused(cli, tmp_path, ["search", *options], says)


@pytest.mark.slow
def test_a_real_search_keeps_the_cheapest_above_the_floor_as_its_best(small_config, tmp_path):
    config = small_config(
        out=str(tmp_path / "run"), at_least_accuracy=0.2, objective="relus", trials=10
    )
    outcome = run_search(config)
    run = RunFolder.open(outcome.run.path)
    above = above_floor(run.read_trials(), config.resolve())
    assert outcome.best_trial["placement"] == above[0]["placement"]
    again = resume_search(run.path, trials=12)
    assert len(run.read_trials()) == 12
    assert again.best_trial["relus"] <= outcome.best_trial["relus"]
