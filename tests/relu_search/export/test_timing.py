"""Timing: the order of the calls and the summary. No assertion about speed."""

from __future__ import annotations

from relu_search.export import timing
from relu_search.export.timing import Timing, time_side_by_side


def test_calls_take_turns_and_every_other_round_runs_backwards(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))  # each call: 1 second
    order = []
    timings = time_side_by_side({name: lambda n=name: order.append(n) for name in "abc"}, rounds=4)
    assert "".join(order) == "aaaabbbbcccc" + "abc" + "cba" + "abc" + "cba"
    assert timings == dict.fromkeys("abc", Timing(1000.0, 1000.0, 1000.0, 4))


def test_faster_means_that_the_quartiles_do_not_touch():
    assert Timing(1, 0.9, 1.1, 9).is_faster_than(Timing(2, 1.2, 3, 9))
    assert not Timing(1, 0.9, 1.2, 9).is_faster_than(Timing(2, 1.2, 3, 9))
