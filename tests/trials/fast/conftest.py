"""CUDA graphs without CUDA."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trials.fast.cuda_graphs import Replay, ReplayedEpoch


@pytest.fixture
def records(monkeypatch):
    """What every call of every step was, in order: `eager`, `record` or `replay`.

    On any device each `ReplayedEpoch` believes that it is captured. A replay calls the function.
    """
    calls = []

    def warm_up(replay):
        calls.append("eager")
        replay._function()

    def record(replay):
        def start():
            calls.append("replay")
            replay._function()

        calls.append("record")
        return SimpleNamespace(replay=start)

    make = ReplayedEpoch.__init__
    monkeypatch.setattr(Replay, "_warm_up", warm_up)
    monkeypatch.setattr(Replay, "_record", record)
    monkeypatch.setattr(
        ReplayedEpoch, "__init__", lambda *args, **how: make(*args, **{**how, "captured": True})
    )
    return calls
