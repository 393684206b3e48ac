"""A step whose kernels are recorded once as a CUDA graph, then started all together."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP = 3
"""Calls before recording: libraries choose kernels and take their memory in them."""


class Replay:
    """Calls a function again and again; on CUDA, records it and replays the record.

    A small network's step is some two hundred kernels of a few microseconds each, and starting one
    from Python takes as long as running it. A replay starts them all at once. Every call does the
    function's whole work, those of the warm-up too, and none waits for the device.

    Args:
        function: works on tensors whose addresses stay the same, decides nothing by their values,
            and synchronises with nothing.
        captured: record it; where False, as on a CPU, each call is just a call.
    """

    def __init__(self, function: Callable[[], None], *, captured: bool) -> None:
        self._function = function
        self._captured = captured
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if not self._captured:
            self._function()
        elif self._calls < WARM_UP:
            self._warm_up()
        else:
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph):
                    self._function()  # recorded, not run
            self._graph.replay()
        self._calls += 1

    def _warm_up(self) -> None:
        """On a stream of its own, as torch wants it before a recording."""
        here = torch.cuda.current_stream()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._function()
        here.wait_stream(aside)
