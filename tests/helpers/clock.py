"""A clock that a test sets."""

from __future__ import annotations


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now
