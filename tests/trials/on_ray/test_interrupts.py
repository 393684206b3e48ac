"""Signals while Ray starts and stops."""

from __future__ import annotations

import signal

import pytest

from trials.on_ray.interrupts import uninterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGALRM])
def test_a_signal_waits_until_the_end_of_the_block(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append("now"))
    try:
        with uninterrupted():
            signal.raise_signal(number)
            assert heard == []
        assert heard == ["now"]
    finally:
        signal.signal(number, before)
