"""Steps whose kernels are recorded once as a CUDA graph and then started by one call."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trials.data.uploads import upload

WARM_UP = 3
"""Calls before recording; in them libraries are loaded, choose kernels and allocate memory."""
WARM_UP_OF_SHORT = 1
"""The same for the short last batch of an epoch, which is called once per epoch.

One call is enough behind those of the whole batches. They have loaded the libraries and started the
threads of autograd. What depends on the shape of a batch happens at the first call with it: cuDNN
and cuBLAS choose kernels and CUDA loads them. Nothing else differs between the two.
"""


class Replay:
    """Calls a function many times; on CUDA it is recorded once and the record is replayed.

    A step of a small network is about two hundred kernels of a few microseconds each. To start one
    from Python takes as long as to run it. A replay starts all of them at once. Every call does the
    whole work of the function, also during the warm-up, and no call waits for the device.

    Args:
        function: its tensors must keep their addresses; it must not branch on their values nor
            wait for the device.
        captured: record the function; False, as on a CPU: each call is an ordinary call.
        warm_up: calls before the recording.
    """

    def __init__(
        self, function: Callable[[], None], *, captured: bool, warm_up: int = WARM_UP
    ) -> None:
        self._function = function
        self._captured = captured
        self._eager_calls = warm_up
        self._calls = 0
        self._aside: torch.cuda.Stream | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if not self._captured:
            self._function()
        elif self._calls < self._eager_calls:
            self._warm_up()
        else:
            if self._graph is None:
                self._graph = self._record()
            self._graph.replay()
        self._calls += 1

    def _warm_up(self) -> None:
        """Call the function on a side stream, as torch demands before a recording."""
        if self._aside is None:
            gc.collect()  # frees the memory of records that are no longer used
            self._aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        here = torch.cuda.current_stream()
        self._aside.wait_stream(here)
        with torch.cuda.stream(self._aside):
            self._function()
        here.wait_stream(self._aside)

    def _record(self) -> torch.cuda.CUDAGraph:
        """Record the kernels of the function; they do not run during the recording.

        Garbage collection is off: to free another record during a recording would break it.
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
    """Runs the steps of an epoch. The values that differ between steps are in tensors.

    ```python
    epoch = ReplayedEpoch(step, images=50_000, batch_size=64, rates=1, device=device, captured=True)
    epoch.run([[0.1]] * epoch.steps)
    ```

    Attributes:
        steps: steps per epoch.
        rates: learning rates per step, R.

    Args:
        step: called with the positions of its images in the epoch, int64 (B,), and its learning
            rates, (R,). Its other tensors keep their addresses between runs.
        images: images per epoch; a short last batch has a record of its own.
        batch_size: B.
        rates: learning rates per step.
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
        replays = {size: self._replay(size, captured, size == sizes[0]) for size in set(sizes)}
        self._replays = [replays[size] for size in sizes]

    def run(self, rates: Sequence[Sequence[float]]) -> None:
        """Run one epoch with these learning rates, (steps, R)."""
        self._rates.copy_(upload(torch.tensor(rates), self._rates.device))
        self._done.zero_()
        for replay in self._replays:
            replay()

    def _replay(self, size: int, captured: bool, is_first: bool) -> Replay:
        def take() -> None:
            places = self._done * self._batch_size + self._places[:size]
            self._step(places, self._rates.index_select(0, self._done).squeeze(0))
            self._done += 1

        return Replay(take, captured=captured, warm_up=WARM_UP if is_first else WARM_UP_OF_SHORT)
