"""A real cluster of Ray nodes on one machine, of which nodes die in mid run."""

from __future__ import annotations

import os

import pytest
from helpers.killing import SEARCH, Run, lines, results, running
from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def cluster():
    """A head that trains nothing, and two nodes for one trial each."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.nodes_by_name = {name: made.add_node(num_cpus=1) for name in ("a", "b")}
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_the_loss_of_nodes_loses_nothing(cluster, tmp_path):
    """Both nodes die, one after the other, so that one of them had the running trial."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    code, text = Run(*SEARCH, "--out", whole).finish()
    assert code == 0, text
    options = ("--address", cluster.address, "--max-failures", "9")
    with running(*SEARCH, "--out", folder, *options) as run:
        assert run.wait_for(lambda: lines(folder / "epochs.csv") >= 4), run.finish()
        cluster.remove_node(cluster.nodes_by_name["a"], allow_graceful=False)
        goal = lines(folder / "epochs.csv") + 3
        assert run.wait_for(lambda: lines(folder / "epochs.csv") >= goal), run.finish()
        cluster.add_node(num_cpus=1)
        cluster.remove_node(cluster.nodes_by_name["b"], allow_graceful=False)
        code, text = run.finish()
    assert code == 0, text
    assert results(folder) == results(whole)


def test_without_restarts_the_trials_of_a_lost_node_fail_and_the_search_goes_on(cluster, tmp_path):
    folder = tmp_path / "run"
    search = ("search", "--backbone", "plain-8", "--width", "4", "--trials", "12")
    long_trials = ("--epochs", "30", "--grace-epochs", "30", "--train-limit", "1000")
    options = ("--concurrent", "2", "--address", cluster.address, "--max-failures", "0")
    with running(*search, *long_trials, "--out", folder, *options) as run:
        assert run.wait_for(lambda: lines(folder / "epochs.csv") >= 4), run.finish()
        cluster.remove_node(cluster.nodes_by_name["a"], allow_graceful=False)
        code, text = run.finish()
    assert code == 0, text
    trials, _ = results(folder)
    failed = [row for row in trials if row["state"] == "FAIL"]
    assert len(trials) == 12
    assert 1 <= len(failed) <= 2
    assert all("worker process died" in row["reason"] for row in failed)
    assert os.path.exists(folder / "best" / "card.json")
