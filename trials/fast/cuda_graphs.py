"""Steps whose kernels are recorded once as a CUDA graph, then started all together."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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
        self._aside: torch.cuda.Stream | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if not self._captured:
            self._function()
        elif self._calls < WARM_UP:
            self._warm_up()
        else:
            if self._graph is None:
                self._graph = self._record()
            self._graph.replay()
        self._calls += 1

    def _warm_up(self) -> None:
        """On a stream of its own, as torch wants it before a recording."""
        if self._aside is None:
            gc.collect()  # records that are no longer used hold memory
            self._aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        here = torch.cuda.current_stream()
        self._aside.wait_stream(here)
        with torch.cuda.stream(self._aside):
            self._function()
        here.wait_stream(self._aside)

    def _record(self) -> torch.cuda.CUDAGraph:
        """The function's kernels, which do not run meanwhile.

        Another record that the garbage collector took down during the recording would spoil it.
        """
        gc.collect()
        was_collecting = gc.isenabled()
        gc.disable()
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._function()
        finally:
            if was_collecting:
                gc.enable()
        return graph


class ReplayedEpoch:
    """Takes the steps of an epoch. What differs from step to step is read off tensors.

    ```python
    epoch = ReplayedEpoch(step, images=50_000, batch_size=64, rates=1, device=device, captured=True)
    epoch.run([[0.1]] * epoch.steps)
    ```

    Attributes:
        steps: of an epoch.
        rates: R.

    Args:
        step: takes the places of its images within the epoch, int64 (B,), and its learning rates,
            (R,); what else it works on keeps its address from one `run` to the next.
        images: of an epoch; a short last batch is recorded apart.
        rates: learning rates of a step.
        captured: as for `Replay`.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor], None],
        *,
        images: int,
        batch_size: int,
        rates: int,
        device: torch.device,
        captured: bool,
    ) -> None:
        self.steps = math.ceil(images / batch_size)
        self.rates = rates
        self._step, self._batch_size = step, batch_size
        self._done = torch.zeros(1, dtype=torch.int64, device=device)
        self._places = torch.arange(batch_size, device=device)
        self._rates = torch.zeros(self.steps, rates, device=device)
        whole, rest = divmod(images, batch_size)
        sizes = [batch_size] * whole + [rest] * (rest > 0)
        replays = {size: self._replay(size, captured) for size in set(sizes)}
        self._replays = [replays[size] for size in sizes]

    def run(self, rates: Sequence[Sequence[float]]) -> None:
        """One epoch with these learning rates (steps, R)."""
        self._rates.copy_(torch.tensor(rates))
        self._done.zero_()
        for replay in self._replays:
            replay()

    def _replay(self, size: int, captured: bool) -> Replay:
        def take() -> None:
            places = self._done * self._batch_size + self._places[:size]
            self._step(places, self._rates.index_select(0, self._done).squeeze(0))
            self._done += 1

        return Replay(take, captured=captured)
