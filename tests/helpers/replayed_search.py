"""`run_search` and `resume_search` on recorded curves: no Ray, no training."""

from __future__ import annotations

from contextlib import nullcontext

from helpers.replay import RECIPE, drive, metrics

OPTIONS = {"backbone": "plain-8", "width": 4, "epochs": RECIPE.epochs, "train_limit": 20}


def replay_searches(monkeypatch, **how):
    """Let searches train nothing from now on; `how` is for `drive`."""

    def trials(config, proposer, data, **_):
        drive(proposer, **how)

    monkeypatch.setattr("trials.on_ray.session.ray_session", lambda **_: nullcontext([{"CPU": 1}]))
    monkeypatch.setattr("relu_search.search.run_search.run_search_trials", trials)


def cut_off_in_a_trial(config, proposer, data, **_):
    """Two whole trials, and one that ends after its first epoch with the process."""
    drive(proposer, limit=2)
    proposal = proposer.propose()
    proposer.observe(proposal.number, metrics(proposal.spec.placement.text, 1))
